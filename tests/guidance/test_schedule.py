"""A scale as a curve over the run: its closed forms, and the same to the bit wherever it goes."""

from __future__ import annotations

import base64
import json
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import counted, is_one_sentence, same
from toys import Brighten

import sagviz as sv
from sagviz import APG, CFG, PAG, SAG, CFGZero, Rescale, describe, plot, schedule
from sagviz.cli import main
from sagviz.codegen import code
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, Schedule, Term
from sagviz.player.pack import pack

CURVE = CFG(schedule("cosine", 1, 7)) + SAG(schedule("linear", 0, 2))
STEPS = 5


def run(model: sv.Model, guidance: Any, **changes: Any) -> sv.Trace:
    options = {"steps": STEPS, "seed": 3, "progress": False, **changes}
    return sv.trace(model, "a fox", guidance=guidance, **options)


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return run(model, CURVE)


# The curves.


@pytest.mark.parametrize(
    ("curve", "wanted"),
    [
        (schedule("linear", 1, 7), lambda p: 1 + 6 * p),
        (schedule("linear", 1, 3, 0), lambda p: 1 + 4 * p if p <= 0.5 else 6 - 6 * p),
        (schedule("cosine", 1, 7), lambda p: 4 - 3 * math.cos(math.pi * p)),
        (schedule("steps", 7, 5, 3, 1), lambda p: [7, 5, 3, 1][min(math.floor(4 * p), 3)]),
        (schedule(lambda p: 2 + p**2), lambda p: 2 + p**2),
    ],
)
def test_a_curve_is_its_formula(curve: Schedule, wanted: Callable[[float], float]) -> None:
    for progress in (0.0, 0.1, 0.25, 0.5, 0.77, 1.0):
        assert curve.at(progress) == pytest.approx(wanted(progress), abs=1e-4)


def test_values_for_each_evaluation_are_met_exactly() -> None:
    """Whatever i / n rounds to."""
    for count in range(1, 200):
        curve = schedule([float(i) for i in range(count)])
        assert [curve.at(i / count) for i in range(count)] == list(range(count))


def test_a_function_is_met_at_each_hundredth() -> None:
    curve = schedule(lambda progress: 7.0 if progress < 0.3 else 1.0)
    assert [curve.at(i / 50) for i in range(50)] == [7.0] * 15 + [1.0] * 35


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["linear", "cosine", "steps"])
@pytest.mark.parametrize("term", [CFG, SAG, PAG, Brighten])
def test_a_curve_of_constants_is_the_constant_to_the_bit(
    model: sv.Model, shape: str, term: type[Term]
) -> None:
    others = CFG(3.0) if term is not CFG else Guidance()
    constant = run(model, others + term(1.37))
    for curve in (schedule(shape, 1.37), schedule(shape, 1.37, 1.37), [1.37] * STEPS):
        made = run(model, others + term(curve))
        assert all(same(a, b) for a, b in zip(made, constant, strict=True))
        assert [step.guidance for step in made] == [step.guidance for step in constant]


@pytest.mark.slow
def test_a_step_has_the_number_of_its_progress(model: sv.Model, trace: sv.Trace) -> None:
    for step in trace:
        w, s = CURVE.at(step.index / STEPS).terms
        assert w.scale == pytest.approx(4 - 3 * math.cos(math.pi * step.index / STEPS))
        assert s.scale == pytest.approx(2 * step.index / STEPS)
        assert step.guidance == w + s
        summed = step.eps_base + w.scale * step.terms["cfg"] + s.scale * step.terms["sag"]
        assert torch.equal(step.eps, summed)
    alone = run(model, CFG(1.0) + SAG(0.0))
    assert torch.equal(alone[0].x_next, trace[0].x_next)


def test_each_scale_of_an_evaluation_is_counted(model: sv.Model) -> None:
    """Of a scheduler with more evaluations than steps."""
    made = run(model, CFG(schedule("linear", 0, 9)), scheduler="heun")
    assert len(made) == 9
    assert [step.guidance.get(CFG).scale for step in made] == [pytest.approx(i) for i in range(9)]


def test_terms_that_depend_on_w_take_that_of_the_step(model: sv.Model) -> None:
    others = Rescale(0.5) + CFGZero(0.5)
    curve = run(model, CFG([2.0, 5.0]) + others, steps=2)
    for step, w in zip(curve, (2.0, 5.0), strict=True):
        fresh = sv.what_if(model, curve, step.index, guidance=CFG(w) + others)
        assert torch.equal(step.output, fresh.output)


# Saved by value.


def test_it_is_code_json_and_a_file(trace: sv.Trace, tmp_path: Path) -> None:
    total = CURVE + PAG([1.0, 0.5]) + APG(lambda p: 1 - p, momentum=0.0)
    names = {"CFG": CFG, "SAG": SAG, "PAG": PAG, "APG": APG, "schedule": schedule}
    assert eval(repr(total), names) == total
    assert Guidance.from_json(json.loads(json.dumps(total.to_json()))) == total
    assert pickle.loads(pickle.dumps(total)) == total
    loaded = sv.Trace.load(trace.save(tmp_path / "curve.sagtrace"))
    assert loaded.settings == trace.settings
    assert all(same(a, b) and a.guidance == b.guidance for a, b in zip(loaded, trace, strict=True))


