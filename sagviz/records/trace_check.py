"""What a trace's file says, checked before anything is made of it.

Its checksum tells of damage, and not of what somebody else, or another version, wrote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from sagviz.checks import check_number, check_whole
from sagviz.diffusion.noise_level import FLOW, PREDICTIONS
from sagviz.errors import ArgumentError
from sagviz.guidance import Schedule
from sagviz.image import png_start
from sagviz.records.settings import Settings
from sagviz.records.step import LATENTS, Step

LEAST, LARGEST = 1e-9, 1e9  # of a noise level: no scheduler's come near
MOST = 10_000  # evaluations: 999 steps of a scheduler that evaluates twice are fewer


def check_parts(
    settings: Settings,
    steps: Sequence[Step],
    evaluations: int,
    pictures: Sequence[bytes],
    latent_rgb: Tensor | None,
) -> None:
    """Refuse what no run leaves.

    Raises:
        ArgumentError, ValueError: says which part it is.
    """
    check_whole("evaluations", evaluations, 0, MOST)
    for step in steps:
        check_whole("the index of a step", step.index, 0, evaluations - 1)
        _check_numbers(step)
        _check_tensors(step, settings.images)
    if len(pictures) not in (0, settings.images):
        raise ArgumentError(f"it has {len(pictures)} pictures of {settings.images} images")
    for picture in pictures:
        width, height = png_start(picture).size
        if (height, width) != settings.size:
            raise ArgumentError(f"it has a picture of {height} x {width} pixels")
    colours = None if latent_rgb is None else tuple(latent_rgb.shape)
    if colours is not None and (len(colours), colours[-1]) != (2, 3):
        raise ArgumentError(f"its colours for latents have the shape {colours}")
    if colours and steps and colours[0] != steps[0].x_t.shape[1] + 1:
        raise ArgumentError(f"its colours are of latents of {colours[0] - 1} channels")


def _check_numbers(step: Step) -> None:
    for name, low in (("t", -math.inf), ("alpha", 0.0), ("sigma", LEAST)):
        check_number(f"{name} of step {step.index}", getattr(step.level, name), low, LARGEST)
    for name in ("forwards", "samples"):
        check_whole(f"{name} of step {step.index}", getattr(step, name), 0, 2**31)
    if step.level.prediction not in (*PREDICTIONS, FLOW):
        raise ArgumentError(f"step {step.index} predicts {step.level.prediction!r}")
    for term in step.guidance.terms:
        if isinstance(term.scale, Schedule):
            raise ArgumentError(f"the {term.title} scale of step {step.index} is a curve")


def _check_tensors(step: Step, images: int) -> None:
    shape = tuple(step.x_t.shape)
    for name, part in step.tensors.items():
        fits = tuple(part.shape) == shape if name in LATENTS else part.dim() > 0
        if len(shape) != 4 or not fits or len(part) != images:
            raise ArgumentError(f"{name} of step {step.index} has the shape {tuple(part.shape)}")
        if not part.is_floating_point() or not part.isfinite().all():
            raise ArgumentError(f"{name} of step {step.index} is not of finite numbers")
