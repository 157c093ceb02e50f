"""What is fixed before the first step: the arguments checked, the noise drawn, the schedule laid
out.
"""

from __future__ import annotations

import inspect
import secrets
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sagviz import errors
from sagviz.attention.capture import Capture
from sagviz.attention.words import Word, words_of
from sagviz.checks import check_steps, check_whole
from sagviz.diffusion.noise_level import Level, levels
from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, Term, as_guidance, check_number
from sagviz.models import Model, check_scheduler, make_scheduler
from sagviz.models.vocabulary import warn_of_unknown_words
from sagviz.records.settings import Settings


@dataclass(frozen=True, eq=False)
class Run:
    """All that is fixed before the first step. `times` are what the scheduler is told,
    `device_times` what the U-Net is.
    """

    model: Model
    settings: Settings
    scheduler: Any
    step_options: frozenset[str]  # what its `step` can be given, such as eta and a generator
    levels: list[Level]
    times: list[Any]
    device_times: Tensor
    start: Tensor
    painted: Tensor | None = None  # a hand-made mask for all steps
    capture: Capture | None = None
    # the tokens of each word of the prompt, where attention to words is captured
    words: tuple[Word, ...] = ()

    @property
    def evaluations(self) -> int:
        """How many steps the run has: with PNDM one more than `settings.steps`."""
        return len(self.levels)


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
    warn: bool = True,
) -> Run:
    """Check everything, lay out the schedule, draw the noise. The arguments are those of `steps`.

    `warn=False` is for settings that were warned of when they were first given.
    """
    total = as_guidance(guidance)
    check_steps(steps)
    check_whole("images", images, 1, 4096)
    check_whole("seed", seed if seed is not None else 0, 0, 2**63 - 4097)
    check_number("eta", eta, 0, 1)
    for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if not isinstance(text, str):
            raise ArgumentError(f"{name} is {text!r}; give a text, '' for none")
    check_told(model, total, prompt, negative_prompt)
    if warn:
        warn_of_prompts(model, prompt, negative_prompt if total.both else "")
    if warn and negative_prompt and not total.both:
        errors.warn("negative_prompt does nothing without CFG; add CFG(3.0) to the guidance")
    pixels = model.default_size if size is None else size
    shape = model.latent_shape(pixels)
    for term in total.terms:
        term.check(model, total, shape)
    if capture is not None:
        capture = _check_capture(model, capture, prompt, pixels, images)
    planner = make_scheduler(model, scheduler)
    check_scheduler(model, planner, warn=warn)
    options = frozenset(inspect.signature(planner.step).parameters)
    if eta and "eta" not in options:
        raise ArgumentError(
            f"eta is {eta}, but {type(planner).__name__} has none; use scheduler='ddim' or eta=0"
        )
    planner.set_timesteps(steps)
    if hasattr(planner, "set_begin_index"):
        planner.set_begin_index(0)
    seed = secrets.randbelow(2**32) if seed is None else int(seed)
    # NumPy's whole numbers cannot be written into a file of settings
    steps, images = int(steps), int(images)
    settings = Settings(
        model=model.name,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance=total,
        steps=steps,
        seed=seed,
        images=images,
        size=(pixels[0], pixels[1]),
        scheduler=describe(planner),
        eta=float(eta),
    )
    unit = (
        _draw(shape, [generator(seed + i) for i in range(images)])
        if noise is None
        else _checked_noise(noise, (images, *shape))
    )
    whole = not planner.timesteps.is_floating_point()
    return Run(
        model=model,
        settings=settings,
        scheduler=planner,
        step_options=options,
        levels=levels(planner),
        times=planner.timesteps.tolist() if whole else list(planner.timesteps),
        device_times=planner.timesteps.to(model.device),
        start=unit * float(planner.init_noise_sigma),
        capture=capture,
        words=(
            tuple(words_of(model, prompt))
            if capture is not None and "words" in capture.what
            else ()
        ),
    )


def resume(model: Model, settings: Settings) -> Run:
    """The run of these settings, laid out anew. The start noise is not that of a run which was
    given its own.
    """
    names = (
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
    return replace(
        prepare(model, warn=False, **{name: getattr(settings, name) for name in names}),
        settings=settings,
    )


def check_told(model: Model, guidance: Guidance, *prompts: str) -> None:
    """Refuse to tell a model of pixels anything: it has no text, and so no condition for CFG and
    its like.

    Raises:
        ArgumentError: says what to leave out.
    """
    if model.reads_text:
        return
    for prompt in prompts:
        model.check_prompt(prompt)
    comparing = [type(term).__name__ for term in guidance.terms if term.both]
    if comparing:
        rest = Guidance(tuple(term for term in guidance.terms if not term.both))
        raise ArgumentError(
            f"{comparing[0]} compares a prediction with and without a prompt, and {model.name}"
            f" reads none; leave {' and '.join(comparing)} out: {rest!r}"
        )


def warn_of_prompts(model: Model, *prompts: str) -> None:
    """Warn of words that are cut off, and of words that the model was not taught."""
    for prompt in prompts:
        model.check_prompt(prompt)
    warn_of_unknown_words(model, *prompts)


def _draw(shape: tuple[int, int, int], generators: list[torch.Generator]) -> Tensor:
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def _checked_noise(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(noise, Tensor):
        raise ArgumentError(
            f"noise is a {type(noise).__name__}; give a tensor (images, C, H, W) = {shape}, or None"
            " to draw it"
        )
    if tuple(noise.shape) != shape:
        raise ArgumentError(
            f"noise has the shape {tuple(noise.shape)}; these settings need (images, C, H, W) ="
            f" {shape}"
        )
    return noise.float().cpu()


def _check_capture(
    model: Model, capture: object, prompt: str, pixels: tuple[int, int], images: int
) -> Capture:
    """The capture with its layers spelt out; refuses one of another kind, of layers that are not
    there, or too large.
    """
    if not isinstance(capture, Capture):
        raise ArgumentError(f"capture is {capture!r}; give sagviz.Capture(...), or None")
    _, height, width = model.latent_shape(pixels)
    capture.check(capture.bytes(model, prompt, size=pixels, images=images), "one step")
    return capture.resolved(model, (height, width))


def describe(scheduler: Any) -> dict[str, Any]:
    """Class name and configuration, as JSON would give them back."""
    config = {
        key: value for key, value in dict(scheduler.config).items() if not key.startswith("_")
    }
    return {
        "class": type(scheduler).__name__,
        **{k: v for k, v in config.items() if isinstance(v, str | int | float | list | None)},
    }