def test_the_code_makes_it_again(model: sv.Model, trace: sv.Trace) -> None:
    written = code(model, trace, trace[3])
    assert "from sagviz import CFG, SAG, image, schedule" in written
    assert "CFG(schedule('cosine', 1.0, 7.0))" in written
    names: dict[str, Any] = {}
    exec(written, names)
    assert torch.equal(names["step"].output, trace[3].output)


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    out = tmp_path / "fox.png"
    flags = ["--steps", "2", "--cfg-scale", "cosine 1 7", "--pag-scale", "linear 1 0"]
    assert main(["generate", "a fox", "-o", str(out), *flags]) == 0
    settings = json.loads(Image.open(out).info["sagviz"])
    found = Guidance.from_json(settings["guidance"])
    assert found.get(CFG) == CFG(schedule("cosine", 1, 7))
    assert found.get(PAG) == PAG(schedule("linear", 1, 0))


# Where it is shown and changed.


@pytest.mark.slow
def test_another_curve_costs_no_call(model: sv.Model, trace: sv.Trace) -> None:
    with counted(model.unet) as rows:
        step = sv.what_if(model, trace, 2, guidance=CFG([9.0]) + SAG(schedule("linear", 1, 2)))
        assert same(sv.what_if(model, trace, 2), trace[2])
    assert not rows
    assert str(step.guidance) == "CFG(9.0) + SAG(1.4)"
    whole = run(model, CFG([9.0]) + SAG(1.0))
    branch = sv.branch(model, trace, 0, guidance=CFG([9.0]) + SAG(1.0), progress=False)
    assert torch.equal(branch.latents, whole.latents)


def test_a_sweep_has_curves_as_an_axis(model: sv.Model, tmp_path: Path) -> None:
    curves = [schedule("linear", 1, 5), schedule("cosine", 1, 5)]
    sums = [CFG(3.0), *map(CFG, curves)]
    made = sv.sweep(model, "a fox", steps=2, guidance=sums, store=tmp_path / "runs", progress=False)
    assert list(made.table()["cfg_scale"]) == [3.0, *curves]
    (cell,) = sv.Sweep.open(tmp_path / "runs").select(cfg_scale=curves[1])
    assert cell.settings.guidance == Guidance((sums[2],))
    crossing = plot.contact_sheet(made).crossing
    assert crossing.labels(crossing.columns)[1:] == [
        "CFG scale linear 1 → 5",
        "CFG scale cosine 1 → 5",
    ]


def test_words_curves_and_formula(trace: sv.Trace) -> None:
    assert describe.of_guidance(CURVE) == "CFG cosine 1 → 7 + SAG linear 0 → 2"
    assert "scales CFG cosine 1 → 7, SAG linear 0 → 2" in plot.guidance_curves(trace).words
    (axes,) = [
        figure.axes[0]
        for figure in plot.guidance_curves(trace).figures
        if figure.axes[0].get_title(loc="left") == "scale"
    ]
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
    assert drawn["SAG"] == [step.guidance.get(SAG).scale for step in trace]
    assert [part.scale for part in plot.formula(trace[2]).parts][1:] == [
        term.scale for term in trace[2].guidance.terms
    ]
    assert "scale" not in plot.guidance_curves(trace.of_image(0)).words.split(";")[0]


def test_a_slider_scales_the_whole_curve(model: sv.Model, trace: sv.Trace) -> None:
    assert CFG(schedule("linear", 1, 4)).with_peak(8.0) == CFG(schedule("linear", 2, 8))
    assert CFG(schedule("linear", -6, 3)).peak == -6.0
    assert CFG(schedule("steps", 0, 0)).with_peak(2.0).at(0.5) == CFG(2.0)
    scope = sv.Microscope(model, trace, index=2)
    assert (scope.cfg_scale, scope.step.forwards) == (7.0, 0)
    assert same(scope.step, trace[2])
    scope.cfg_scale = 3.5
    assert scope.step.guidance.get(CFG).scale == trace[2].guidance.get(CFG).scale / 2
    assert scope.step.forwards == 0
    scope.close()


def test_the_players_slider_scales_it_too(trace: sv.Trace) -> None:
    """Its planes hold the directions at the curve's shares of the peak that the slider shows."""
    page = pack([trace], 10**7)["runs"][0]
    assert [term["scale"] for term in page["terms"]] == [7.0, 2.0]
    packed, plane = zlib.decompress(base64.b64decode(page["packed"])), page["planes"]["cfg"]
    for step, row in zip(trace, page["steps"], strict=True):
        size = 2 * math.prod(plane["shape"])
        levels = np.frombuffer(packed[row["at"]["cfg"] :][:size], "<u2") / 65535
        shown = 7.0 * (plane["low"] + (plane["high"] - plane["low"]) * levels)
        added = step.guidance.get(CFG).factor * step.pushes["cfg"][0]
        colours = torch.einsum("chw,ck->khw", added, trace.latent_rgb[:-1])
        assert np.abs(shown - colours.flatten().numpy()).max() < 1e-3 * 7 * plane["high"]


def test_the_form_says_what_it_has_no_place_for(model: sv.Model, trace: sv.Trace) -> None:
    playground = sv.Playground(model)
    said = playground.settings.restore(trace.settings)
    assert playground.cfg_scale == 7.0
    assert any("a curve: the form takes its peak alone" in line for line in said)
    assert not any("sets its scale only" in line for line in said)
    playground.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: schedule("cosinus", 1, 7), "the shape of a schedule is 'cosinus'; give one of"),
        (lambda: schedule("linear"), "the schedule has no value; give one or more"),
        (lambda: CFG([1.0, math.nan]), "a value of the schedule is nan; give a number"),
        (lambda: CFG(lambda _: "high"), "a value of the schedule is 'high'; give a number"),
        (lambda: CFG("cosine"), r"the cfg scale is 'cosine'; give a number, or a curve such as"),
    ],
)
def test_what_is_no_curve_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        make()
    assert is_one_sentence(error.value)


def test_arrays_are_values() -> None:
    assert CFG(np.linspace(1, 3, 3)) == CFG(torch.tensor([1.0, 2.0, 3.0])) == CFG([1, 2, 3])
