"""What is closed and forgotten is freed: a widget, its traces and its model."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.widgets.common.view import View

Opened = tuple[View, list[Any]]  # a widget, and what it alone holds


def scrubber(model: sv.Model) -> Opened:
    trace = run(model)
    return sv.Scrubber(trace), [trace]


def microscope(model: sv.Model) -> Opened:
    trace = run(model)
    scope = sv.Microscope(model, trace, place=(2, 2))
    scope.threshold = 1.2
    scope.branch_tab.start(here=True)
    return scope, [model, trace, scope.branched, scope.settings]


def playground(model: sv.Model) -> Opened:
    opened = sv.Playground(model, prompt="a fox", steps=2)
    opened.run()
    opened.explain()
    return opened, [model, *opened.traces, opened.more.children[-1]]


def grid(model: sv.Model) -> Opened:
    guidance = [CFG(3.0) + SAG(scale) for scale in (0.0, 1.0)]
    sweep = sv.sweep(model, "a fox", steps=2, guidance=guidance, progress=False)
    opened = sv.Grid(sweep, model, selected=(0, 1))
    opened.run_whole()
    return opened, [model, sweep, opened.opened.trace]


def preference(model: sv.Model) -> Opened:
    pair = [run(model), run(model)]
    vote = sv.Preference([pair])
    vote.vote("left")
    return vote, [*pair]


def run(model: sv.Model) -> sv.Trace:
    return sv.trace(model, "a fox", guidance=CFG(3.0) + SAG(1.0), steps=2, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("open_", [scrubber, microscope, playground, grid, preference])
def test_closed_is_freed(open_: Callable[[sv.Model], Opened], pipe: Any) -> None:
    widget, inner = open_(sv.load(pipe))
    watched = {type(each).__name__: weakref.ref(each) for each in (widget, *inner)}
    widget.close()
    del widget, inner
    gc.collect()
    assert [name for name, held in watched.items() if held() is not None] == []
