"""What if, at this step: other scales, another mask, another blur. Nothing that the trace knows is
computed again.
"""

from __future__ import annotations

from dataclasses import replace
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import Guidance, Term, as_guidance
from sagviz.models import Model
from sagviz.records.settings import Settings
from sagviz.records.step import OF_TERMS, Step
from sagviz.records.trace import Trace
from sagviz.sampling.loop import advance, collect, on_device, to_host
from sagviz.sampling.nan_check import check_finite
from sagviz.sampling.prepare import Run, resume
from sagviz.sampling.unet_calls import Passes

# the next latent depends on this step alone
MEMORYLESS = ("DDIMScheduler", "EulerDiscreteScheduler")


def what_if(
    model: Model,
    trace: Trace,
    index: int,
    *,
    guidance: Guidance | Term | EllipsisType | None = ...,
    mask: Tensor | EllipsisType | None = ...,
) -> Step:
    """One step of a trace under another guidance, from the same x_t.

    Another scale costs no U-Net call, another threshold, blur or mask one (none where the mask
    comes out the same), PAG or SEG at other layers one, another layer of SAG or a branch that the
    trace lacks also its first pass: `forwards` and `samples` of the result say so. APG goes on from
    the running average that the trace's step began with, or from none.

    Args:
        index: position in the trace; -1 is the last.
        guidance: what to use instead; `...` keeps the trace's, `None` is unguided.
        mask: a hand-made mask for SAG, (H, W), (1, H, W) or (B, 1, H, W) in latent cells, 0 or 1;
            `...` keeps the trace's, `None` is the attention's own.

    Raises:
        TraceError: the scheduler has a memory and the trace does not hold the steps before.
    """
    run, first = depart(model, trace, index, guidance, mask)
    (done,) = Passes(model).complete([run], [on_device(first, model.device)])
    changed = to_host(replace(done, x_next=advance(run, done)), first.x_t)
    check_finite(run, changed)
    return changed


def branch(
    model: Model,
    trace: Trace,
    index: int,
    *,
    guidance: Guidance | Term | EllipsisType | None = ...,
    mask: Tensor | EllipsisType | None = ...,
    progress: bool = True,
) -> Trace:
    """A trace that goes with the old one up to step `index` and from there on its own way.

    The steps before are the old trace's records; a hand-made mask holds for all steps from `index`
    on.

    Args:
        index: position in the trace of the first step that may differ.
        guidance, mask: as for `what_if`.
        progress: whether to show a progress bar.
    """
    run, first = depart(model, trace, index, guidance, mask)
    rest = collect(run, progress=progress, first=first)
    return replace(rest, steps=(*trace.steps[: _position(trace, index)], *rest.steps))


def depart(
    model: Model,
    trace: Trace,
    index: int,
    guidance: Guidance | Term | EllipsisType | None = ...,
    mask: Tensor | EllipsisType | None = ...,
) -> tuple[Run, Step]:
    """For whoever walks a branch step by step: its run, and its first step with all predictions
    that still hold.

    Takes what `branch` takes. The run's scheduler has been brought to the step.
    """
    position = _position(trace, index)
    step, old = trace[position], trace.settings
    if model.name != old.model:
        raise ArgumentError(
            f"the trace was made by {old.model}, not by {model.name}; load that model"
        )
    total = old.guidance if isinstance(guidance, EllipsisType) else as_guidance(guidance)
    painted = step.painted if isinstance(mask, EllipsisType) else _as_mask(mask, step.x_t)
    if isinstance(mask, Tensor) and total.sag is None:
        raise ArgumentError("a mask does nothing without SAG; add SAG(1.0) to the guidance")
    run = replace(
        resume(model, replace(old, guidance=total, before=old, branched_at=step.index)),
        painted=painted,
    )
    _replay(run, trace, position)
    return run, _reuse(step, total.at(step.index / run.evaluations), painted, old)


def _replay(run: Run, trace: Trace, position: int) -> None:
    """Bring the scheduler to the state that it had before the step, from the stored predictions
    alone.
    """
    before, index = trace.steps[:position], trace[position].index
    if type(run.scheduler).__name__ in MEMORYLESS:
        if hasattr(run.scheduler, "set_begin_index"):
            run.scheduler.set_begin_index(index)
        return
    if [step.index for step in before] != list(range(index)):
        raise TraceError(
            f"step {index} needs all steps before it, and this trace was told to keep fewer; run it"
            " without keep="
        )
    for step in before:
        advance(run, on_device(step, run.model.device))


def _reuse(step: Step, active: Guidance, painted: Tensor | None, settings: Settings) -> Step:
    """The step under new terms, with those predictions that are the same for them."""
    blank: dict[str, Any] = dict.fromkeys(("out_uncond", "out_cond", *OF_TERMS))
    # branches that are told the same
    alike = settings.texts(step.guidance).items() & settings.texts(active).items()
    new = replace(
        step,
        guidance=active,
        painted=painted,
        x_next=None,
        forwards=0,
        samples=0,
        captured=step.captured if active.both == step.guidance.both else {},
        **blank | {name: getattr(step, name) for name, _ in alike},
    )
    for term in active.terms:
        new = replace(new, **term.kept(step, new))
    return new


def _position(trace: Trace, index: int) -> int:
    if not -len(trace) <= index < len(trace):
        raise ArgumentError(f"index is {index}; this trace has steps 0 to {len(trace) - 1}")
    return index % len(trace)


def _as_mask(mask: Tensor | None, x_t: Tensor) -> Tensor | None:
    """A hand-made mask as (B, 1, H, W) of 0 and 1."""
    if mask is None:
        return None
    rows, _, height, width = x_t.shape
    if (
        mask.shape[-2:] != (height, width)
        or mask.dim() not in (2, 3, 4)
        or not torch.isin(mask, torch.tensor([0, 1])).all()
    ):
        raise ArgumentError(
            f"the mask has the shape {tuple(mask.shape)}; give 0 and 1 in latent cells, (H, W) ="
            f" ({height}, {width})"
        )
    return mask.float().reshape(-1, 1, height, width).expand(rows, -1, -1, -1)
