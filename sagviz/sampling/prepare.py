"""What is fixed before the first step: the arguments checked, the noise drawn, the schedule laid
out.
"""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.attention.words import Word, words_of
from sagviz.checks import MAX_SEED, check_number, check_size, check_steps, check_whole
from sagviz.diffusion.noise_level import NoiseLevel, noise_levels
from sagviz.errors import ArgumentError, warn
from sagviz.guidance import Guidance, Term, as_guidance
from sagviz.models import Model, as_model, check_scheduler, make_scheduler
from sagviz.models.fingerprint import fingerprint
from sagviz.models.schedulers import set_timesteps
from sagviz.records.settings import NEGATIVE, Settings, Text
from sagviz.sampling.checks import (
    check_text,
    checked_capture,
    checked_clip_skip,
    checked_noise,
    checked_timesteps,
    warn_of_prompts,
)
from sagviz.sampling.given import check_words, checked_embeddings
from sagviz.sampling.inputs import Inputs

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
    "clip_skip",
    "timesteps",
)
NOTHING: Mapping[str, Tensor] = {}


@dataclass(frozen=True, eq=False)
class Run:
    """All that is fixed before the first step.

    Attributes:
        scheduler: diffusers' own, its timesteps set; `step_options`: the keywords of its `step`.
        levels: the noise level of each evaluation.
        times: the scheduler's timesteps; `device_times`: the same as a tensor for the U-Net.
        inputs: the tensors that it is given.
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
    inputs: Inputs
    hand_mask: Tensor | None = None
    capture: Capture | None = None
    words: tuple[Word, ...] = ()

    @property
    def evaluations(self) -> int:
        """How many steps the run has: with PNDM one more than `settings.steps`."""
        return len(self.levels)

    @cached_property
    def start(self) -> Tensor:
        """The noisy latent to begin with, (B, C, H, W) on the CPU."""
        return self.inputs.start * float(self.scheduler.init_noise_sigma)

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
    clip_skip: int | None = None,
    timesteps: Sequence[int] | None = None,
    noise: Tensor | None = None,
    prompt_embeds: Tensor | None = None,
    negative_prompt_embeds: Tensor | None = None,
    pooled_prompt_embeds: Tensor | None = None,
    negative_pooled_prompt_embeds: Tensor | None = None,
    capture: Capture | None = None,
    warns: bool = True,
    known: str | None = None,
    inputs: Inputs | None = None,
) -> Run:
    """Check everything and lay out the schedule. The arguments are those of `steps`.

    `warns=False` is for settings that were warned of when they were first given; `known` is the
    model's fingerprint where it has been taken, `inputs` the tensors of a run that had the same.
    """
    model, total = as_model(model), as_guidance(guidance)
    own = model.default_size
    pixels = own if size is None else check_size(size, model.size_unit, own)
    times = checked_timesteps(timesteps)
    steps = check_steps(steps if times is None else len(times))
    images = check_whole("images", images, 1, 4096)
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
    skip = checked_clip_skip(model, clip_skip)
    if inputs is None:
        given = {
            "prompt_embeds": prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        texts = {"": Text(prompt, skip), NEGATIVE: Text(negative_prompt)}
        inputs = Inputs(
            shape=shape,
            seeds=range(first, first + images),
            embeddings=checked_embeddings(model, total, texts, images, given, warns=warns),
            noise=None if noise is None else checked_noise(noise, (images, *shape)),
        )
    if capture is not None:
        capture = checked_capture(model, capture, prompt, pixels, images)
        check_words(capture, inputs.embeddings)
    with model.undisturbed():
        planner = make_scheduler(model, scheduler)
        check_scheduler(model, planner, warns=warns)
        options = _set_timesteps(planner, steps, times, eta)
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
        clip_skip=skip,
        timesteps=times,
        inputs=inputs.digests,
    )
    planned, has_words = planner.timesteps, capture is not None and "words" in capture.what
    return Run(
        model=model,
        settings=settings,
        scheduler=planner,
        step_options=options,
        levels=noise_levels(planner),
        times=list(planned) if planned.is_floating_point() else planned.tolist(),
        device_times=planned.to(model.device),
        inputs=inputs,
        capture=capture,
        words=tuple(words_of(model, prompt)) if has_words else (),
    )


def resume(model: Model, settings: Settings, tensors: Mapping[str, Tensor] = NOTHING) -> Run:
    """The run of these settings, laid out anew, with the tensors that its trace stores.

    Raises:
        ArgumentError: it was given tensors that are not there.
    """
    given = {name: getattr(settings, name) for name in PREPARED}
    inputs = Inputs.stored(model, settings, tensors)
    run = prepare(model, warns=False, known=settings.fingerprint, inputs=inputs, **given)
    return replace(run, settings=settings)


def _set_timesteps(
    planner: Any, steps: int, times: Sequence[int] | None, eta: float
) -> frozenset[str]:
    """Lay the schedule out; the keywords of the scheduler's step."""
    options = frozenset(inspect.signature(planner.step).parameters)
    if eta and "eta" not in options:
        raise ArgumentError(
            f"eta is {eta}, but {type(planner).__name__} has none; use scheduler='ddim' or eta=0"
        )
    set_timesteps(planner, steps, times)
    if hasattr(planner, "set_begin_index"):
        planner.set_begin_index(0)
    return options


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
