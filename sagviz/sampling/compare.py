"""The same prompt and noise under several guidances, side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import EllipsisType
from typing import Any

from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.checks import names_arguments
from sagviz.guidance import CFG, SAG, Guidance, Term, as_guidance
from sagviz.image import MaskLike
from sagviz.models import Model, as_model
from sagviz.records.trace import Trace
from sagviz.sampling.collect import Progress, collect, progress_bar
from sagviz.sampling.given import Pictures
from sagviz.sampling.prepare import prepare


@names_arguments(guidance="it makes its own from cfg= and sag=; trace takes any guidance")
def compare(
    model: Model,
    prompt: str = "",
    *,
    negative_prompt: str = "",
    cfg: float | CFG | EllipsisType | None = ...,
    sag: float | SAG = 1.0,
    terms: Term | Guidance | None = None,
    unguided: bool = False,
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
) -> tuple[Trace, ...]:
    """CFG and CFG+SAG of one prompt and one noise: (cfg, cfg_sag), or (plain, cfg, cfg_sag) with
    `unguided=True`.

    Without CFG, which a model of pixels has no use for, it is (plain, sag) in both cases.

    The runs share their network calls and their first step: the trace with SAG counts every call,
    and the rows that it shares.

    Args:
        cfg: CFG's scale, or a `CFG`; `None` leaves it out; `...` is 3 where the model reads a
            prompt, else `None`.
        sag: SAG's scale, with the model's own blur (`Model.sag`), or a `SAG` with its own
            threshold, blur ...
        terms: more guidance in the run with SAG, e.g. `PAG(2.0)`.
        unguided: whether a plain run stands first.
        model, prompt, negative_prompt, steps, seed, images, size, scheduler, eta, clip_skip,
            timesteps, noise, prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds,
            negative_pooled_prompt_embeds, image, strength, paint, capture, keep, progress: as for
            `trace`.

    Raises:
        ArgumentError, NotFiniteError, OutOfMemoryError, Interrupted, RunError: as for `trace`;
            `error.traces` has all runs as far as they came.

    Example:
        >>> import sagviz as sv
        >>> pair = sv.compare(sv.load(), "a fox", seed=7, steps=6, progress=False)
        >>> [trace.settings.guidance for trace in pair]
        [CFG(3.0), CFG(3.0) + SAG(1.0)]
        >>> sum(trace.forwards for trace in pair)
        12
    """
    model = as_model(model)
    if isinstance(cfg, EllipsisType):
        cfg = 3.0 if model.reads_text else None
    sag = sag if isinstance(sag, SAG) else model.sag(sag)
    without = Guidance() if cfg is None else Guidance((cfg if isinstance(cfg, CFG) else CFG(cfg),))
    settings: dict[str, Any] = {
        "steps": steps,
        "seed": seed,
        "images": images,
        "size": size,
        "scheduler": scheduler,
        "eta": eta,
        "clip_skip": clip_skip,
        "timesteps": timesteps,
        "strength": strength,
        "capture": capture,
    }
    with_sag = prepare(
        model,
        prompt,
        negative_prompt=negative_prompt,
        guidance=without + sag + as_guidance(terms),
        noise=noise,
        prompt_embeds=prompt_embeds,
        negative_prompt_embeds=negative_prompt_embeds,
        pooled_prompt_embeds=pooled_prompt_embeds,
        negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
        image=image,
        paint=paint,
        **settings,
    )
    # the seed that was drawn, where none was given, and all that the runs share
    settings |= {"seed": with_sag.settings.seed, "inputs": with_sag.inputs}
    # Without CFG a negative prompt has no place, of which the first run has warned.
    negative = "" if cfg is None else negative_prompt
    runs = [
        with_sag,
        prepare(model, prompt, negative_prompt=negative, guidance=without, **settings),
    ]
    if unguided and cfg is not None:
        runs.append(prepare(model, prompt, **settings))
    with progress_bar(runs, progress) as follow:
        first, *others = collect(runs, keep=keep, follow=follow)
    return (*reversed(others), first)
