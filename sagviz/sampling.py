"""The loop: `steps` yields one `Step` after the other, `trace` keeps them."""

from __future__ import annotations

import inspect
import secrets
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sagviz import image
from sagviz.attention import capture, find_layer
from sagviz.degrade import kernel_size
from sagviz.errors import ArgumentError, SagvizWarning
from sagviz.guidance import Guidance, Term, as_guidance, check_number
from sagviz.models import Model, make_scheduler
from sagviz.schedule import Level, levels
from sagviz.traces import Settings, Step, Trace

MAX_STEPS = 999
MAX_TRACE_BYTES = 4 * 2**30


@dataclass(frozen=True, eq=False)
class Run:
    """All that is fixed before the first step. `times` are what the scheduler is told, `device_times` what the U-Net is."""

    model: Model
    settings: Settings
    scheduler: Any
    levels: list[Level]
    times: list[Any]
    device_times: Tensor
    embeddings: tuple[Tensor, Tensor]
    start: Tensor

    @property
    def evaluations(self) -> int:
        """How many steps the run has: with PNDM one more than `settings.steps`."""
        return len(self.levels)

    @property
    def single(self) -> Tensor:
        """Embedding of the branch that works without CFG: the prompt's, or the empty one."""
        return self.embeddings[bool(self.settings.prompt)]


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


def trace(model: Model, prompt: str = "", *, keep: int | Collection[int] | None = None, progress: bool = True, **settings: Any) -> Trace:
    """Run a model to the end and keep its steps. Takes what `steps` takes.

    Args:
        keep: which steps to keep: all (`None`), every k-th and the last (a number), or these indices.
        progress: whether to show a progress bar.

    Raises:
        ArgumentError: before anything is computed, also where the records would need more than 4 GiB.
        BaseException: whatever stops the run, Ctrl-C included, carries the steps so far as its attribute `trace`.
    """
    return collect(prepare(model, prompt, **settings), keep=keep, progress=progress)


def prepare(
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
) -> Run:
    """Check everything, embed the prompts, draw the noise. The arguments are those of `steps`."""
    total = as_guidance(guidance)
    _check_whole("steps", steps, 1, MAX_STEPS)
    _check_whole("images", images, 1, 4096)
    _check_whole("seed", seed if seed is not None else 0, 0, 2**63 - 4097)
    check_number("eta", eta, 0, 1)
    for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if not isinstance(text, str):
            raise ArgumentError(f"{name} is {text!r}; give a text, '' for none")
    if negative_prompt and total.cfg is None:
        warnings.warn("negative_prompt does nothing without CFG; add CFG(3.0) to the guidance", SagvizWarning, stacklevel=3)
    size = tuple(size) if size is not None else model.default_size  # type: ignore[assignment]
    shape = model.latent_shape(size)
    _check_sag(model, total, shape)
    planner = make_scheduler(model, scheduler)
    if eta and "eta" not in inspect.signature(planner.step).parameters:
        raise ArgumentError(f"eta is {eta}, but {type(planner).__name__} has none; use scheduler='ddim' or eta=0")
    planner.set_timesteps(steps)
    planner.set_begin_index(0) if hasattr(planner, "set_begin_index") else None
    seed = secrets.randbelow(2**32) if seed is None else seed
    settings = Settings(
        model=model.name, prompt=prompt, negative_prompt=negative_prompt, guidance=total, steps=steps, seed=seed,
        images=images, size=size, scheduler=_describe(planner), eta=float(eta),
    )  # fmt: skip
    unit = _draw(shape, [_generator(seed + i) for i in range(images)]) if noise is None else _checked_noise(noise, (images, *shape))
    whole = not planner.timesteps.is_floating_point()
    return Run(
        model=model,
        settings=settings,
        scheduler=planner,
        levels=levels(planner),
        times=planner.timesteps.tolist() if whole else list(planner.timesteps),
        device_times=planner.timesteps.to(model.device),
        embeddings=(model.embed(negative_prompt if total.cfg else ""), model.embed(prompt)),
        start=unit * float(planner.init_noise_sigma),
    )


def walk(run: Run, first: Step | None = None) -> Iterator[Step]:
    """Yield every step of a run. `first` is a step 0 that another run of the same prompt and noise has already paid for."""
    x_host, x_t = run.start, run.start.to(run.model.device)
    for index in range(run.evaluations):
        known = first if index == 0 else None
        step = evaluate(run, index, x_t, known)
        x_t = advance(run, step)
        record = to_host(replace(step, x_next=x_t), x_host)
        assert record.x_next is not None
        x_host = record.x_next
        yield record


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
                records.append(step)
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


@torch.no_grad()
def evaluate(run: Run, index: int, x_t: Tensor, known: Step | None = None) -> Step:
    """All predictions that the guidance needs at x_t, on the model's device; what `known` has is not computed again."""
    guidance = run.settings.guidance.at(index / run.evaluations)
    if known is None:
        step = _first_pass(run, Step(index=index, level=run.levels[index], guidance=guidance, x_t=x_t))
    else:
        moved = {name: _to(getattr(known, name), x_t.device) for name in ("out_uncond", "out_cond", "attention")}
        step = Step(index=index, level=run.levels[index], guidance=guidance, x_t=x_t, **moved)  # type: ignore[arg-type]
    return step if guidance.sag is None else _second_pass(run, step)


