"""The loop: runs of one model, their evaluations one after the other, in joint U-Net calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sagviz.diffusion.precision import exact
from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError
from sagviz.guidance.sag import HAND_MASK
from sagviz.records.step import Step
from sagviz.sampling.nan_check import not_finite_error
from sagviz.sampling.prepare import Run
from sagviz.sampling.unet_calls import UNetCalls

NOTHING: Mapping[str, Tensor] = {}
LARGE = 2**22  # numbers, 16 MiB


@dataclass(frozen=True, eq=False)
class Going:
    """A run on its way: its next step on the model's device, and that step's x_t on the CPU."""

    place: int
    run: Run
    step: Step
    x_t: Tensor


def lockstep(
    runs: Sequence[Run], *, firsts: Sequence[Step] | None = None, max_rows: int | None = None
) -> Iterator[list[Step | None]]:
    """Run several runs of one model in lockstep: their i-th evaluations share U-Net calls, and rows
    that are the same.

    Yields one step a run, on the CPU, `None` for the runs that have ended. Of what is shared the
    first run bears the cost, so that the sum of `forwards` over all steps is the number of U-Net
    calls. Batches of another shape round otherwise: the steps are those of a run alone within 1e-6
    or so, not to the bit.

    Args:
        runs: their latents have one size.
        firsts: the steps to begin with, instead of evaluation 0 from noise; predictions that they
            have are not computed again.
        max_rows: batch rows in one U-Net call at most; `None` is no bound.

    Raises:
        ArgumentError: there is no run, or they are not of one model and one size.
    """
    check_alike(runs)
    calls = UNetCalls(runs[0].model, max_rows)
    going = _begin_all(runs, firsts)
    while going:
        with runs[0].model.undisturbed():
            records, going = _evaluate(calls, going)
        yield [records.get(place) for place in range(len(runs))]


def _evaluate(calls: UNetCalls, going: Sequence[Going]) -> tuple[dict[int, Step], list[Going]]:
    """One evaluation: the records of the runs, by their places, and the runs that go on.

    A function of its own, so that between two evaluations the device holds latents alone.
    """
    steps = calls.complete([each.run for each in going], [each.step for each in going])
    records: dict[int, Step] = {}
    further: list[Going] = []
    for each, step, (x_next, carried) in zip(going, steps, _advanced(going, steps), strict=True):
        run, index = each.run, step.index + 1
        record = records[each.place] = to_host(run, replace(step, x_next=x_next), each.x_t)
        if index < run.evaluations and record.x_next is not None:
            following = begin(run, index, x_next, carried)
            further.append(Going(each.place, run, following, record.x_next))
    return records, further


def _advanced(
    going: Sequence[Going], steps: Sequence[Step]
) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
    """The next latent of each run, and what its terms carry over. Latents that went the same way
    so far are one object, by which the calls recognize them.
    """
    same: dict[object, tuple[Tensor, Mapping[str, Tensor]]] = {}
    for each, step in zip(going, steps, strict=True):
        kept, terms = tuple(map(id, step.kept.values())), step.guidance.terms
        carried = {name: value for term in terms for name, value in term.carry_over(step).items()}
        # Every scheduler takes its own step, for the sake of its history.
        found = advance(each.run, step), carried
        yield same.setdefault((id(step.x_t), step.guidance, kept, each.run.path), found)


def begin(run: Run, index: int, x_t: Tensor, carried: Mapping[str, Tensor] = NOTHING) -> Step:
    """A step without predictions yet, with what terms carry over from the step before."""
    guidance = run.settings.guidance.at(index / run.evaluations)
    names = {name for term in guidance.terms for name in term.keeps}
    kept = {name: value for name, value in carried.items() if name in names}
    if run.hand_mask is not None:
        kept[HAND_MASK] = run.hand_mask
    level, seed = run.levels[index], run.settings.seed
    return Step(index=index, level=level, guidance=guidance, x_t=x_t, kept=kept, seed=seed)


def advance(run: Run, step: Step) -> Tensor:
    """The scheduler's step on the guided output, and around what is painted the picture: x_next."""
    settings, extra = run.settings, dict[str, Any]()
    if "eta" in run.step_options:
        extra["eta"] = settings.eta
    # DDIM draws no noise where eta is 0.
    if "generator" in run.step_options and extra.get("eta") != 0:
        # The noise of a stochastic step comes from (seed of the image, index): branches reuse it.
        extra["generator"] = [generator(seed, step.index) for seed in settings.seeds]
    with exact(step.x_t.device):
        done = run.scheduler.step(step.output, run.times[step.index], step.x_t, **extra)
    return run.repainted(step.index, done.prev_sample)


