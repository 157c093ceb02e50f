"""The loop: `steps` yields one `Step` after the other, `trace` keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sagviz import image
from sagviz.attention import capture
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, Term
from sagviz.models import Model
from sagviz.records import STORED, Step
from sagviz.runs import Run, check_whole, generator, prepare
from sagviz.traces import Trace

MAX_TRACE_BYTES = 4 * 2**30


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
) -> Iterator[Step]:
    """Run a model step by step; stop whenever you like, nothing stays attached to it.

    Args:
        model: from `load`.
        prompt: may be empty: then the seed alone decides. Upper and lower case are the same.
        negative_prompt: takes the place of the empty prompt in CFG's unconditional branch.
        guidance: `CFG(3.0) + SAG(1.0)`, either alone, or `None` for the plain prediction given the prompt.
        steps: 1..999, the scheduler's argument.
        seed: image i of a batch uses seed + i; `None` draws one, which `trace.settings.seed` records.
        images: how many pictures to make at once.
        size: (height, width) in pixels; the model's own where `None`.
        scheduler: a name such as "ddim", "pndm", "dpm++ 2m", "euler", a diffusers scheduler, or the model's own.
        eta: DDIM's eta, 0 (deterministic) to 1 (as noisy as DDPM).
        noise: the start noise, (images, C, H, W) of unit variance; drawn from the seeds where `None`.

    Raises:
        ArgumentError: before anything is computed.
    """
    run = prepare(
        model, prompt, negative_prompt=negative_prompt, guidance=guidance, steps=steps, seed=seed, images=images,
        size=size, scheduler=scheduler, eta=eta, noise=noise,
    )  # fmt: skip
    return walk(run)


def trace(
    model: Model, prompt: str = "", *, keep: int | Collection[int] | None = None, progress: bool = True, **settings: Any
) -> Trace:
    """Run a model to the end and keep its steps. Takes what `steps` takes.

    Args:
        keep: which steps to keep: all (`None`), every k-th and the last (a number), or these indices.
        progress: whether to show a progress bar.

    Raises:
        ArgumentError: before anything is computed, also where the records would need more than 4 GiB.
        BaseException: whatever stops the run, Ctrl-C included, carries the steps so far as its attribute `trace`.
    """
    return collect(prepare(model, prompt, **settings), keep=keep, progress=progress)


def walk(run: Run, first: Step | None = None) -> Iterator[Step]:
    """Yield every step of a run from `first` on, whose predictions, where it has them, are not computed again."""
    step = begin(run, 0, run.start) if first is None else first
    x_host, step = step.x_t, on_device(step, run.model.device)
    while True:
        done = complete(run, step)
        x_next = advance(run, done)
        record = to_host(replace(done, x_next=x_next), x_host)
        yield record
        if record.index + 1 == run.evaluations:
            return
        assert record.x_next is not None
        x_host, step = record.x_next, begin(run, record.index + 1, x_next)


def collect(run: Run, *, keep: int | Collection[int] | None = None, progress: bool = True, first: Step | None = None) -> Trace:
    """Walk to the end and keep the chosen steps."""
    kept = _kept(keep, run.evaluations)
    _check_memory(run, len(kept))
    records: list[Step] = []
    bar = tqdm(total=run.evaluations, desc=run.settings.prompt[:40] or "unconditional", disable=not progress)
    try:
        for step in walk(run, first):
            bar.update()
            if step.index in kept:
                alone = step.index - 1 not in kept  # then x_t must not keep the memory of the step before, which it is part of
                records.append(replace(step, x_t=step.x_t.clone()) if alone else step)
        last = step.x_next
        assert last is not None
        pictures = run.model.decode(last)
    except BaseException as stopped:
        stopped.trace = Trace(run.settings, tuple(records), run.evaluations)  # type: ignore[attr-defined]
        raise
    finally:
        bar.close()
    rgb = image.fit_latent_rgb(last, pictures)
    return Trace(run.settings, tuple(records), run.evaluations, tuple(map(image.to_png, pictures)), rgb)


def begin(run: Run, index: int, x_t: Tensor) -> Step:
    """A step without predictions yet."""
    guidance = run.settings.guidance.at(index / run.evaluations)
    return Step(index=index, level=run.levels[index], guidance=guidance, x_t=x_t, painted=run.painted)


@torch.no_grad()
def complete(run: Run, step: Step) -> Step:
    """The step with all predictions that its guidance needs; those that it has already cost nothing."""
    if step.lacks_prediction:
        step = _first_pass(run, step)
    if step.guidance.sag is not None and step.out_degraded is None:
        step = _second_pass(run, step)
    return step


def advance(run: Run, step: Step) -> Tensor:
    """The scheduler's step on the guided output: x_next."""
    settings, extra = run.settings, dict[str, Any]()
    if "eta" in run.step_options:
        extra["eta"] = settings.eta
    if "generator" in run.step_options:
        # The noise of a stochastic step comes from (seed of the image, index), so that branches reuse it.
        extra["generator"] = [generator(settings.seed + row, step.index) for row in range(settings.images)]
    return run.scheduler.step(step.output, run.times[step.index], step.x_t, **extra).prev_sample


