"""The terms beside SAG in the Microscope and in sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from tiny import counted

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Microscope, Rescale, plot
from sagviz.guidance import APG, Term
from sagviz.guidance.views import StepView
from sagviz.widgets.common.controls import css_class

SUM = CFG(3.0) + SAG(0.5) + PAG(1.5) + SEG(0.5) + APG(1.0) + Rescale(0.3)


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pag_scale", "seg_scale", "apg_scale", "rescale_scale"])
def test_each_term_of_the_run_has_a_slider_that_costs_nothing(
    model: sv.Model, trace: sv.Trace, name: str
) -> None:
    scope, own = scope_of(model, trace), trace[2]
    assert torch.equal(scope.step.eps, own.eps)
    (number,) = [part for part in rows(scope) if css_class(name) in part._dom_classes]
    slider = number.children[1]
    with counted(model.unet) as calls:
        slider.value = round(0.7 / number.step)
    assert not calls
    assert getattr(scope, name) == 0.7
    term = own.guidance.get(name.removesuffix("_scale"))
    wanted = own.eps + (0.7 - term.scale) * own.terms[term.name]
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
    box, slider, _ = number.children
    assert (box.description, number.low, number.high, box.step) == (
        "Brighten scale",
        -2.0,
        3.0,
        0.5,
    )
    assert (slider.min, slider.max, slider.step) == (-4, 6, 1), "in steps"
    assert (scope.brighten_scale, slider.value) == (1.5, 3)
    own = trace[scope.index]
    seen: list[float] = []
    scope.observe(lambda change: seen.append(change.new), "brighten_scale")
    with counted(model.unet) as calls:
        scope.brighten_scale = 2
        slider.value = 5
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


@pytest.mark.slow
def test_without_cfg_there_is_nothing_to_rescale(model: sv.Model, trace: sv.Trace) -> None:
    """The step goes on without it, instead of an error."""
    scope = scope_of(model, trace)
    scope.use_cfg = False
    assert not scope.notice.value
    assert set(scope.step.terms) == {"sag", "pag", "seg", "apg"}
    scope.close()


def test_a_sweep_over_a_term(model: sv.Model) -> None:
    made = sv.sweep(
        model, "a fox", steps=2, guidance=[CFG(3.0) + PAG(s) for s in (0.0, 2.0)], progress=False
    )
    assert made.trace(pag_scale=2.0).settings.guidance == CFG(3.0) + PAG(2.0)
    assert {"pag_scale", "pag", "cfg"} <= set(made.table().columns)
    assert "PAG scale" in plot.contact_sheet(made)._repr_html_()
