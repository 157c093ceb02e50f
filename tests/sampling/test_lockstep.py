"""Runs in lockstep: the same steps as alone, in fewer calls, and each call and row counted once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from instruments import peak_memory
from tiny import counted, difference, is_one_sentence, margin
from torch.utils._python_dispatch import TorchDispatchMode

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ArgumentError, Interrupted
from sagviz.guidance import PAG, SEG
from sagviz.models import SCHEDULERS
from sagviz.sampling.collect import collect
from sagviz.sampling.lockstep import begin, lockstep
from sagviz.sampling.prepare import Run, prepare
from sagviz.sampling.unet_calls import UNetCalls

BOTH = CFG(3.0) + SAG(1.0)


def runs_of(model: sv.Model, *each: dict[str, Any]) -> list[Run]:
    return [
        prepare(model, **{"prompt": "a fox", "steps": 4, "guidance": BOTH, **settings})
        for settings in each
    ]


def together(model: sv.Model, *each: dict[str, Any], **options: Any) -> list[sv.Trace]:
    return collect(runs_of(model, *each), **options)


def alone(model: sv.Model, *each: dict[str, Any]) -> list[sv.Trace]:
    return [collect([run])[0] for run in runs_of(model, *each)]


def distance(a: sv.Trace, b: sv.Trace) -> float:
    """Largest difference of any stored field, relative to its RMS; the fields have to be the same
    ones.
    """
    assert [step.index for step in a] == [step.index for step in b]
    assert [step.guidance for step in a] == [step.guidance for step in b]
    assert a.settings == b.settings
    pairs = [(x.tensors, y.tensors) for x, y in zip(a, b, strict=True)]
    assert all(x.keys() == y.keys() for x, y in pairs)
    both = [(x[name], y[name]) for x, y in pairs for name in x]
    return max(difference(x, y) for x, y in both if float(y.abs().max()) > 0)


MIXED: tuple[dict[str, Any], ...] = (
    {"guidance": None},
    {"guidance": CFG(3.0), "negative_prompt": "a tree"},
    {"guidance": SAG(0.5)},
    {"prompt": ""},
    {"prompt": "a tree", "seed": 4, "steps": 7},
    {"images": 2, "scheduler": "euler"},
    {
        "guidance": (
            CFG(2.0)
            + SAG(
                1.0, layer="down_blocks.0.attentions.0.transformer_blocks.0.attn1", blur_sigma=2.0
            )
        )
    },
    {"guidance": CFG(2.0) + SAG(1.0, heads=(1,), start=0.5), "eta": 1.0},
)


@pytest.mark.slow
@pytest.mark.parametrize("max_rows", [None, 1, 3, 5])
def test_runs_of_every_kind_go_together_as_they_go_alone(
    model: sv.Model, max_rows: int | None
) -> None:
    """Prompts, seeds, lengths, schedulers, layers, windows and batches all differ."""
    expected = alone(model, *MIXED)
    assert min(margin(trace) for trace in expected[2:]) > 1e-5, "rounding must not decide a mask"
    found = together(model, *MIXED, max_rows=max_rows)
    assert max(map(distance, found, expected)) < 1e-4


@pytest.mark.slow
def test_a_v_model_goes_together(v_model: sv.Model) -> None:
    each: list[dict[str, Any]] = [
        {"guidance": CFG(3.0)},
        {"guidance": BOTH},
        {"guidance": CFG(1.0) + SAG(0.3)},
    ]
    assert max(map(distance, together(v_model, *each), alone(v_model, *each))) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_goes_together(model: sv.Model, scheduler: str) -> None:
    each = [
        {"guidance": guidance, "scheduler": scheduler, "seed": 3} for guidance in (CFG(3.0), BOTH)
    ]
    assert max(map(distance, together(model, *each), alone(model, *each))) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("max_rows", [None, 2, 5])
def test_each_call_and_each_row_is_counted_once(model: sv.Model, max_rows: int | None) -> None:
    with counted(model.unet) as rows:
        traces = together(model, *MIXED, max_rows=max_rows)
    assert sum(trace.forwards for trace in traces) == len(rows)
    assert sum(trace.samples for trace in traces) == sum(rows)
    assert max(rows) <= (max_rows or 99)


@pytest.mark.slow
def test_a_grid_of_scales_shares_its_first_step_and_its_calls(model: sv.Model) -> None:
    """Nine cells from one noise: at the first step three rows in all, then 2 and 1 rows a cell in
    two calls.
    """
    scales = [{"guidance": CFG(w) + SAG(s)} for w in (1.0, 3.0, 5.0) for s in (0.0, 0.5, 1.0)]
    with counted(model.unet) as rows:
        together(model, *scales)
    assert rows == [2, 1] + [18, 9] * 3


def test_runs_share_their_steps_until_they_part(model: sv.Model) -> None:
    """SAG that begins halfway is CFG before; the two are one run until then, whatever history the
    scheduler has.
    """
    each = [
        {"guidance": guidance, "scheduler": "dpm++ 2m"}
        for guidance in (CFG(3.0), CFG(3.0) + SAG(1.0, start=0.5))
    ]
    with counted(model.unet) as rows:
        found = together(model, *each)
    assert rows == [2, 2, 2, 1, 4, 1]
    assert max(map(distance, found, alone(model, *each))) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"negative_prompt": "a tree"},
        {"guidance": CFG(3.0) + SAG(1.0, threshold=1.02)},
        {"eta": 1.0, "seed": 0},
    ],
    ids=str,
)
def test_what_differs_is_not_shared(model: sv.Model, other: dict[str, Any]) -> None:
    each = [{}, other]
    assert max(map(distance, together(model, *each), alone(model, *each))) < 1e-4


def test_hand_made_masks_are_each_runs_own(model: sv.Model) -> None:
    """Two runs from one noise that differ in the mask only must not share degraded latents."""
    (run,) = runs_of(model, {})
    height, width = run.start.shape[2:]
    masks = [torch.zeros(1, 1, height, width), torch.ones(1, 1, height, width)]
    runs = [
        replace(run, hand_mask=mask, scheduler=runs_of(model, {})[0].scheduler) for mask in masks
    ]
    for trace, mask in zip(collect(runs), masks, strict=True):
        assert all(torch.equal(step.mask, mask) for step in trace)
        assert bool((trace[0].terms["sag"] == 0).all()) == (float(mask.sum()) == 0)


def test_the_walk_says_which_runs_have_ended(model: sv.Model) -> None:
    found = list(lockstep(runs_of(model, {"steps": 2}, {"steps": 4}, {"steps": 3})))
    assert [[step is not None for step in steps] for steps in found] == [
        [True, True, True],
        [True, True, True],
        [False, True, True],
        [False, True, False],
    ]


def test_what_stops_them_carries_what_all_have(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = model.unet.forward, 0

    def breaks(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(model.unet, "forward", breaks)
    with pytest.raises(Interrupted) as stopped:
        together(model, {}, {"seed": 1})
    assert [len(trace) for trace in stopped.value.traces] == [2, 2]
    assert stopped.value.trace is stopped.value.traces[0]


@pytest.mark.parametrize("each", [[], [{}, {"size": (32, 48)}]], ids=["none", "sizes"])
def test_what_cannot_go_together_is_refused(model: sv.Model, each: list[dict[str, Any]]) -> None:
    with pytest.raises(ArgumentError, match="one model and one size") as error:
        together(model, *each)
    assert is_one_sentence(error.value)


def test_two_models_are_refused(model: sv.Model, folder: Path) -> None:
    with pytest.raises(ArgumentError, match="2 models"):
        collect([*runs_of(model, {}), *runs_of(sv.load(folder), {})])


class Waits(TorchDispatchMode):
    """Operations that make a GPU wait: numbers that Python asks for or gives, rows by lists."""

    NAMES = ("_local_scalar_dense", "nonzero", "lift_fresh", "index.Tensor", "is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.found += [str(func)] * any(f"aten.{name}" in str(func) for name in self.NAMES)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("prompt", ["a fox", ""])
def test_the_device_is_not_waited_for_before_the_records_go_to_the_host(
    model: sv.Model, prompt: str
) -> None:
    guidance = CFG(3.0) + SAG(1.0, heads=(0, 2)) + PAG(1.0) + SEG(1.0)
    read = sv.Capture("all", ("mass", "row", "words"), heads=(1, 2), place=(3, 4))
    given = {"prompt": prompt, "guidance": guidance, "images": 2, "capture": read}
    runs = runs_of(model, given, {**given, "seed": 5, "guidance": CFG(2.0) + SAG(1.0)})
    calls = UNetCalls(model)
    calls.complete(runs, [begin(run, 0, run.start) for run in runs])  # texts, blurs: once a run
    with Waits() as waits:
        steps = calls.complete(runs, [begin(run, 1, run.start) for run in runs])
        assert steps[0].output.shape == runs[0].start.shape
    assert not waits.found


@pytest.mark.slow
def test_whole_maps_are_held_once(model: sv.Model) -> None:
    """Beyond what the step itself takes, no more than the maps and a little; and they are right."""
    size, read = (128, 128), sv.Capture("all", "maps")
    found: list[sv.Step] = []

    def step(capture: sv.Capture | None) -> None:
        found[:] = sv.steps(model, "a fox", steps=1, size=size, capture=capture)

    plain, captured = peak_memory(lambda: step(None)), peak_memory(lambda: step(read))
    needed = read.bytes(model, size=size)
    assert needed > 100 * 2**20, "maps that are worth it"
    assert captured - plain < 1.2 * needed
    for each in found[0].captured.values():
        assert each.maps is not None
        torch.testing.assert_close(each.maps.sum(dim=-1), torch.ones_like(each.maps[..., 0]))
