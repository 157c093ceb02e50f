"""The terms beside SAG where people meet them: sliders, player, colours, command line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import counted

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Microscope, Rescale, plot
from sagviz.cli import main
from sagviz.guidance import APG, Guidance, Term
from sagviz.guidance.views import StepView
from sagviz.player import PAGE_BYTES
from sagviz.player.pack import pack
from sagviz.plot.curves import guidance_curves
from sagviz.widgets.common.controls import css_class

SUM = CFG(3.0) + SAG(0.5) + PAG(1.5) + SEG(0.5) + APG(1.0) + Rescale(0.3)
OURS = {name: kind for name, kind in Term.kinds.items() if kind.__module__.startswith("sagviz.")}
PLAYER = Path(sv.__file__).parent / "player"


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return sv.trace(model, "a fox", guidance=SUM, steps=4, seed=3, progress=False)


def scope_of(model: sv.Model, trace: sv.Trace, **options: Any) -> Microscope:
    scope = Microscope(model, trace, **options)
    assert not scope.notice.value
    return scope


def rows(scope: Microscope) -> list[Any]:
    """The controls, without the buttons beside them."""
    return [row.children[0] for row in scope.controls.children]


@pytest.mark.parametrize("name", ["pag_scale", "seg_scale", "apg_scale", "rescale_scale"])
def test_each_term_of_the_run_has_a_slider_that_costs_nothing(
    model: sv.Model, trace: sv.Trace, name: str
) -> None:
    scope, own = scope_of(model, trace), trace[2]
    assert torch.equal(scope.step.eps, own.eps)
    (number,) = [part for part in rows(scope) if css_class(name) in part._dom_classes]
    slider = number.children[1]
    with counted(model.unet) as calls:
        slider.value = 0.75
    assert not calls
    assert getattr(scope, name) == 0.75
    term = own.guidance.get(name.removesuffix("_scale"))
    wanted = own.eps + (0.75 - term.scale) * own.terms[term.name]
    torch.testing.assert_close(scope.step.eps, wanted, rtol=0, atol=1e-5)
    scope.reset(name)
    assert torch.equal(scope.step.eps, own.eps)
    scope.close()


def test_a_term_that_the_run_has_not_has_no_slider(model: sv.Model) -> None:
    scope = scope_of(
        model, sv.trace(model, "a fox", guidance=CFG(3.0) + PAG(1.0), steps=2, progress=False)
    )
    scales = [name for name in scope.controls.resets if name.endswith("_scale")]
    assert scales == ["cfg_scale", "sag_scale", "pag_scale"]
    scope.close()


@pytest.fixture
def brighten(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A toy as a notebook defines it, forgotten after the test."""
    monkeypatch.setattr(Term, "kinds", dict(Term.kinds))

    @dataclass(frozen=True, repr=False)
    class Brighten(Term):
        name: ClassVar[str] = "brighten"
        symbol: ClassVar[str] = "b"
        scale_range: ClassVar[tuple[float, float]] = (-2.0, 3.0)
        scale_step: ClassVar[float] = 0.5

        def in_noise(self, step: StepView) -> torch.Tensor:
            return -0.1 * torch.ones_like(step.x_t)

    return Brighten


def test_a_term_of_the_user_s_own_has_its_slider(model: sv.Model, brighten: Any) -> None:
    guidance = CFG(3.0) + brighten(1.0)
    trace = sv.trace(model, "a fox", guidance=guidance, steps=3, seed=3, progress=False)
    scope = scope_of(model, trace, brighten_scale=1.5)
    (number,) = [part for part in rows(scope) if "sag-brighten-scale" in part._dom_classes]
    box, slider = number.children
    assert (box.description, slider.min, slider.max, slider.step) == (
        "Brighten scale b",
        -2.0,
        3.0,
        0.5,
    )
    assert (scope.brighten_scale, slider.value) == (1.5, 1.5)
    own = trace[scope.index]
    seen: list[float] = []
    scope.observe(lambda change: seen.append(change.new), "brighten_scale")
    with counted(model.unet) as calls:
        scope.brighten_scale = 2
        slider.value = 2.5
    assert calls == []
    assert seen == [2.0, 2.5]
    torch.testing.assert_close(
        scope.step.eps, own.eps + 1.5 * own.terms["brighten"], rtol=0, atol=1e-5
    )
    scope.controls.resets["brighten_scale"].click()
    assert scope.brighten_scale == 1.0
    assert torch.equal(scope.step.eps, own.eps)
    scope.branch_tab.start(here=True)
    assert scope.branched is not None
    assert scope.branched.settings.guidance == guidance
    scope.close()


def test_without_cfg_there_is_nothing_to_rescale(model: sv.Model, trace: sv.Trace) -> None:
    """The step goes on without it, instead of an error."""
    scope = scope_of(model, trace)
    scope.use_cfg = False
    assert not scope.notice.value
    assert set(scope.step.terms) == {"sag", "pag", "seg", "apg"}
    scope.close()


