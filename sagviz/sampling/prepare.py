"""What is fixed before the first step: arguments checked, noise drawn, the schedule laid out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.attention.words import Word, words_of
from sagviz.checks import MAX_SEED, check_number, check_steps, check_whole
from sagviz.diffusion.noise_level import NoiseLevel, noise_levels, start_scale
from sagviz.errors import warn
from sagviz.guidance import Guidance, Term, as_guidance
from sagviz.image import MaskLike
from sagviz.models import Model, as_model, check_scheduler, make_scheduler
from sagviz.models.distilled import needless_cfg
from sagviz.models.families import checked
from sagviz.models.fingerprint import fingerprint
from sagviz.records.settings import NEGATIVE, Settings, Text
from sagviz.sampling.checks import (
    check_text,
    checked_capture,
    checked_clip_skip,
    checked_strength,
    checked_timesteps,
    warn_of_prompts,
)
from sagviz.sampling.given import (
    Pictures,
    check_lengths,
    check_words,
    checked_embeddings,
    given_inputs,
)
from sagviz.sampling.inputs import Inputs
from sagviz.sampling.schedule import describe, go_to, lay_out, warn_of_strides

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
    "strength",
)
NOTHING: Mapping[str, Tensor] = {}


@dataclass(frozen=True, eq=False)
class Run:
    """All that is fixed before the first step.

    Attributes:
        scheduler: diffusers' own, its timesteps set; `step_options`: the keywords of its `step`.
        begin: how many evaluations of the schedule a picture to start from leaves out.
        levels: the noise level of each evaluation that is made.
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
    begin: int
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
        """The noisy latent to begin with, (B, C, H, W) on the CPU: noise, or a picture as noisy as
        the first level. What is painted anew in full strength begins from noise, as in diffusers.
        """
        noise, latents = self.inputs.drawn
        if latents is None or (self.inputs.paint is not None and self.settings.strength == 1):
            return noise * start_scale(self.scheduler)
        return self.levels[0].mix(latents, noise)

    def repainted(self, index: int, x_next: Tensor) -> Tensor:
        """x_next with the picture, as noisy as it, outside of `paint` (Blended Latent Diffusion,
        arXiv 2206.02779); without a mask as it is.
        """
        if self._picture is None:
            return x_next
        paint, noise, latents = self._picture
        following = self.levels[index + 1 : index + 2]
        kept = following[0].mix(latents, noise) if following else latents
        return (1 - paint) * kept + paint * x_next

    @cached_property
    def _picture(self) -> tuple[Tensor, ...] | None:
        """Mask, noise and latents on the model's device."""
        if self.inputs.paint is None:
            return None
        noise, latents = self.inputs.drawn
        assert latents is not None, "a mask without a picture was refused"
        return tuple(part.to(self.model.device) for part in (self.inputs.paint, noise, latents))

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
    image: Pictures | None = None,
    strength: float | None = None,
    paint: MaskLike | None = None,
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
    if known is None and model.pipe is not None:
        checked(model)  # what was set on it since
    times = checked_timesteps(timesteps)
    steps = check_steps(steps if times is None else len(times))
    images = check_whole("images", images, 1, 4096)
    first = secrets.randbelow(2**32) if seed is None else check_whole("seed", seed, 0, MAX_SEED)
    eta = check_number("eta", eta, 0, 1)
    check_text(model, total, prompt=prompt, negative_prompt=negative_prompt)
    if warns:
        warn_of_prompts(model, prompt, negative_prompt if total.reads_negative_prompt else "")
    if warns and negative_prompt and not total.reads_negative_prompt:
        warn("negative_prompt does nothing without CFG; add CFG(3.0) to the guidance")
    skip = checked_clip_skip(model, clip_skip)
    if inputs is None:
        given = {
            "prompt_embeds": prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        texts = {"": Text(prompt, skip), NEGATIVE: Text(negative_prompt)}
        inputs = given_inputs(
            model,
            size=size,
            seeds=range(first, first + images),
            embeddings=checked_embeddings(model, total, texts, images, given, warns=warns),
            noise=noise,
            image=image,
            paint=paint,
        )
    check_lengths(model, total, inputs.embeddings)
    strength = checked_strength(strength, inputs.has_picture)
    for term in total.terms:
        term.check(model, total, inputs.shape)
    if capture is not None:
        capture = checked_capture(model, capture, prompt, inputs.size, images)
        check_words(capture, inputs.embeddings)
    with model.undisturbed():
        planner = make_scheduler(model, scheduler)
        check_scheduler(model, planner, warns=warns)
        options = lay_out(model, planner, steps, times, eta, inputs.size)
        begin = go_to(planner, steps, strength, warns=warns)
    if warns and times is None and strength is None:
        warn_of_strides(planner, steps)
    advice = needless_cfg(model, planner, steps, negative_prompt)
    if warns and total.needs_both_branches and advice:
        warn(advice)
    settings = Settings(
        model=model.noted_name,
        fingerprint=fingerprint(model, [total]) if known is None else known,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance=total,
        steps=steps,
        seed=first,
        images=images,
        size=inputs.size,
        scheduler=describe(planner),
        eta=float(eta),
        clip_skip=skip,
        timesteps=times,
        strength=strength,
        inputs=inputs.digests,
    )
    planned, has_words = planner.timesteps[begin:], capture is not None and "words" in capture.what
    return Run(
        model=model,
        settings=settings,
        scheduler=planner,
        step_options=options,
        begin=begin,
        levels=noise_levels(planner)[begin:],
        times=list(planned) if planned.is_floating_point() else planned.tolist(),
        device_times=planned.to(model.device),
        inputs=inputs,
        capture=capture,
        words=tuple(words_of(model, prompt)) if has_words else (),
    )


def resume(
    model: Model,
    settings: Settings,
    tensors: Mapping[str, Tensor] = NOTHING,
    capture: Capture | None = None,
) -> Run:
    """The run of these settings, laid out anew, with the tensors that its trace stores.

    Raises:
        ArgumentError: it was given tensors that are not there.
    """
    given = {name: getattr(settings, name) for name in PREPARED}
    inputs = Inputs.stored(model, settings, tensors)
    told: dict[str, Any] = {"warns": False, "known": settings.fingerprint, "capture": capture}
    run = prepare(model, inputs=inputs, **told, **given)
    return replace(run, settings=settings)