def to_host(run: Run, step: Step, x_t: Tensor) -> Step:
    """The step with its tensors on the CPU, where `x_t` is already. They are moved in one copy, one
    synchronization a step, but for large ones that were captured: maps are not held twice.

    Raises:
        NotFiniteError: something that was moved is not finite, as x_next of a broken x_t is not.
    """
    _check_kept(step)
    parts = {name: part for name, part in step.tensors.items() if name != "x_t"}
    large = [n for n, part in parts.items() if part.numel() > LARGE and n.startswith("captured.")]
    alone = {name: parts[name].cpu() for name in large}
    joined = {name: part for name, part in parts.items() if name not in alone}
    flat = torch.cat([part.to(step.x_t.device).flatten() for part in joined.values()])
    here = flat.to("cpu", copy=True)  # on a CPU, too, where tests see by it what leaves the device
    pieces = here.split([part.numel() for part in joined.values()])
    moved = zip(joined.items(), pieces, strict=True)
    shaped = {name: piece.view(part.shape) for (name, part), piece in moved}
    record = step.with_tensors({"x_t": x_t, **alone, **shaped})
    # the extremes, which are not finite where anything is not, take no memory
    if not all(end.isfinite() for part in (here, *alone.values()) for end in part.aminmax()):
        raise not_finite_error(run, record)
    return record


def _check_kept(step: Step) -> None:
    """Refuse what a term of one's own keeps in a form that a file of the run cannot hold."""
    for term in step.guidance.terms:
        for name in term.keeps:
            part = step.kept.get(name)
            rows = None if part is None or not part.dim() else len(part)
            if part is not None and (rows != len(step.x_t) or not part.is_floating_point()):
                raise ArgumentError(
                    f"{term.title} keeps {name}, {tuple(part.shape)} of {part.dtype}; keep floats"
                    f" with one row for each image, here {len(step.x_t)}"
                )


def check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot share a U-Net call."""
    models, sizes = {id(run.model) for run in runs}, {run.settings.size for run in runs}
    if len(models) != 1 or len(sizes) != 1:
        raise ArgumentError(
            f"{len(runs)} runs of {len(models)} models and {len(sizes)} sizes cannot go in"
            " lockstep; give one run or more, of one model and one size"
        )


def _begin_all(runs: Sequence[Run], firsts: Sequence[Step] | None) -> list[Going]:
    """The runs with their first steps on the model's device, equal latents once."""
    if firsts is None:
        starts = _alike([run.start for run in runs])
        firsts = [begin(run, 0, start) for run, start in zip(runs, starts, strict=True)]
    device = runs[0].model.device
    latents = {id(step.x_t): step.x_t.to(device) for step in firsts}
    return [
        Going(place, run, replace(step.to(device), x_t=latents[id(step.x_t)]), step.x_t)
        for place, (run, step) in enumerate(zip(runs, firsts, strict=True))
    ]


def _alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, those that are equal being the same object."""
    distinct: list[Tensor] = []
    for tensor in tensors:
        if not any(torch.equal(tensor, other) for other in distinct):
            distinct.append(tensor)
    return [next(other for other in distinct if torch.equal(tensor, other)) for tensor in tensors]
