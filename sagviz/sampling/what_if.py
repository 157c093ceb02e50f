"""What if, at this step: other scales, another mask, another blur. Nothing that the trace knows is
computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import EllipsisType

from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.checks import names_arguments
from sagviz.errors import ArgumentError, TraceError, warn
from sagviz.guidance import SAG, Guidance, Term, as_guidance
from sagviz.guidance.sag import HAND_MASK
from sagviz.guidance.sag_mask import hand_made
from sagviz.image import MaskLike
from sagviz.models import Model, as_model
from sagviz.models.oom import explained, too_much_between
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.checks import check_made_by, check_trace
from sagviz.sampling.collect import Progress, collect, progress_bar
from sagviz.sampling.lockstep import advance, to_host
from sagviz.sampling.prepare import Run, resume
from sagviz.sampling.unet_calls import UNetCalls

# Schedulers whose next latent depends on this step alone.
MEMORYLESS = ("DDIMScheduler", "EulerDiscreteScheduler")


@names_arguments()
def what_if(
    model: Model,
    trace: Trace,
    index: int,
    *,
    guidance: Guidance | Term | EllipsisType | None = ...,
    mask: MaskLike | EllipsisType | None = ...,
) -> Step:
    """One step of a trace under another guidance, from the same x_t.

    Another scale costs no network call, another threshold, blur or mask one (none where the mask
    comes out the same), PAG or SEG at other layers one, another layer of SAG or a branch that the
    trace lacks also its first pass: `forwards` and `samples` of the result say so. APG goes on from
    the running average that the trace's step began with, or from none.

    Args:
        model: what made the trace.
        trace: a run with its steps.
        index: position in the trace; -1 is the last.
        guidance: what to use instead; `...` keeps that of the run that made the step (in a branch
            the one that it left, for the steps before), `None` is unguided.
        mask: a hand-made mask for SAG, (H, W), (1, H, W) or (B, 1, H, W) in cells of the latent or
            of the map, 0 and 1 or true and false, of torch, NumPy or PIL; `...` keeps the trace's,
            `None` is the attention's own.

    Raises:
        ArgumentError: there is no such step, another model made the trace, or a mask without SAG.
        TraceError: the scheduler has a memory and the trace does not hold the steps before.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG, SAG
        >>> model, guidance = sv.load(), CFG(3.0) + SAG(1.0)
        >>> trace = sv.trace(model, "a fox", steps=6, guidance=guidance, progress=False)
        >>> sv.what_if(model, trace, 2, guidance=CFG(5.0) + SAG(0.5)).forwards
        0
        >>> sv.what_if(model, trace, 2, guidance=CFG(3.0) + SAG(1.0, threshold=1.5)).forwards
        1
    """
    model = as_model(model)
    with model.undisturbed(), explained(lambda: too_much_between(model)):
        run, first = depart(model, trace, index, guidance, mask)
        _warn_of_idle(mask, run, [first.index])
        (done,) = UNetCalls(model).complete([run], [first.to(run.device_times.device)])
        return to_host(run, replace(done, x_next=advance(run, done)), first.x_t)


@names_arguments()
def branch(
    model: Model,
    trace: Trace,
    index: int,
    *,
    guidance: Guidance | Term | EllipsisType | None = ...,
    mask: MaskLike | EllipsisType | None = ...,
    capture: Capture | None = None,
    progress: Progress = True,
) -> Trace:
    """A trace that goes with the old one up to step `index` and from there on its own way.

    The steps before are the old trace's records; a hand-made mask holds for all steps from `index`
    on.

    Args:
        model, trace, guidance, mask: as for `what_if`.
        index: position in the trace of the first step that may differ.
        capture: what to read of the attention after step `index`, which has that of the old trace
            where its first prediction is the same; `None` reads nothing, whatever the old one has.
        progress: whether to show a progress bar, or a function to tell (done, total) after each
            step.

    Raises:
        ArgumentError, TraceError: as for `what_if`.
        Interrupted, NotFiniteError, OutOfMemoryError, RunError: as for `trace`.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=6, guidance=CFG(3.0), progress=False)
        >>> other = sv.branch(model, trace, 4, guidance=CFG(8.0), progress=False)
        >>> other.settings.branched_at, other[3] is trace[3], other[4] is trace[4]
        (4, True, False)
    """
    run, first = depart(model, trace, index, guidance, mask, capture)
    _warn_of_idle(mask, run, range(first.index, run.evaluations))
    with progress_bar([run], progress) as follow:
        (rest,) = collect([run], firsts=[first], follow=follow)
    return replace(rest, steps=(*trace.steps[: trace.position(index)], *rest.steps))


def depart(
    model: Model,
    trace: Trace,
    index: int,
    guidance: Guidance | Term | EllipsisType | None = ...,
    mask: MaskLike | EllipsisType | None = ...,
    capture: Capture | None = None,
) -> tuple[Run, Step]:
    """The run of a branch, and its first step with all predictions that still hold, for `collect`.

    Takes what `branch` takes. The run's scheduler has been brought to the step.
    """
    model = as_model(model)
    check_trace(trace)
    position = trace.position(index)
    step, old = trace[position], trace.settings
    kept = isinstance(guidance, EllipsisType)
    total = old.guidance_at(step.index) if kept else as_guidance(guidance)
    found = check_made_by(model, trace, total)
    hand_mask = step.hand_mask if isinstance(mask, EllipsisType) else None
    if not isinstance(mask, EllipsisType | None):
        hand_mask = hand_made(mask, step)
        if total.get(SAG) is None:
            raise ArgumentError("a mask does nothing without SAG; add SAG(1.0) to the guidance")
    settings = replace(old, guidance=total, fingerprint=found, before=old, branched_at=step.index)
    on_device = None if hand_mask is None else hand_mask.to(model.device)
    run = replace(resume(model, settings, trace.inputs, capture), hand_mask=on_device)
    _replay(run, trace, position)
    return run, _reuse(step, total.at(step.index / run.evaluations), hand_mask, old)


def _warn_of_idle(mask: object, run: Run, indices: Sequence[int]) -> None:
    """Say where a mask is given to steps at none of which SAG acts."""
    acting = (run.settings.guidance.at(index / run.evaluations) for index in indices)
    if not isinstance(mask, EllipsisType | None) and not any(each.get(SAG) for each in acting):
        number = indices[0] + 1
        place = f"at step {number}" if len(indices) == 1 else f"from step {number} on"
        warn(f"the mask does nothing {place}, where SAG does not act; look at its start and stop")


def _replay(run: Run, trace: Trace, position: int) -> None:
    """Bring the scheduler to the state that it had before the step, from the stored predictions
    alone.
    """
    before, index = trace.steps[:position], trace[position].index
    run.scheduler.is_scale_input_called = True  # else diffusers misses inputs that nobody computes
    if type(run.scheduler).__name__ in MEMORYLESS:
        if hasattr(run.scheduler, "set_begin_index"):
            run.scheduler.set_begin_index(run.begin + index)
        return
    if [step.index for step in before] != list(range(index)):
        raise TraceError(
            f"step {index + 1} needs all steps before it, and this trace keeps fewer; run it"
            " without keep="
        )
    device = run.device_times.device  # the model's, which takes a walk through it to know
    with run.model.undisturbed():
        for step in before:
            advance(run, step.to(device))


def _reuse(step: Step, active: Guidance, hand_mask: Tensor | None, settings: Settings) -> Step:
    """The step under new terms, with those predictions that are the same for them."""
    # Branches that have the same text.
    alike = dict(settings.texts(step.guidance).items() & settings.texts(active).items())
    same_base = active.needs_both_branches == step.guidance.needs_both_branches
    new = replace(
        step,
        guidance=active,
        out_uncond=step.out_uncond if "out_uncond" in alike else None,
        out_cond=step.out_cond if "out_cond" in alike else None,
        kept={} if hand_mask is None else {HAND_MASK: hand_mask},
        captured=step.captured if same_base else {},
        x_next=None,
        forwards=0,
        samples=0,
    )
    found = [term.reusable(step, new) for term in active.terms]
    return replace(new, kept={**new.kept, **{k: v for kept in found for k, v in kept.items()}})
