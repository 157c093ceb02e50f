"""What the player is given: for each run the planes of its steps, packed small, and their words and
numbers.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sagviz import describe, measure
from sagviz.checks import check_number, check_whole
from sagviz.describe import QUANTITIES
from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import SAG, Term
from sagviz.image import MASK_COLOUR, MASK_TINT, heat_map
from sagviz.models import Model, as_model
from sagviz.player.about import settings_table, title
from sagviz.player.planes import Plane, colours, cost, planes, shares
from sagviz.player.stills import PREDICTED, Predictions, Progress, picture, spread
from sagviz.records.step import Step
from sagviz.records.trace import Trace

# until the reader chooses, beside the terms of the runs
SHOWN = ("x_t", "x0_hat", "attention", "mask", "x0_guided", "image")
NO_TERMS = {"cosine": "cosine of the two", "coverage": "cells under the mask"}  # measures drawn


def pack(
    traces: Sequence[Trace],
    max_bytes: int,
    max_steps: int = 999,
    image: int = 0,
    index: int | None = None,
    model: Model | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The player's data, ready for JSON.

    Args:
        traces: runs that are shown in lockstep.
        max_bytes: bound on the packed planes; fewer steps, evenly spread, are taken where all would
            be more.
        max_steps: bound on the steps of each run.
        image: which image of a batch.
        index: of the step at which it opens, from 0, or the nearest that the longest run keeps;
            its middle one, where something is seen already, where `None`.
        model: decodes the predictions; without it they have their previews.
        progress: told after each prediction that was decoded (done, total).

    Raises:
        ArgumentError: no trace, or no such image or step.
        TraceError: a trace without a step.
    """
    whole = [one_image(trace, image) for trace in traces]
    at = opened(whole, index)
    max_bytes = int(check_number("max_bytes", max_bytes))
    count = min(max_steps, max_bytes // sum(max(map(cost, trace)) for trace in whole))
    kept = [spread(trace.steps, count, at) for trace in whole]
    total = sum(map(len, kept)) * len(PREDICTED)
    made = None if model is None else Predictions(as_model(model), total, progress)
    runs = [
        {**_run(trace, steps, colours(trace, whole)), "decoded": made.of(steps) if made else {}}
        for trace, steps in zip(whole, kept, strict=True)
    ]
    terms = {name: type(term) for each in whole for name, term in each.acting.items()}
    panes = _panes(runs, terms)
    return {
        "runs": runs,
        "index": round(at * (len(leading(runs)["steps"]) - 1)),
        "title": title(whole),
        "panes": panes,
        "shown": [name for name, _ in panes if name in SHOWN or name in terms],
        "hues": {name: kind.colour for name, kind in terms.items()},
        **_charts(runs, terms),
        "near": describe.NEAR,
        "masked": {"colour": MASK_COLOUR, "tint": MASK_TINT},
        "colours": {name: _table(name) for name in ("viridis", "magma", "PuOr")},
    }


def opened(traces: Sequence[Trace], index: int | None) -> float:
    """How far along its kept steps the longest run is at that index, from 0 to 1; half the way
    where it is `None`.

    Raises:
        ArgumentError: no trace, or no such step.
    """
    if not traces:
        raise ArgumentError("there is no trace to show; give one, or several in a list")
    longest = max(traces, key=lambda trace: _extent(trace[-1].index, trace.evaluations, len(trace)))
    wanted = longest[len(longest) // 2].index if index is None else index
    check_whole("index", wanted, 0, longest.evaluations - 1)
    apart = [abs(step.index - wanted) for step in longest]
    return apart.index(min(apart)) / max(1, len(longest) - 1)


def leading(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The packed run through whose steps the player's slider goes: one that comes furthest, of
    these the one with most steps. As in curves.js.
    """

    def extent(run: dict[str, Any]) -> tuple[float, int]:
        return _extent(run["steps"][-1]["index"], run["evaluations"], len(run["steps"]))

    return max(runs, key=extent)


def _extent(last: int, evaluations: int, steps: int) -> tuple[float, int]:
    """How far a run comes, from 0 to 1, and in how many kept steps."""
    return last / max(1, evaluations - 1), steps


def one_image(trace: Trace, image: int) -> Trace:
    """The run of one image of the batch, refused where there is nothing to show."""
    if not len(trace):
        raise TraceError("this trace holds no step to show; run at least one")
    return trace.of_image(image)


def _run(trace: Trace, steps: Sequence[Step], rgb: Tensor) -> dict[str, Any]:
    acting = trace.acting
    made = planes(steps, rgb, [shares(step, acting) for step in steps])
    places, packed = _joined(made, len(steps))
    strength = trace.settings.strength
    words = [describe.of_panes(step, strength) for step in steps]
    rows = [
        {"at": at, **_numbers(step, trace.evaluations, strength), "words": _changed(words[0], own)}
        for step, at, own in zip(steps, places, words, strict=True)
    ]
    return {
        "name": describe.of_guidance(trace.settings.guidance),
        "settings": settings_table(trace),
        "terms": [_term(term) for term in acting.values()],
        "evaluations": trace.evaluations,
        "kept": len(trace),
        "words": words[0],  # of the first step; the others say only what differs
        "steps": rows,
        "planes": {
            name: {"shape": plane.shape, "bits": plane.bits, "low": plane.low, "high": plane.high}
            for name, plane in made.items()
        },
        "packed": deflated(packed),
        "picture": picture(trace),
    }


def deflated(content: bytes) -> str:
    """Bytes as text, for `inflate` of packed.js."""
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _joined(made: dict[str, Plane], count: int) -> tuple[list[dict[str, int]], bytes]:
    """All planes one after the other, step by step, and where each begins."""
    places: list[dict[str, int]] = [{} for _ in range(count)]
    joined = bytearray()
    for position, at in enumerate(places):
        for name, plane in made.items():
            if position in plane.values:
                at[name] = len(joined)
                joined += plane.packed(position)
    return places, bytes(joined)


def _changed(first: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    return {name: words for name, words in own.items() if first.get(name) != words}


def _numbers(step: Step, evaluations: int, strength: float | None) -> dict[str, Any]:
    sag = step.guidance.get(SAG)
    found = measure.of_step(step)
    return {
        "index": step.index,
        "t": round(step.t, 2),
        "sigma": round(step.sigma, 4),
        "threshold": sag.threshold if sag is not None and math.isfinite(sag.threshold) else None,
        "measures": {name: round(v, 4) for name, v in found.items() if math.isfinite(v)},
        "caption": describe.of_step(step, evaluations, strength),
    }


def _term(term: Term) -> dict[str, Any]:
    """The term and its slider, widened where the run went beyond."""
    low, high = term.scale_range
    return {
        "name": term.name,
        "title": term.title,
        "scale": term.peak,
        "low": min(low, term.peak),
        "high": max(high, term.peak),
        "step": term.scale_step,
    }


def _charts(runs: list[dict[str, Any]], terms: dict[str, type[Term]]) -> dict[str, Any]:
    """Which measures are drawn together, and what they are called; a chart that no step has a
    number for is left out.
    """
    pushes = {name: f"{describe.push_title(kind)}, of ε(xₜ)" for name, kind in terms.items()}
    known = {name for run in runs for step in run["steps"] for name in step["measures"]}
    charts = [[name for name in names if name in known] for names in (pushes, *zip(NO_TERMS))]
    return {"lines": {**pushes, **NO_TERMS}, "charts": [names for names in charts if names]}


def _panes(runs: list[dict[str, Any]], terms: dict[str, type[Term]]) -> list[tuple[str, str]]:
    """The quantities that some step of some run has, with their titles, in the order of the
    method.
    """
    there = {name for run in runs for name in run["planes"]} | {"x0_guided"}
    there |= {"sum"} if terms else set()
    there |= {"margin"} if "attention" in there else set()
    there |= {"image"} if any(run["picture"] for run in runs) else set()
    pushes = [(name, describe.push_title(kind)) for name, kind in terms.items() if name in there]
    titles = [(name, each.title) for name, each in QUANTITIES.items() if name in there]
    before = sum(name in there for name in list(QUANTITIES)[: list(QUANTITIES).index("sum")])
    return [*titles[:before], *pushes, *titles[before:]]


def _table(name: str) -> str:
    """256 colours of a colour map, base64."""
    colours = heat_map(torch.linspace(0, 1, 256, device="cpu")[None], 0, 1, name)
    return base64.b64encode(colours.tobytes()).decode()
