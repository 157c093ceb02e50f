"""Guidance terms where people see them in figures: ours in all figures alike, and anybody's own
without an edit.
"""

from __future__ import annotations

import re
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from toys import Constant, Mirror

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Rescale, describe, plot
from sagviz.describe.quantities import TABLE, facts
from sagviz.guidance import APG, Term, colour_of
from sagviz.player import STYLE
from sagviz.plot.formula import in_html

SUM = CFG(3.0) + SAG(0.5) + PAG(1.5) + SEG(0.5) + APG(1.0) + Rescale(0.3)
OURS = {
    name: kind
    for name, kind in Term.kinds.items()
    if kind.__module__.startswith("sagviz.guidance.")
}


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return sv.trace(model, "a fox", guidance=SUM, steps=4, seed=3, progress=False)


@pytest.fixture(scope="module")
def own(model: sv.Model) -> sv.Trace:
    """A run with terms of the user's own."""
    guidance = CFG(3.0) + Constant(0.5) + Mirror(0.25)
    return sv.trace(model, "a fox", guidance=guidance, steps=3, seed=3, progress=False)


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


def mixed(colour: str, share: float) -> str:
    """The colour with that share of white, as CSS mixes sRGB."""
    channels = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(c + share * (255 - c)):02x}" for c in channels)


def palettes() -> dict[str, dict[str, str]]:
    """The colours of the terms in figures, and on light and dark pages of the player."""
    light, dark, lab = (float(share) / 100 for share in re.findall(r"--tint: (\d+)%", STYLE))
    assert dark == lab, "JupyterLab's dark theme is as the system's"
    own = {name: kind.colour for name, kind in OURS.items()}
    pages = {"light": light, "dark": dark}
    return {"figures": own} | {
        page: {name: mixed(colour, share) for name, colour in own.items()}
        for page, share in pages.items()
    }


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("where", ["figures", "light", "dark"])
def test_the_colours_of_terms_can_be_told_apart(where: str, kind: str) -> None:
    """CIE 1976 differences; 2.3 is just noticed, red and green of one lightness come to less than
    10 for the colour-blind.
    """
    seen = {name: lab(colour, kind) for name, colour in palettes()[where].items()}
    apart = {
        pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(seen, 2)
    }
    alike = min(apart, key=lambda pair: apart[pair])
    assert apart[alike] > 12, f"{alike} look alike; free are {', '.join(free_colours())}"


def free_colours() -> list[str]:
    """Colours that can be told from those of all terms, the farthest first."""
    colours = ["#" + "".join(each) for each in product(("33", "66", "99", "CC"), repeat=3)]
    taken = {blind: [lab(kind.colour, blind) for kind in OURS.values()] for blind in BLIND}

    def nearest(colour: str) -> float:
        return min(
            float(np.linalg.norm(lab(colour, blind) - other))
            for blind, others in taken.items()
            for other in others
        )

    return sorted(colours, key=nearest, reverse=True)[:5]


def test_what_a_quantity_needs_is_a_fact(trace: sv.Trace) -> None:
    """A word that is no fact would leave its picture out of every figure."""
    assert {each.needs for each in TABLE} - {""} <= facts(trace[1]).keys()


def test_figures_show_any_sum(model: sv.Model, trace: sv.Trace) -> None:
    titles = [panel.title for panel in plot.step_panel(trace, 1, model).panels]
    for term in SUM.terms:
        assert f"{term.title}: {term.formula}" in titles
    axes = plot.guidance_curves(trace).figures[0].axes[0]
    assert [line.get_color() for line in axes.lines] == [colour_of(term.name) for term in SUM.terms]
    formula = plot.formula(trace[1])
    assert formula.words.count("direction of length") == len(SUM.terms)
    joined = re.findall(
        r"<div style=\"display:flex[^>]*><div[^>]*>[+−]</div><div", formula._repr_html_()
    )
    assert len(joined) == len(SUM.terms), "no line ends with a sign"


def test_figures_show_a_term_of_ones_own(model: sv.Model, own: sv.Trace) -> None:
    titles = {panel.name: panel.title for panel in plot.step_panel(own, 1, model).panels}
    assert titles["constant"] == "Constant push: 1_k + ε(xₜ) · 0"
    assert titles["mirror"] == "Mirror: ε(xₜ) − ε(mirrored xₜ)"
    lines = plot.guidance_curves(own).figures[0].axes[0].lines
    assert [line.get_label() for line in lines] == ["CFG", "Constant push", "Mirror"]
    assert [line.get_color() for line in lines[1:]] == [Constant.colour, Mirror.colour]


def test_the_formula_has_a_term_of_ones_own(own: sv.Trace) -> None:
    found = plot.formula(own[1])
    assert found.parts[2].symbol == "1<sub>k</sub> + ε(x<sub>t</sub>) · 0"
    assert found.parts[2].length == pytest.approx(0.1)
    assert "Constant push: 0.5 × 0.100 = 0.050" in found._repr_html_()
    assert Constant.colour in found._repr_html_()


def test_captions_tell_a_term_of_ones_own(own: sv.Trace) -> None:
    assert "Constant push's push is " in describe.of_step(own[1], 3)
    assert describe.of_guidance(own.settings.guidance) == "CFG 3 + Constant push 0.5 + Mirror 0.25"
    assert describe.of_panes(own[1])["mirror"].startswith("what Mirror adds")


@pytest.mark.parametrize(
    ("unicode", "html"),
    [
        ("ε(xₜ, c) − ε(x̂ₜ, c)", "ε(x<sub>t</sub>, c) − ε(x̂<sub>t</sub>, c)"),
        (APG.formula, "−(α/σ) (Δ<sub>⊥</sub> + η Δ<sub>∥</sub>)"),
        (Rescale.formula, "(std ε(x<sub>t</sub>, c) / std ε<sub>w</sub> − 1) ε<sub>w</sub>"),
        ("a < b & x₀", "a &lt; b &amp; x<sub>0</sub>"),
    ],
)
def test_formulas_get_real_subscripts(unicode: str, html: str) -> None:
    assert in_html(unicode) == html


def test_a_hand_made_mask_is_shown_without_a_map(model: sv.Model) -> None:
    """At the step where a branch leaves a run that read no attention."""
    plain = sv.trace(model, "a fox", steps=3, guidance=CFG(3.0), progress=False)
    mask, both = torch.eye(16), CFG(3.0) + SAG(1.0)
    step = sv.branch(model, plain, 1, guidance=both, mask=mask, progress=False)[1]
    assert step.attention is None
    names = [panel.name for panel in plot.step_panel(plain, step).panels]
    assert names == ["x_t", "x0_hat", "mask", "x0_blurred", "x_degraded", "cfg", "sag", "x0_guided"]
