"""`steps` yields one `Step` of a run after the other; `trace` runs to the end and keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.checks import names_arguments
from sagviz.guidance import Guidance, Term
from sagviz.image import MaskLike
from sagviz.models import Model
from sagviz.models.oom import explained, too_much_between
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.collect import Progress, collect, progress_bar
from sagviz.sampling.given import Pictures
from sagviz.sampling.lockstep import lockstep
from sagviz.sampling.memory_check import check_room
from sagviz.sampling.prepare import Run, prepare


@names_arguments()
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
    clip_skip: int | None = None,
    timesteps: Sequence[int] | None = None,
    noise: Tensor | None = None,
    prompt_embeds: Tensor | None = None,
    negative_prompt_embeds: Tensor | None = None,
    pooled_prompt_embeds: Tensor | None = None,
    negative_pooled_prompt_embeds: Tensor | None = None,
    image: Pictures | None = None,
    strength: float | None = None,
    paint: MaskLike | None = None,
    capture: Capture | None = None,
) -> Iterator[Step]:
    """Run a model step by step; stop whenever you like, nothing stays attached to it.

    Args:
        model: from `load`, or a diffusers pipeline; several calls are quicker with a loaded one.
        prompt: one text (`sweep` takes several), which may be empty: then the seed alone decides.
            CLIP's text encoders (Stable Diffusion 1.x to XL, the miniature) read upper and lower
            case alike.
        negative_prompt: takes the place of the empty prompt in CFG's unconditional branch (of
            zeros, with SDXL's base model).
        guidance: a sum of terms such as `CFG(3.0) + SAG(1.0)`, one alone, or `None` for the plain
            prediction given the prompt.
        steps: 1..999, the scheduler's argument.
        seed: image i of a batch uses seed + i; `None` draws one, which `trace.settings.seed`
            records.
        images: how many pictures to make at once.
        size: (height, width) in pixels; the model's own where `None`.
        scheduler: a name such as "ddim", "pndm", "dpm++ 2m", "euler", "lcm", a diffusers scheduler,
            or the model's own.
        eta: DDIM's eta, 0 (deterministic) to 1 (as noisy as DDPM).
        clip_skip: how many last layers of the text encoder are left out, for the prompt alone, as
            in diffusers; 1 is what other programs call "CLIP skip 2".
        timesteps: where to evaluate, falling from 999 at most, in place of `steps`, which is then
            not read; for schedulers that take it, such as "euler", "dpm++ 2m" and "lcm", none of
            which is of flow matching.
        noise: the start noise, (images, C, H, W) of unit variance; drawn from the seeds where
            `None`.
        prompt_embeds, negative_prompt_embeds: embeddings (1 or images, tokens, width) in place of
            the two prompts, as diffusers' pipelines take them; the trace stores them.
        pooled_prompt_embeds, negative_pooled_prompt_embeds: for SDXL, (1 or images, width) to them.
        image: a picture to start from, of PIL, NumPy or torch, or one for each image; the run has
            its size. It is encoded and made as noisy as where the run begins (SDEdit, arXiv
            2108.01073).
        strength: how much of the schedule is run from a picture, 0.8 where `None`: little changes
            at 0.3, and 1 is all of it.
        paint: where the picture is made anew (inpainting): a mask of its size, white or 1 or true;
            outside of it every step puts the picture back.
        capture: what to read of the attention into `Step.captured`, at any layers, heads and steps.

    Raises:
        ArgumentError: before anything is computed, also where a GPU has not the memory for it.
        NotFiniteError: a step came out as NaN or infinity; says which quantity, the likely cause
            and a way out.
        OutOfMemoryError: says what was tried and what to lower.

    Example:
        >>> import sagviz as sv
        >>> for step in sv.steps(sv.load(), "a fox", seed=7, steps=10):
        ...     if step.sigma < 0.8:
        ...         break
        >>> step.index, round(step.sigma, 2)
        (6, 0.69)
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
        clip_skip=clip_skip,
        timesteps=timesteps,
        noise=noise,
        prompt_embeds=prompt_embeds,
        negative_prompt_embeds=negative_prompt_embeds,
        pooled_prompt_embeds=pooled_prompt_embeds,
        negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
        image=image,
        strength=strength,
        paint=paint,
        capture=capture,
    )
    check_room([run])
    return _each(run)


@names_arguments()
def trace(
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
    clip_skip: int | None = None,
    timesteps: Sequence[int] | None = None,
    noise: Tensor | None = None,
    prompt_embeds: Tensor | None = None,
    negative_prompt_embeds: Tensor | None = None,
    pooled_prompt_embeds: Tensor | None = None,
    negative_pooled_prompt_embeds: Tensor | None = None,
    image: Pictures | None = None,
    strength: float | None = None,
    paint: MaskLike | None = None,
    capture: Capture | None = None,
    keep: int | Collection[int] | None = None,
    progress: Progress = True,
) -> Trace:
    """Run a model to the end and keep its steps.

    Args:
        model, prompt, negative_prompt, guidance, steps, seed, images, size, scheduler, eta,
            clip_skip, timesteps, noise, prompt_embeds, negative_prompt_embeds,
            pooled_prompt_embeds, negative_pooled_prompt_embeds, image, strength, paint, capture:
            as for `steps`.
        keep: which steps to keep: all (`None`), every k-th and the last (a number), or these
            indices; of a run that is stopped also the last that was made.
        progress: whether to show a progress bar, or a function to tell (done, total) after each
            step.

    Raises:
        ArgumentError: before anything is computed, also where the records would need more than
            4 GiB.
        NotFiniteError, OutOfMemoryError: as in `steps`; the steps so far are in `error.trace`.
        Interrupted: Ctrl-C, likewise.
        RunError: something else stopped the run, likewise; that is its cause.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG, SAG
        >>> guidance = CFG(3.0) + SAG(1.0)
        >>> trace = sv.trace(sv.load(), "a fox", seed=7, steps=8, guidance=guidance, progress=False)
        >>> trace.image.size, len(trace), trace.forwards, trace.samples
        ((64, 64), 8, 16, 24)
        >>> other = sv.trace(sv.load(), "an owl", image=trace.image, strength=0.5, progress=False)
        >>> len(other), other.settings.steps
        (25, 50)
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
        clip_skip=clip_skip,
        timesteps=timesteps,
        noise=noise,
        prompt_embeds=prompt_embeds,
        negative_prompt_embeds=negative_prompt_embeds,
        pooled_prompt_embeds=pooled_prompt_embeds,
        negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
        image=image,
        strength=strength,
        paint=paint,
        capture=capture,
    )
    with progress_bar([run], progress) as follow:
        (whole,) = collect([run], keep=keep, follow=follow)
    return whole


def _each(run: Run) -> Iterator[Step]:
    """Every step of a run."""
    with explained(lambda: too_much_between(run.model)):
        for (step,) in lockstep([run]):
            assert step is not None, "a run of its own ends with its last step"
            yield step
