"""The quantities of a step as pictures: latents decoded or previewed, maps over the picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sagviz.describe import DECODED
from sagviz.errors import TraceError
from sagviz.image import MASK_COLOUR, MASK_TINT, enlarge, heat_map, preview
from sagviz.models import Model
from sagviz.plot.decoder import Decoder, as_decoder
from sagviz.records.step import Step
from sagviz.records.trace import Trace

TERM_COLOURS = "magma"
SHOWN = 128  # least pixels on a side of a picture that is blended with a map


def show(latents: Tensor, trace: Trace, model: Model | Decoder | None) -> Image.Image:
    """Latents (B, C, H, W) as the first image's picture: decoded by the model, else by the trace's
    linear preview.
    """
    first = latents[:1]
    if model is not None:
        return as_decoder(model).decode(first)[0]
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


def tinted(image: Image.Image, mask: Tensor) -> Image.Image:
    """The picture, tinted and outlined where the (1, H, W) mask is 1."""
    base = enlarge(image, SHOWN).convert("RGB")
    cells = Image.fromarray((mask[0].numpy() * 255).astype(np.uint8))
    inside = cells.resize(base.size, Image.Resampling.NEAREST)
    colour = Image.new("RGB", base.size, MASK_COLOUR)
    shown = Image.composite(Image.blend(base, colour, MASK_TINT), base, inside)
    width = max(1, base.width // mask.shape[-1] // 4)
    shown.paste(colour, mask=Image.fromarray(rim(np.asarray(inside) > 0, width)))
    return shown


def rim(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """What of these pixels is at most `width` from one that is not; the frame is no such border."""
    (height, breadth), padded = inside.shape, np.pad(inside, width, mode="edge")
    sides = ((0, width), (2 * width, width), (width, 0), (width, 2 * width))
    near = [padded[y : y + height, x : x + breadth] for y, x in sides]
    return inside & ~np.logical_and.reduce(near)


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
    model: Model | Decoder | None
    highest: float

    @cached_property
    def clean(self) -> Image.Image:
        """The prediction."""
        return self.latent(self.step.x0_hat)

    @cached_property
    def below(self) -> Image.Image:
        """The same, large enough for maps over it."""
        factor = max(1, -(-SHOWN // min(self.clean.size)))
        size = (self.clean.width * factor, self.clean.height * factor)
        kinds = Image.Resampling
        return self.clean.resize(size, kinds.NEAREST if self.is_sharp("x0_hat") else kinds.BICUBIC)

    def is_sharp(self, name: str) -> bool:
        """Whether the pixels of that picture are the cells of a latent or a map."""
        return self.model is None or name not in DECODED

    def latent(self, latents: Tensor) -> Image.Image:
        return show(latents, self.trace, self.model)

    def noisy(self, latents: Tensor) -> Image.Image:
        """A noisy latent in its own cells, whatever decodes the clean ones: a decoder has never
        seen such noise.
        """
        trace = self.trace
        if trace.latent_rgb is None and self.model is not None:
            trace = replace(trace, latent_rgb=as_decoder(self.model).latent_rgb)
        return show(latents / self.step.level.norm, trace, None)

    def of(self, name: str) -> Image.Image:
        """The picture of a quantity that the step has."""
        value = getattr(self.step, name)
        if name == "x0_hat":
            return self.clean
        if name == "attention":
            return over(self.below, heat_map(value[0], 0, self.highest))
        if name == "mask":
            return tinted(self.below, value[0])
        if name in ("x_t", "x_degraded"):
            return self.noisy(value)
        return self.latent(value)


def first_image(trace: Trace, step: Step, model: Model | Decoder | None) -> StepPictures:
    """Those of a batch's first image, whose numbers are its own, too."""
    one = trace.of_image(0)
    return StepPictures(one, step.of_image(0), model, top(one))
