"""The quantities of a step as pictures: latents decoded or previewed, maps over the picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sagviz.errors import TraceError
from sagviz.image import enlarge, heat_map, preview
from sagviz.models import Model, as_model
from sagviz.records.step import Step
from sagviz.records.trace import Trace

TERM_COLOURS = "magma"
SHOWN = 128  # least pixels on a side of a picture that is blended with a map


def show(latents: Tensor, trace: Trace, model: Model | None) -> Image.Image:
    """Latents (B, C, H, W) as the first image's picture: decoded by the model, else by the trace's
    linear preview.
    """
    first = latents[:1]
    if model is not None:
        return as_model(model).decode(first)[0]
    if trace.latent_rgb is None:
        raise TraceError(
            "this trace has no preview colours because its run was interrupted; give model="
        )
    return preview(first, trace.latent_rgb)[0]


def top(trace: Trace) -> float:
    """The highest attention of the first image anywhere in the trace: one scale for all steps."""
    maps = (step.attention for step in trace)
    return max((float(each[0].max()) for each in maps if each is not None), default=1.0)


def over(image: Image.Image, colours: np.ndarray[Any, Any], weight: float = 0.6) -> Image.Image:
    """A map laid over the grey picture."""
    grey = enlarge(image, SHOWN).convert("L").convert("RGB")
    layer = Image.fromarray(colours).resize(grey.size, Image.Resampling.NEAREST)
    return Image.blend(grey, layer, weight)


def spotlight(image: Image.Image, mask: Tensor) -> Image.Image:
    """The picture where the (1, H, W) mask is 1, faded to near white elsewhere."""
    base = enlarge(image, SHOWN)
    inside = Image.fromarray((mask[0].numpy() * 255).astype(np.uint8))
    faded = Image.blend(base, Image.new("RGB", base.size, "white"), 0.85)
    return Image.composite(base, faded, inside.resize(base.size, Image.Resampling.NEAREST))


def magnitude(term: Tensor, size: tuple[int, int]) -> Tensor:
    """Length of a term in each cell of the first image, (H, W) of `size`."""
    length = term[:1].square().sum(dim=1, keepdim=True).sqrt()
    return F.interpolate(length, size)[0, 0]


@dataclass(frozen=True, eq=False)
class StepPictures:
    """Every quantity of a step as a picture, by its name.

    Attributes:
        trace: has the colours of latents without a model.
        model: decodes the latents, where it is given.
        highest: the attention that has the brightest colour.
    """

    trace: Trace
    step: Step
    model: Model | None
    highest: float

    @cached_property
    def clean(self) -> Image.Image:
        """The prediction, over which maps are laid."""
        return self.latent(self.step.x0_hat)

    def latent(self, latents: Tensor) -> Image.Image:
        return show(latents, self.trace, self.model)

    def of(self, name: str) -> Image.Image:
        """The picture of a quantity that the step has."""
        value = getattr(self.step, name)
        if name == "x0_hat":
            return self.clean
        if name == "attention":
            return over(self.clean, heat_map(value[0], 0, self.highest))
        if name == "mask":
            return spotlight(self.clean, value[0])
        return self.latent(value)
