"""The loop: `steps` yields one `Step` after the other, `trace` keeps them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from sagviz import image
from sagviz.attention.capture import Capture
from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, Term
from sagviz.models import Model
from sagviz.records.step import STORED, Step
from sagviz.records.trace import Trace
from sagviz.sampling.keep import kept_steps
from sagviz.sampling.memory_check import check_memory, check_room
from sagviz.sampling.nan_check import check_finite
from sagviz.sampling.prepare import Run, prepare
from sagviz.sampling.unet_calls import Passes


def steps(
    model: Model,
    prompt: str = "",
    *,
    negative_prompt: str = "",
    guidance: Guidance | Term | None = None,
    steps: int = 50,
    seed: int | None = 0,
    images: int = 1,
    size: tuple[int, int] | None = None,
    scheduler: object = None,
    eta: float = 0.0,
    noise: Tensor | None = None,
    capture: Capture | None = None,
) -> Iterator[Step]:
    """Run a model step by step; stop whenever you like, nothing stays attached to it.

    Args:
        model: from `load`.
        prompt: may be empty: then the seed alone decides. Upper and lower case are the same.
        negative_prompt: takes the place of the empty prompt in CFG's unconditional branch (of
            zeros, with SDXL's base model).
        guidance: a sum of terms such as `CFG(3.0) + SAG(1.0)`, one alone, or `None` for the plain
            prediction given the prompt.
        steps: 1..999, the scheduler's argument.
        seed: image i of a batch uses seed + i; `None` draws one, which `trace.settings.seed`
            records.
        images: how many pictures to make at once.
        size: (height, width) in pixels; the model's own where `None`.
        scheduler: a name such as "ddim", "pndm", "dpm++ 2m", "euler", a diffusers scheduler, or the
            model's own.
        eta: DDIM's eta, 0 (deterministic) to 1 (as noisy as DDPM).
        noise: the start noise, (images, C, H, W) of unit variance; drawn from the seeds where
            `None`.
        capture: what to read of the attention into `Step.captured`, at any layers, heads and steps.

    Raises:
        ArgumentError: before anything is computed, also where a GPU has not the memory for it.
        NotFiniteError: a step came out as NaN or infinity; says which quantity, the likely cause
            and a way out.
        OutOfMemoryError: says what was tried and what to lower.
    """
    run = prepare(
        model,
        prompt,
        negative_prompt=negative_prompt,
        guidance=guidance,
        steps=steps,
        seed=seed,
        images=images,
        size=size,
        scheduler=scheduler,
        eta=eta,
        noise=noise,
        capture=capture,
    )
    check_room([run])
    return walk(run)


def trace(
    model: Model,
    prompt: str = "",
    *,
    keep: int | Collection[int] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Trace:
    """Run a model to the end and keep its steps. Takes what `steps` takes.

    Args:
        keep: which steps to keep: all (`None`), every k-th and the last (a number), or these
            indices.
        progress: whether to show a progress bar.

    Raises:
        ArgumentError: before anything is computed, also where the records would need more than 4
            GiB.
        NotFiniteError, OutOfMemoryError: as in `steps`.
        BaseException: whatever stops the run, Ctrl-C included, carries the steps so far as its
            attribute `trace`.
    """
    return collect(prepare(model, prompt, **settings), keep=keep, progress=progress)


def walk(run: Run) -> Iterator[Step]:
    """Yield every step of a run."""
    for (step,) in walk_together([run]):
        assert step is not None, "a run of its own ends with its last step"
        yield step


def walk_together(
    runs: Sequence[Run], *, firsts: Sequence[Step] | None = None, max_rows: int | None = None
) -> Iterator[list[Step | None]]:
    """Walk several runs of one model in lockstep: their i-th evaluations share U-Net calls, and
    rows that are the same.

    Yields one step a run, `None` for the runs that have ended. Of what is shared the first run
    bears the cost, so that the sum of `forwards` over all steps is the number of U-Net calls.
    Batches of another shape round otherwise: the steps are those of `walk` within 1e-6 or so, not
    to the bit.

    Args:
        runs: their latents have one size.
        firsts: the steps to begin with, instead of evaluation 0 from noise; predictions that they
            have are not computed again.
        max_rows: batch rows in one U-Net call at most; `None` is no bound.

    Raises:
        ArgumentError: there is no run, or they are not of one model and one size.
    """
    _check_alike(runs)
    passes = Passes(runs[0].model, max_rows)
    if firsts is None:
        firsts = [
            begin(run, 0, start)
            for run, start in zip(runs, _alike([run.start for run in runs]), strict=True)
        ]
    paths = [
        json.dumps({**run.settings.to_json(), "guidance": None}, sort_keys=True) for run in runs
    ]
    going = _on_device(firsts, runs[0].model.device)
    while going:
        records, going = _evaluate(passes, runs, going, paths)
        yield records


# by the run's place: its latent on the CPU, and its next step, on the device
Going = dict[int, tuple[Tensor, Step]]


def _on_device(firsts: Sequence[Step], device: torch.device) -> Going:
    """The first steps with their tensors where the model is, equal latents once."""
    shared = {id(step.x_t): step.x_t.to(device) for step in firsts}
    return {
        place: (step.x_t, replace(on_device(step, device), x_t=shared[id(step.x_t)]))
        for place, step in enumerate(firsts)
    }


def _evaluate(
    passes: Passes, runs: Sequence[Run], going: Going, paths: Sequence[str]
) -> tuple[list[Step | None], Going]:
    """One evaluation of the runs that go on: their records, and their next steps.

    A function of its own, so that between two steps the device holds their latents alone.
    """
    done = passes.complete([runs[place] for place in going], [step for _, step in going.values()])
    records: list[Step | None] = [None] * len(runs)
    further: Going = {}
    # Latents that went the same way so far are one object, which the passes recognize; with each
    # what terms carry over.
    same: dict[object, tuple[Tensor, dict[str, Tensor]]] = {}
    for (place, (x_host, _)), step in zip(going.items(), done, strict=True):
        run = runs[place]
        way = (id(step.x_t), step.guidance, id(step.painted), id(step.apg_before), paths[place])
        carried = {
            name: value for term in step.guidance.terms for name, value in term.carry(step).items()
        }
        x_next, carried = same.setdefault(way, (advance(run, step), carried))
        record = records[place] = to_host(replace(step, x_next=x_next), x_host)
        check_finite(run, record)
        if record.index + 1 < run.evaluations:
            assert record.x_next is not None
            further[place] = record.x_next, begin(run, record.index + 1, x_next, carried)
    return records, further


def collect(
    run: Run,
    *,
    keep: int | Collection[int] | None = None,
    progress: bool = True,
    first: Step | None = None,
) -> Trace:
    """Walk to the end and keep the chosen steps."""
    (whole,) = collect_together(
        [run], keep=keep, progress=progress, firsts=None if first is None else [first]
    )
    return whole


def collect_together(
    runs: Sequence[Run],
    *,
    keep: int | Collection[int] | None = None,
    progress: bool = True,
    firsts: Sequence[Step] | None = None,
    max_rows: int | None = None,
) -> list[Trace]:
    """Walk several runs to their ends in lockstep and keep the chosen steps of each. The arguments
    are those of `walk_together`.

    Raises:
        BaseException: whatever stops the runs carries what they have so far as its attributes
            `traces` and `trace`, the first.
    """
    _check_alike(runs)
    kept = [kept_steps(keep, run.evaluations) for run in runs]
    check_memory(runs, kept)
    records: list[list[Step]] = [[] for _ in runs]
    lasts: list[Tensor] = [run.start for run in runs]
    bar = tqdm(
        total=max(run.evaluations for run in runs),
        desc=runs[0].settings.prompt[:40] or "unconditional",
        disable=not progress,
    )
    try:
        for steps in walk_together(runs, firsts=firsts, max_rows=max_rows):
            bar.update()
            for place, step in enumerate(steps):
                if step is None:
                    continue
                assert step.x_next is not None
                lasts[place] = step.x_next
                if step.index in kept[place]:
                    # then x_t must not hold the memory of the step before
                    alone = step.index - 1 not in kept[place]
                    records[place].append(replace(step, x_t=step.x_t.clone()) if alone else step)
        return [
            ended(run, tuple(own), last)
            for run, own, last in zip(runs, records, lasts, strict=True)
        ]
    except BaseException as stopped:
        traces = [
            Trace(run.settings, tuple(own), run.evaluations)
            for run, own in zip(runs, records, strict=True)
        ]
        stopped.traces, stopped.trace = traces, traces[0]  # type: ignore[attr-defined]
        raise
    finally:
        bar.close()


def begin(run: Run, index: int, x_t: Tensor, carried: Mapping[str, Tensor] | None = None) -> Step:
    """A step without predictions yet, with what terms carry over from the step before."""
    guidance, level = run.settings.guidance.at(index / run.evaluations), run.levels[index]
    known: dict[str, Any] = {
        n: value
        for n, value in (carried or {}).items()
        if any(n in term.stored for term in guidance.terms)
    }
    return Step(
        index=index,
        level=level,
        guidance=guidance,
        x_t=x_t,
        painted=run.painted,
        seed=run.settings.seed,
        **known,
    )


def advance(run: Run, step: Step) -> Tensor:
    """The scheduler's step on the guided output: x_next."""
    settings, extra = run.settings, dict[str, Any]()
    if "eta" in run.step_options:
        extra["eta"] = settings.eta
    if "generator" in run.step_options:
        # The noise of a stochastic step comes from (seed of the image, index), so that branches
        # reuse it.
        extra["generator"] = [
            generator(settings.seed + row, step.index) for row in range(settings.images)
        ]
    return run.scheduler.step(step.output, run.times[step.index], step.x_t, **extra).prev_sample


