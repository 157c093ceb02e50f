"""The terms beside SAG in the Microscope and in sweeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import counted

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Microscope, Rescale, plot
from sagviz.guidance import APG
from sagviz.widgets.microscope.settings import OTHERS

SUM = CFG(3.0) + SAG(0.5) + PAG(1.5) + SEG(0.5) + APG(1.0) + Rescale(0.3)


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return sv.trace(model, "a fox", guidance=SUM, steps=4, seed=3, progress=False)


def scope_of(model: sv.Model, trace: sv.Trace, **options: Any) -> Microscope:
    scope = Microscope(model, trace, **options)
    assert not scope.notice.value
    return scope


@pytest.mark.parametrize("name", ["pag_scale", "seg_scale", "apg_scale", "rescale_scale"])
def test_each_term_of_the_run_has_a_slider_that_costs_nothing(
    model: sv.Model, trace: sv.Trace, name: str
) -> None:
    scope, own = scope_of(model, trace), trace[2]
    assert torch.equal(scope.step.eps, own.eps)
    row = next(
        row
        for row in scope.controls.children
        if f"sag-{name.replace('_', '-')}" in row.children[0]._dom_classes
    )
    slider = row.children[0].children[1]
    with counted(model.unet) as rows:
        slider.value = 0.75
    assert not rows
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
    assert [name for name in OTHERS if name in scope.controls.resets] == ["pag_scale"]
    scope.close()


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
