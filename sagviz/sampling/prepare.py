"""What is fixed before the first step: the arguments checked, the noise drawn, the schedule laid
out.
"""

from __future__ import annotations

import inspect
import json
import secrets
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.attention.words import Word, words_of
from sagviz.checks import MAX_SEED, check_number, check_size, check_steps, check_whole
from sagviz.diffusion.noise_level import NoiseLevel, noise_levels, start_scale
from sagviz.diffusion.seeds import generator, normal
from sagviz.errors import ArgumentError, warn
from sagviz.guidance import Guidance, Term, as_guidance
from sagviz.models import Model, as_model, check_scheduler, make_scheduler
from sagviz.models.distilled import needless_cfg
from sagviz.models.fingerprint import fingerprint
from sagviz.models.schedulers import set_timesteps
from sagviz.records.settings import Settings
from sagviz.sampling.checks import check_text, checked_capture, checked_noise, warn_of_prompts

PREPARED = (  # the settings that `prepare` takes
    "prompt",
    "negative_prompt",
    "guidance",
    "steps",
    "seed",
    "images",
    "size",
    "scheduler",
    "eta",
)


@dataclass(frozen=True, eq=False)
class Run:
    """All that is fixed before the first step.

    Attributes:
        scheduler: diffusers' own, its timesteps set; `step_options`: the keywords of its `step`.
        levels: the noise level of each evaluation.
        times: the scheduler's timesteps; `device_times`: the same as a tensor for the U-Net.
        start: the noisy latent to begin with, (B, C, H, W) on the CPU.
        hand_mask: a hand-made mask for all steps, (B, 1, H, W), on the model's device.
        capture: what is read of the attention; `words`: the tokens of each word of the prompt,
            where attention to words is captured.
    """

    model: Model
    settings: Settings
    scheduler: Any
    step_options: frozenset[str]
    levels: list[NoiseLevel]
    times: list[Any]
    device_times: Tensor
    start: Tensor
    hand_mask: Tensor | None = None
    capture: Capture | None = None
    words: tuple[Word, ...] = ()

    @property
    def evaluations(self) -> int:
        """How many steps the run has: with PNDM one more than `settings.steps`."""
        return len(self.levels)

    @cached_property
    def path(self) -> str:
        """All settings but guidance and model: what a latent depends on beside the outputs."""
        others = {"guidance": None, "fingerprint": None}
        return json.dumps({**self.settings.to_json(), **others}, sort_keys=True)


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
    capture: Capture | None = None,
    warns: bool = True,
    known: str | None = None,
) -> Run:
    """Check everything, lay out the schedule, draw the noise. The arguments are those of `steps`.

    `warns=False` is for settings that were warned of when they were first given; `known` is the
    model's fingerprint where it has been taken.
    """
    model, total = as_model(model), as_guidance(guidance)
    own = model.default_size
    pixels = own if size is None else check_size(size, model.size_unit, own)
    steps, images = check_steps(steps), check_whole("images", images, 1, 4096)
    first = secrets.randbelow(2**32) if seed is None else check_whole("seed", seed, 0, MAX_SEED)
    eta = check_number("eta", eta, 0, 1)
    check_text(model, total, prompt=prompt, negative_prompt=negative_prompt)
    if warns:
        warn_of_prompts(model, prompt, negative_prompt if total.needs_both_branches else "")
    if warns and negative_prompt and not total.needs_both_branches:
        warn("negative_prompt does nothing without CFG; add CFG(3.0) to the guidance")
    shape = model.latent_shape(pixels)
    for term in total.terms:
        term.check(model, total, shape)
    if capture is not None:
        capture = checked_capture(model, capture, prompt, pixels, images)
    with model.undisturbed():
        planner = make_scheduler(model, scheduler)
        check_scheduler(model, planner, warns=warns)
        options = _set_timesteps(model, planner, steps, eta, pixels)
    advice = needless_cfg(model, planner, steps, negative_prompt)
    if warns and total.needs_both_branches and advice:
        warn(advice)
    settings = Settings(
        model=model.name,
        fingerprint=fingerprint(model, [total]) if known is None else known,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance=total,
        steps=steps,
        seed=first,
        images=images,
        size=pixels,
        scheduler=describe(planner),
        eta=float(eta),
    )
    times, has_words = planner.timesteps, capture is not None and "words" in capture.what
    return Run(
        model=model,
        settings=settings,
        scheduler=planner,
        step_options=options,
        levels=noise_levels(planner),
        times=list(times) if times.is_floating_point() else times.tolist(),
        device_times=times.to(model.device),
        start=_start_noise(settings, shape, noise) * start_scale(planner),
        capture=capture,
        words=tuple(words_of(model, prompt)) if has_words else (),
    )


def resume(model: Model, settings: Settings) -> Run:
    """The run of these settings, laid out anew. The start noise is not that of a run which was
    given its own.
    """
    given = {name: getattr(settings, name) for name in PREPARED}
    run = prepare(model, warns=False, known=settings.fingerprint, **given)
    return replace(run, settings=settings)


def _set_timesteps(
    model: Model, planner: Any, steps: int, eta: float, size: tuple[int, int]
) -> frozenset[str]:
    """Lay the schedule out; the keywords of the scheduler's step."""
    options = frozenset(inspect.signature(planner.step).parameters)
    if eta and "eta" not in options:
        raise ArgumentError(
            f"eta is {eta}, but {type(planner).__name__} has none; use scheduler='ddim' or eta=0"
        )
    set_timesteps(planner, steps, model.schedule(planner, steps, size))
    if hasattr(planner, "set_begin_index"):
        planner.set_begin_index(0)
    return options


def _start_noise(settings: Settings, shape: tuple[int, int, int], given: Tensor | None) -> Tensor:
    """Noise of unit variance, (images, C, H, W): drawn from the seeds, or the given one."""
    if given is not None:
        return checked_noise(given, (settings.images, *shape))
    seeds = range(settings.seed, settings.seed + settings.images)
    return torch.stack([normal(shape, generator(seed)) for seed in seeds])


def describe(scheduler: Any) -> dict[str, Any]:
    """Class name and configuration, as JSON would give them back."""
    config = {
        # NumPy's arrays, such as `trained_betas`, as lists
        key: value.tolist() if hasattr(value, "tolist") else value
        for key, value in dict(scheduler.config).items()
        if not key.startswith("_")
    }
    return {
        "class": type(scheduler).__name__,
        **{k: v for k, v in config.items() if isinstance(v, str | int | float | list | None)},
    }