def on_device(step: Step, device: torch.device) -> Step:
    """The step with its tensors where the model is."""
    return replace(
        step,
        **{name: value.to(device) for name in STORED if (value := getattr(step, name)) is not None},
    )


def to_host(step: Step, x_t: Tensor) -> Step:
    """The step with its tensors on the CPU, moved in one copy: one synchronization a step. `x_t` is
    already there.
    """
    names = [name for name in STORED if name != "x_t" and getattr(step, name) is not None]
    read = [
        (layer, kind, part)
        for layer, found in step.captured.items()
        for kind, part in found.tensors.items()
    ]
    parts = [getattr(step, name) for name in names] + [part for _, _, part in read]
    flat = torch.cat([part.to(step.x_t.device).flatten() for part in parts]).to("cpu", copy=True)
    pieces = [
        piece.view(part.shape)
        for piece, part in zip(flat.split([part.numel() for part in parts]), parts, strict=True)
    ]
    captured = dict(step.captured)
    for (layer, kind, _), piece in zip(read, pieces[len(names) :], strict=True):
        captured[layer] = captured[layer].with_tensors({kind: piece})
    return replace(step, x_t=x_t, captured=captured, **dict(zip(names, pieces, strict=False)))


def ended(run: Run, steps: tuple[Step, ...], last: Tensor) -> Trace:
    """The trace of a run that reached its end, with its pictures."""
    pictures = run.model.decode(last)
    rgb = run.model.colours(last, pictures)
    return Trace(run.settings, steps, run.evaluations, tuple(map(image.to_png, pictures)), rgb)


def _alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, those that are equal being the same object."""
    distinct: list[Tensor] = []
    for tensor in tensors:
        if not any(torch.equal(tensor, other) for other in distinct):
            distinct.append(tensor)
    return [next(other for other in distinct if torch.equal(tensor, other)) for tensor in tensors]


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot share a U-Net call."""
    models, sizes = {id(run.model) for run in runs}, {run.settings.size for run in runs}
    if len(models) != 1 or len(sizes) != 1:
        raise ArgumentError(
            f"{len(runs)} runs of {len(models)} models and {len(sizes)} sizes cannot go in"
            " lockstep; give one run or more, of one model and one size"
        )