def on_device(step: Step, device: torch.device) -> Step:
    """The step with its tensors where the model is."""
    return replace(step, **{name: value.to(device) for name in STORED if (value := getattr(step, name)) is not None})


def to_host(step: Step, x_t: Tensor) -> Step:
    """The step with its tensors on the CPU, moved in one copy: one synchronization a step. `x_t` is already there."""
    names = [name for name in STORED if name != "x_t" and getattr(step, name) is not None]
    parts = [getattr(step, name) for name in names]
    flat = torch.cat([part.flatten() for part in parts]).to("cpu", copy=True)
    pieces = flat.split([part.numel() for part in parts])
    return replace(step, x_t=x_t, **{n: piece.view(part.shape) for n, piece, part in zip(names, pieces, parts, strict=True)})


def _first_pass(run: Run, step: Step) -> Step:
    """Both branches in one pass under CFG, else the single one; the attention is read where SAG needs it."""
    rows, both, sag = step.x_t.shape[0], step.guidance.cfg is not None, step.guidance.sag
    texts = run.embeddings if both else (run.single,)
    x = run.scheduler.scale_model_input(step.x_t, run.times[step.index])
    arguments = (
        torch.cat([x] * len(texts)),
        run.device_times[step.index],
        torch.cat([t.expand(rows, -1, -1) for t in texts]),
    )
    with run.model.lock:
        attention: Tensor | None = None
        if sag is None:
            outputs = run.model.predict(*arguments)
        else:
            height, width = x.shape[2:]
            with capture(run.model.unet, sag.layer, rows, (height, width), sag.heads) as maps:
                outputs = run.model.predict(*arguments)
            (attention,) = maps
    parts: list[Tensor | None] = list(outputs.chunk(2)) if both else [None, outputs] if run.settings.prompt else [outputs, None]
    counted = replace(step, forwards=step.forwards + 1, samples=step.samples + len(outputs))
    return replace(counted, out_uncond=parts[0], out_cond=parts[1], attention=attention)


def _second_pass(run: Run, step: Step) -> Step:
    """SAG's own pass: the degraded latent, on the branch that guidance starts from."""
    x_degraded = step.x_degraded
    assert x_degraded is not None
    text = run.embeddings[0] if step.guidance.cfg else run.single
    x = run.scheduler.scale_model_input(x_degraded, run.times[step.index])
    with run.model.lock:
        output = run.model.predict(x, run.device_times[step.index], text.expand(len(x), -1, -1))
    return replace(step, out_degraded=output, forwards=step.forwards + 1, samples=step.samples + len(x))


def _kept(keep: int | Collection[int] | None, evaluations: int) -> set[int]:
    if keep is None:
        return set(range(evaluations))
    if isinstance(keep, int | float | np.number):
        check_whole("keep", keep, 1, evaluations)
        return {*range(0, evaluations, int(keep)), evaluations - 1}
    wrong = [index for index in keep if not isinstance(index, int | np.integer) or not 0 <= index < evaluations]
    if wrong:
        raise ArgumentError(f"keep names the steps {wrong}; this run has 0 to {evaluations - 1}")
    return {int(index) for index in keep}


def _check_memory(run: Run, kept: int) -> None:
    """Refuse more records than fit: x_t, x_next and an output for each branch, in float32, and a map for SAG."""
    guidance, latent = run.settings.guidance, run.start
    tensors = 3 + (guidance.cfg is not None) + (guidance.sag is not None)
    bytes_each = 4 * (tensors * latent.numel() + (guidance.sag is not None) * latent[:, 0].numel())
    fitting = MAX_TRACE_BYTES // bytes_each
    if kept <= fitting:
        return
    every = -(-(run.evaluations - 1) // max(1, fitting - 1))
    advice = f"keep={every} or more keeps every {every}th step" if fitting > 1 else "make fewer images at once, or smaller ones"
    raise ArgumentError(
        f"{kept} steps of this size need {kept * bytes_each / 2**30:.1f} GiB of records, "
        f"more than {MAX_TRACE_BYTES / 2**30:.0f}; {advice}"
    )