def test_every_term_has_its_place_on_the_page() -> None:
    """A title, a colour and a range, for each that there is."""
    for kind in OURS.values():
        assert kind.title
        assert kind.formula
        assert kind.symbol
        assert kind.scale_help
        assert re.fullmatch(r"#[0-9A-Fa-f]{6}", kind.colour)
        assert kind.scale_range[0] < kind.scale_range[1]


# What the three kinds of colour blindness leave of linear RGB (Vienot, Brettel & Mollon 1999;
# tritan: Brettel et al. 1997).
BLIND = {
    "none": np.eye(3),
    "protan": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "deutan": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    "tritan": np.array(
        [[1.01277, 0.13548, -0.14826], [-0.01243, 0.86812, 0.14431], [0.07589, 0.80500, 0.11911]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, kind: str) -> np.ndarray[Any, Any]:
    """CIELAB of what somebody sees of a colour."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ (BLIND[kind] @ linear).clip(0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def palettes() -> dict[str, dict[str, str]]:
    """The colours of the terms in figures and on light pages of the player, and on dark ones, which
    mix them with white.
    """
    css = (PLAYER / "player.css").read_text(encoding="utf-8")
    plain = {name: kind.colour for name, kind in OURS.items()}
    light, dark = (int(share) / 100 for share in re.findall(r"--tint: (\d+)%", css))
    mixed = {name: mixed_with_white(colour, dark) for name, colour in plain.items()}
    assert light == 0
    return {"light": plain, "dark": mixed}


def mixed_with_white(colour: str, share: float) -> str:
    """As `color-mix(in srgb, white SHARE, COLOUR)`."""
    channels = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(255 * share + x * (1 - share)):02x}" for x in channels)


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("where", ["light", "dark"])
def test_the_colours_of_terms_can_be_told_apart(where: str, kind: str) -> None:
    """CIE 1976 differences; 2.3 is just noticed, red and green of one lightness come to less than
    10 for the colour-blind.
    """
    seen = {name: lab(colour, kind) for name, colour in palettes()[where].items()}
    apart = {
        pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(seen, 2)
    }
    assert min(apart.values()) > 12, min(apart, key=lambda pair: apart[pair])


def test_the_player_makes_the_guided_prediction_of_any_sum(trace: sv.Trace) -> None:
    """From its planes: x0_hat and the scaled pushes of all terms."""
    data = pack([trace], PAGE_BYTES)
    (run,) = data["runs"]
    assert [term["title"] for term in run["terms"]] == [
        "CFG",
        "SAG",
        "PAG",
        "SEG",
        "APG",
        "Rescale",
    ]
    assert all(term["low"] <= term["scale"] <= term["high"] for term in run["terms"])
    assert {"cfg", "sag", "pag", "seg", "apg", "rescale"} <= set(run["planes"])
    for step in trace:
        total = step.x0_hat + sum(
            term.scale * step.pushes[term.name] for term in step.guidance.terms
        )
        torch.testing.assert_close(total, step.x0_guided, rtol=0, atol=1e-4)
    assert "run's own scale" in run["words"]["rescale"]


def test_figures_show_any_sum(model: sv.Model, trace: sv.Trace) -> None:
    titles = [panel.title for panel in plot.step_panel(trace, 1, model).panels]
    for term in SUM.terms:
        assert f"{term.title}: {term.formula}" in titles
    axes = guidance_curves(trace).figures[0].axes[0]
    assert [line.get_color() for line in axes.lines] == [term.colour for term in SUM.terms]
    assert plot.formula(trace[1]).words.count("direction of length") == len(SUM.terms)


def test_the_command_line_adds_terms(tmp_path: Path) -> None:
    out = tmp_path / "fox.png"
    flags = ["--pag-scale", "1.5", "--seg-scale", "0.5", "--rescale", "0.7", "--sag-scale", "0"]
    assert main(["generate", "a fox", "--seed", "3", "--steps", "2", *flags, "-o", str(out)]) == 0
    wanted = CFG(3.0) + SAG(0.0) + PAG(1.5) + SEG(0.5) + Rescale(0.7)
    expected = sv.trace(sv.load(), "a fox", seed=3, steps=2, guidance=wanted, progress=False)
    with Image.open(out) as picture:
        assert picture.tobytes() == expected.image.tobytes()
        assert Guidance.from_json(json.loads(picture.info["sagviz"])["guidance"]) == wanted


def test_a_sweep_over_a_term(model: sv.Model) -> None:
    made = sv.sweep(
        model, "a fox", steps=2, guidance=[CFG(3.0) + PAG(s) for s in (0.0, 2.0)], progress=False
    )
    assert made.trace(pag_scale=2.0).settings.guidance == CFG(3.0) + PAG(2.0)
    assert {"pag_scale", "pag", "cfg"} <= set(made.table().columns)
    assert "PAG scale" in plot.contact_sheet(made)._repr_html_()
