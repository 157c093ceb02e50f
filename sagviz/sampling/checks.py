"""What a run is asked for, checked before anything is computed: trace, texts, noise, capture."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.checks import (
    check_kind,
    check_number,
    check_steps,
    check_unicode,
    check_whole,
    check_wholes,
    shown,
)
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance
from sagviz.image import as_tensor
from sagviz.models import Model
from sagviz.models.fingerprint import fingerprint, part_for
from sagviz.models.vocabulary import warn_of_unknown_words
from sagviz.records.trace import Trace

STRENGTH = 0.8  # diffusers' own, of its img2img pipeline
LAST_TIME = 999  # of the 1,000 training steps of every family


def check_trace(trace: object) -> None:
    """Refuse what is no trace, where one stands after the model."""
    words = "what sv.trace returned, after the model; sv.Trace.load(path) reads one from a file"
    check_kind("trace", trace, Trace, words)


def check_made_by(model: Model, trace: Trace, guidance: Guidance | None = None) -> str:
    """Refuse what is no trace, and one that another model made, whatever they are called; the
    model's fingerprint for this guidance, the trace's own where `None`.
    """
    check_trace(trace)
    old = trace.settings
    total = old.guidance if guidance is None else guidance
    found = fingerprint(model, [old.guidance, total])
    if part_for(found, old.guidance) != old.fingerprint:
        raise ArgumentError(
            f"the trace was made by {old.model} ({old.fingerprint}), and {model.name} here"
            f" ({part_for(found, old.guidance)}) has other weights, adapters, tokens or dtype; load"
            " that model as it was"
        )
    return part_for(found, total)


def check_text(model: Model, guidance: Guidance, **prompts: object) -> None:
    """Refuse what is no text, and of a model of pixels any text, and with it CFG and its like.

    Raises:
        ArgumentError: says what to leave out.
    """
    for name, prompt in prompts.items():
        if not isinstance(prompt, str):
            several = "; sv.sweep(model, prompts=[...]) runs several" * isinstance(
                prompt, list | tuple
            )
            raise ArgumentError(f"{name} is {shown(prompt)}; give a text, '' for none{several}")
        check_unicode(name, prompt)
        if not model.reads_text:
            model.check_prompt(prompt)
    comparing = [term for term in guidance.terms if term.needs_both_branches]
    if comparing and not model.reads_text:
        names = [type(term).__name__ for term in comparing]
        rest = Guidance(tuple(term for term in guidance.terms if term not in comparing))
        raise ArgumentError(
            f"{names[0]} compares a prediction with and without a prompt, and {model.name}"
            f" reads none; leave {' and '.join(names)} out: guidance={rest!r}"
        )


def checked_clip_skip(model: Model, clip_skip: object) -> int | None:
    """How many layers of the text encoder are left out; more than it has, and any where there is
    none, is refused.
    """
    if clip_skip is None:
        return None
    if not model.max_clip_skip:
        last = "takes what its text encoders say last"
        what = last if model.reads_text else "has no text encoder"
        raise ArgumentError(f"clip_skip is {clip_skip!r}, and {model.name} {what}; leave it out")
    return check_whole("clip_skip", clip_skip, 0, model.max_clip_skip)


def checked_timesteps(timesteps: object) -> tuple[int, ...] | None:
    """The timesteps that take the place of a number of steps, from noise to picture."""
    if timesteps is None:
        return None
    times = check_wholes("timesteps", timesteps)
    check_steps(len(times))
    if any(later >= time for time, later in pairwise(times)) or times[0] > LAST_TIME:
        raise ArgumentError(
            f"timesteps is {shown(times)}; give them falling, from {LAST_TIME} at most, such as"
            " (999, 749, 499, 249)"
        )
    return times


def checked_strength(strength: object, has_picture: bool) -> float | None:
    """How much of the way is run from a picture, 0.8 where nobody says; `None` without one."""
    if has_picture:
        return float(check_number("strength", STRENGTH if strength is None else strength, 0, 1))
    if strength is not None:
        raise ArgumentError(
            f"strength is {strength!r}, and there is no picture to start from; give image=, or"
            " leave strength out"
        )
    return None


def warn_of_prompts(model: Model, *prompts: str) -> None:
    """Warn of words that are cut off, and of words that the model was not taught."""
    for prompt in prompts:
        model.check_prompt(prompt)
    warn_of_unknown_words(model, *prompts)


def checked_noise(noise: object, shape: tuple[int, ...]) -> Tensor:
    noise = as_tensor(noise)
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
    return noise.detach().float().cpu().clone()  # which a trace keeps


def checked_capture(
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
