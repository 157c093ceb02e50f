"""A term is one class, of the package or of a user's own: it works everywhere, without an edit
elsewhere. Two toys of the tests stand for all that a scale alone makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tiny import counted, is_one_sentence, same
from torch import Tensor
from toys import Brighten, Constant, Mirror

import sagviz as sv
from sagviz import CFG, SAG, plot
from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import Guidance, Term
from sagviz.guidance.views import StepView
from sagviz.player.pack import pack

TOYS = [Brighten(0.5), Mirror(0.5)]


def run(model: sv.Model, toy: Term, steps: int = 4) -> sv.Trace:
    guidance = CFG(3.0) + SAG(1.0) + toy
    return sv.trace(model, "a fox", steps=steps, seed=3, guidance=guidance, progress=False)


@pytest.fixture(scope="module", params=TOYS, ids=repr)
def toy(request: pytest.FixtureRequest) -> Term:
    return request.param


@pytest.fixture(scope="module")
def trace(model: sv.Model, toy: Term) -> sv.Trace:
    return run(model, toy)


def test_it_adds_its_direction(model: sv.Model, trace: sv.Trace, toy: Term) -> None:
    for step in trace:
        rest = Guidance(tuple(term for term in step.guidance.terms if term != toy))
        without = sv.what_if(model, trace, step.index, guidance=rest)
        added = toy.scale * step.terms[toy.name]
        torch.testing.assert_close(step.eps, without.eps + added, rtol=0, atol=1e-5)
        assert float(added.abs().max()) > 0


def test_it_costs_what_it_asks_for(model: sv.Model, toy: Term) -> None:
    with counted(model.unet) as rows:
        run(model, toy, steps=1)
    assert rows == [2 + isinstance(toy, Mirror), 1]


def test_v_models_are_guided_as_well(v_model: sv.Model, toy: Term) -> None:
    for step in run(v_model, toy):
        assert float((step.level.eps(step.x_t, step.output) - step.eps).abs().max()) < 1e-5


def test_its_trace_is_saved_and_loaded(trace: sv.Trace, tmp_path: Path) -> None:
    loaded = sv.Trace.load(trace.save(tmp_path / "toy.sagtrace"))
    assert loaded.settings == trace.settings
    assert all(same(a, b) for a, b in zip(loaded, trace, strict=True))


def test_another_scale_costs_no_call(model: sv.Model, trace: sv.Trace, toy: Term) -> None:
    other = CFG(3.0) + SAG(1.0) + type(toy)(2.0)
    step = sv.what_if(model, trace, 2, guidance=other)
    assert (step.forwards, step.samples) == (0, 0)
    moved = step.eps - trace[2].eps
    torch.testing.assert_close(moved, 1.5 * trace[2].terms[toy.name], rtol=0, atol=1e-5)


def test_a_branch_takes_it_up(model: sv.Model, toy: Term) -> None:
    plain = sv.trace(model, "a fox", steps=4, guidance=CFG(3.0), progress=False)
    branch = sv.branch(model, plain, 2, guidance=CFG(3.0) + toy, progress=False)
    assert [toy.name in step.terms for step in branch] == [False, False, True, True]
    assert not torch.equal(branch.latents, plain.latents)


def test_a_sweep_has_it_as_an_axis(model: sv.Model, toy: Term, tmp_path: Path) -> None:
    sums = [CFG(3.0) + type(toy)(scale) for scale in (0.0, 0.5)]
    sweep = sv.sweep(
        model, "a fox", steps=2, guidance=sums, store=tmp_path / "runs", progress=False
    )
    assert list(sweep.table()[toy.scale_name]) == [0.0, 0.5]
    (cell,) = sv.Sweep.open(tmp_path / "runs").select(**{toy.scale_name: 0.5})
    assert cell.settings.guidance == sums[1]
    grid = sv.Grid(sweep)
    assert (grid.rows, grid.columns) == ("", toy.scale_name)
    grid.close()


def test_figures_show_it(trace: sv.Trace, toy: Term) -> None:
    labels = plot.guidance_curves(trace).figures[0].axes[0].get_legend_handles_labels()[1]
    assert type(toy).__name__ in labels
    assert toy.name in [part.name for part in plot.formula(trace[2]).parts]
    assert toy.name in [panel.name for panel in plot.step_panel(trace, 2).panels]


def test_the_player_has_a_pane_a_slider_and_a_colour(trace: sv.Trace, toy: Term) -> None:
    data = pack([trace], 10**7)
    (own,) = [term for term in data["runs"][0]["terms"] if term["name"] == toy.name]
    assert (own["title"], own["scale"]) == (toy.title, 0.5)
    assert (own["low"], own["high"]) == toy.scale_range
    assert data["hues"][toy.name] == toy.colour
    assert toy.name in dict(data["panes"])
    assert toy.name in sv.Scrubber(trace).choices


def test_the_microscope_has_its_slider(model: sv.Model, trace: sv.Trace, toy: Term) -> None:
    scope = sv.Microscope(model, trace, index=2)
    assert getattr(scope, toy.scale_name) == 0.5
    setattr(scope, toy.scale_name, 1.5)
    assert scope.step.guidance.get(type(toy)) == type(toy)(1.5)
    assert scope.step.forwards == 0
    scope.close()


@pytest.mark.slow
def test_a_report_has_it(toy: Term, tmp_path: Path) -> None:
    page = sv.report(tmp_path / "toy.html", prompt="a fox", steps=4, terms=toy)
    assert f"{toy.title}" in page.read_text(encoding="utf-8")


def test_a_name_of_ours_is_refused() -> None:
    with pytest.raises(ArgumentError, match="sag"):
        type("Other", (Term,), {"name": "sag"})


def test_a_file_with_a_term_that_is_not_defined_here_is_refused(
    trace: sv.Trace, toy: Term, tmp_path: Path
) -> None:
    path = trace.save(tmp_path / "toy.sagtrace")
    kind = Term.kinds.pop(toy.name)
    try:
        with pytest.raises(TraceError, match=toy.name):
            sv.Trace.load(path)
    finally:
        Term.kinds[toy.name] = kind


@pytest.mark.parametrize("part", [torch.tensor(1.0), torch.ones(3), torch.ones(1).long()], ids=str)
def test_what_a_file_cannot_hold_is_refused_before_it_is_made(
    part: Tensor, model: sv.Model
) -> None:
    """A counter of one number, a row too many, whole numbers."""

    @dataclass(frozen=True, repr=False)
    class Counted(Constant):
        name: ClassVar[str] = "counted"

        @property
        def keeps(self) -> tuple[str, ...]:
            return ("count",)

        def carry_over(self, step: StepView) -> dict[str, Tensor]:
            del step
            return {"count": part}

    try:
        with pytest.raises(sv.SagvizError, match=r"Counted keeps count, .*; keep fl") as no:
            sv.trace(model, "a fox", steps=3, guidance=Counted(1.0), progress=False)
        assert is_one_sentence(no.value)
    finally:
        Term.kinds.pop("counted")