def advance(run: Run, step: Step) -> Tensor:
    """The scheduler's step on the guided output: x_next."""
    known = inspect.signature(run.scheduler.step).parameters
    extra: dict[str, Any] = {"eta": run.settings.eta} if "eta" in known else {}
    if "generator" in known:  # the noise of a stochastic step comes from (seed of the image, index), so that branches reuse it
        seeds = range(run.settings.seed, run.settings.seed + run.settings.images)
        extra["generator"] = [_generator(seed, step.index) for seed in seeds]
    return run.scheduler.step(step.output, run.times[step.index], step.x_t, **extra).prev_sample  # type: ignore[no-any-return]


def to_host(step: Step, x_t: Tensor) -> Step:
    """The step with its tensors on the CPU, moved in one copy: one synchronization a step. `x_t` is already there."""
    names = [n for n in ("out_uncond", "out_cond", "attention", "out_degraded", "x_next") if getattr(step, n) is not None]
    parts = [getattr(step, name) for name in names]
    flat = torch.cat([part.flatten() for part in parts]).to("cpu", copy=True)
    pieces = flat.split([part.numel() for part in parts])
    return replace(step, x_t=x_t, **{n: piece.view(part.shape) for n, piece, part in zip(names, pieces, parts, strict=True)})


def _first_pass(run: Run, step: Step) -> Step:
    """Both branches in one pass under CFG, else the single one; the attention is read where SAG needs it."""
    rows, both, sag = step.x_t.shape[0], step.guidance.cfg is not None, step.guidance.sag
    texts = run.embeddings if both else (run.single,)
    x = run.scheduler.scale_model_input(step.x_t, run.times[step.index])
    arguments = torch.cat([x] * len(texts)), run.device_times[step.index], torch.cat([t.expand(rows, -1, -1) for t in texts])
    with run.model.lock:
        if sag is None:
            maps, outputs = [None], run.model.predict(*arguments)
        else:
            height, width = x.shape[2:]
            with capture(run.model.unet, sag.layer, rows, (height, width), sag.heads) as maps:  # type: ignore[assignment]
                outputs = run.model.predict(*arguments)
    if both:
        uncond, cond = outputs.chunk(2)
    else:
        uncond, cond = (None, outputs) if run.settings.prompt else (outputs, None)
    counts = {"forwards": step.forwards + 1, "samples": step.samples + len(outputs)}
    return replace(step, out_uncond=uncond, out_cond=cond, attention=maps[0], **counts)


def _second_pass(run: Run, step: Step) -> Step:
    """SAG's own pass: the degraded latent, on the branch that guidance starts from."""
    x_degraded = step.x_degraded
    assert x_degraded is not None
    text = run.embeddings[0] if step.guidance.cfg else run.single
    x = run.scheduler.scale_model_input(x_degraded, run.times[step.index])
    with run.model.lock:
        output = run.model.predict(x, run.device_times[step.index], text.expand(len(x), -1, -1))
    return replace(step, out_degraded=output, forwards=step.forwards + 1, samples=step.samples + len(x))


def _to(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


def _generator(*entropy: int) -> torch.Generator:
    """A CPU generator: seeded plainly by one number, as users of diffusers expect, or by several mixed."""
    state = entropy[0] if len(entropy) == 1 else int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)


def _draw(shape: tuple[int, int, int], generators: list[torch.Generator]) -> Tensor:
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def _checked_noise(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(noise.shape) != shape:
        raise ArgumentError(f"noise has the shape {tuple(noise.shape)}; these settings need (images, C, H, W) = {shape}")
    return noise.float().cpu()


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ArgumentError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def _check_sag(model: Model, guidance: Guidance, shape: tuple[int, int, int]) -> None:
    """Refuse a layer that is not there and a blur that does not fit the latent, before anything runs."""
    sag = guidance.sag
    if sag is None:
        return
    find_layer(model.unet, sag.layer)
    taps, side = kernel_size(sag.blur_sigma, sag.blur_kernel), min(shape[1:])
    if taps // 2 >= side:
        raise ArgumentError(
            f"a blur of {taps} taps does not fit a latent of {shape[1]} x {shape[2]}; "
            f"give blur_kernel={2 * side - 1} or less, or a larger size"
        )


def _describe(scheduler: Any) -> dict[str, Any]:
    """Class name and configuration, as JSON would give them back."""
    config = {key: value for key, value in dict(scheduler.config).items() if not key.startswith("_")}
    return {"class": type(scheduler).__name__, **{k: v for k, v in config.items() if isinstance(v, str | int | float | None)}}


def _kept(keep: int | Collection[int] | None, evaluations: int) -> set[int]:
    if keep is None:
        return set(range(evaluations))
    if isinstance(keep, int):
        _check_whole("keep", keep, 1, evaluations)
        return {*range(0, evaluations, keep), evaluations - 1}
    wrong = [index for index in keep if not isinstance(index, int | np.integer) or not 0 <= index < evaluations]
    if wrong:
        raise ArgumentError(f"keep names the steps {wrong}; this run has 0 to {evaluations - 1}")
    return {int(index) for index in keep}


def _check_memory(run: Run, kept: int) -> None:
    outputs = 1 + (run.settings.guidance.cfg is not None) + (run.settings.guidance.sag is not None)
    needed = kept * run.start.numel() * 4 * (1 + outputs)
    if needed > MAX_TRACE_BYTES:
        every = -(-needed // MAX_TRACE_BYTES)
        raise ArgumentError(
            f"{kept} steps of this size need {needed / 2**30:.1f} GiB of records, more than {MAX_TRACE_BYTES / 2**30:.0f}; "
            f"keep fewer: keep={every} or more keeps every {every}th step"
        )
