"""`Model`: all that the rest of sagviz sees of a network, whatever family it is of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from sagviz import image
from sagviz.attention.blocks import register
from sagviz.attention.layers import default_layer
from sagviz.checks import check_size, check_whole, format_dtype
from sagviz.errors import ArgumentError
from sagviz.guidance import SAG, Classifier
from sagviz.image import PictureLike
from sagviz.models.conditioning import Conditioning
from sagviz.models.digests import Digests
from sagviz.models.memory import Footprint
from sagviz.models.oom import explained, too_much
from sagviz.models.origin import Origin, can_be_reopened
from sagviz.models.parts import Part
from sagviz.models.predictor import Predictor
from sagviz.models.prompted import Prompted
from sagviz.models.unfit import misfit, network_word


class Model(Predictor, Prompted):
    """A diffusion model whose network has self-attention. Each family is a subclass in one file; a
    class with a `title` is known to `load` as soon as it is defined.

    Attributes:
        name: what it was loaded from.
        scheduler, and what else the family lists in `PARTS`: diffusers' and transformers' own
            objects, left as they are; `network` is the one that predicts, U-Net or transformer.
        tokenizer: `None` where the family reads no text.
        pipe: the pipeline in memory that it was made from, whose parts these are; else `None`.
        config: the settings of the pipeline that it comes from.
        classifier: of noisy latents, for CG; `None` where there is none.
        origin: what `load` needs to load it again; `None` where it, or its classifier, comes from
            the memory of this process. A model is pickled by it.

    Example:
        >>> import sagviz as sv
        >>> sv.load().latent_shape((64, 64))
        (4, 16, 16)
    """

    families: ClassVar[list[type[Model]]] = []
    title: ClassVar[str]  # of the family, in "sagviz runs ..."
    PARTS: ClassVar[tuple[str, ...]] = ("unet", "scheduler")
    OPTIONAL: ClassVar[tuple[str, ...]] = ()  # those of them that a pipeline may lack
    KNOWN_BY: ClassVar[str] = "unet"  # the part that other families do not have
    OPEN: ClassVar[bool] = True  # whether a pipeline may have other parts, which are left out
    reads_text: ClassVar[bool] = True
    bounded: ClassVar[bool] = False  # whether a clean latent lies in [-1, 1], as pixels do
    scheduler: Any
    unet: Any  # this and the next two where the family has them
    vae: Any
    text_encoder: Any

    def __init_subclass__(cls) -> None:
        for name in cls.PARTS:
            setattr(cls, name, Part(name))
        if "title" in cls.__dict__:
            Model.families.append(cls)
            register(cls.CLASSES, cls.ATTENTION)

    def __init__(
        self,
        name: str,
        *,
        config: Mapping[str, Any] = MappingProxyType({}),
        classifier: Classifier | None = None,
        pipe: Any = None,
        **parts: Any,
    ) -> None:
        self.name, self.config, self.classifier, self.pipe = name, config, classifier, pipe
        for part in self.PARTS if pipe is None else ():
            setattr(self, part, parts.get(part) if part in self.OPTIONAL else parts[part])
        self.origin: Origin | None = None
        self.reopen: Callable[[], Model] | None = None
        self.footprint, self.digests = Footprint(), Digests()

    def __repr__(self) -> str:
        return f"<Model {self.name} on {self.device}, {format_dtype(self.dtype)}>"

    def __reduce__(self) -> tuple[Callable[[], Model], tuple[()], dict[str, float]]:
        given = {} if self.own_guidance is None else {"embedded_guidance": self.own_guidance}
        return can_be_reopened(self.name, self.reopen), (), given  # as `load` opened it

    @property
    def noted_name(self) -> str:
        """Its name as records have it: with the guidance that it is given where that is another."""
        own = self.own_guidance
        return self.name if own is None else f"{self.name}, embedded guidance {own:g}"

    @property
    def pixels_per_cell(self) -> int:
        """Side of the square of pixels that one latent cell stands for."""
        raise NotImplementedError

    @property
    def size_unit(self) -> int:
        """Both sides of a picture are multiples of this many pixels."""
        return self.pixels_per_cell

    @property
    def default_size(self) -> tuple[int, int]:
        """(height, width) in pixels that the model was trained for."""
        cells = self.network.config.sample_size
        height, width = (cells, cells) if isinstance(cells, int) else cells
        return height * self.pixels_per_cell, width * self.pixels_per_cell

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, H, W) of the latent for a picture of `size` = (height, width) pixels."""
        height, width = check_size(size, self.size_unit, self.default_size)
        cell = self.pixels_per_cell
        return self.latent_channels, height // cell, width // cell

    def sag(
        self,
        scale: float = 1.0,
        *,
        threshold: float = 1.0,
        blur_sigma: float | None = None,
        blur_kernel: int | None = None,
    ) -> SAG:
        """SAG with the layer and, where it is `None`, the blur that suit this family.

        Example:
            >>> import sagviz as sv
            >>> sv.load().sag(0.5) == sv.SAG(0.5)
            True
        """
        given = {"blur_sigma": blur_sigma, "blur_kernel": blur_kernel}
        changes: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
        return replace(self.default_sag, scale=scale, threshold=threshold, **changes)

    @property
    def default_sag(self) -> SAG:
        """SAG as it suits the family: at another layer where the middle has no attention."""
        return SAG(1.0, layer=default_layer(self.network))

    def misfit(self) -> str | None:
        """Why these networks cannot be used, `None` where they can: they want what this family does
        not give them, or lack what SAG needs.
        """
        called = f"the {network_word(self.NETWORK)} of {self.name}"
        return misfit(called, self.network, self.scheduler, flow=self.FLOW)

    def predict(
        self, x: Tensor, t: Tensor, conditioning: Conditioning, dtype: torch.dtype | None = None
    ) -> Tensor:
        """One call of the network: its own output, float32. `x` (B, C, H, W) as the scheduler's
        `scale_model_input` made it, `t` one time or (B,), of the conditioning B rows; `dtype` is
        the network's, for who has it at hand: networks take a while to say it.

        Raises:
            OutOfMemoryError: says what was tried and what to lower.
        """
        with explained(lambda: too_much(self, x)):
            kind = dtype or self.dtype
            return self.call_network(self.network, x.to(kind), t, conditioning.to(kind)).float()

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        """How this family's network is called: its output for `x`, in the same number format."""
        raise NotImplementedError

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        """A conditioning of the right shapes for a network of these settings, without a meaning."""
        raise NotImplementedError

    def network_bytes(self, rows: int, latent: tuple[int, int, int]) -> int:
        """Bytes at the peak of a call of the network on (rows, *latent), beside the weights."""
        kind, tokens = type(self), self.max_tokens
        return self.footprint.network(
            kind, self.network, self.dtype, rows=rows, latent=latent, tokens=tokens
        )

    def decoding_bytes(self, latent: tuple[int, int, int], tiled: bool = False) -> int:
        """Bytes at the peak of decoding one picture, beside the weights; `tiled` in tiles."""
        raise NotImplementedError

    def encode(self, pictures: PictureLike | Sequence[PictureLike]) -> Tensor:
        """Pictures of equal size to latents (B, C, H, W), float32 on the CPU, unit variance. They
        are PIL's, or arrays: (H, W, 3) of NumPy, (3, H, W) of torch, 0..1 or 0..255.

        Example:
            >>> import sagviz as sv
            >>> from PIL import Image
            >>> sv.load().encode(Image.new("RGB", (64, 64), "white")).shape
            torch.Size([1, 4, 16, 16])
        """
        pixels = image.from_images(pictures)
        self.latent_shape((pixels.shape[2], pixels.shape[3]))  # refuses what does not fit
        return self.encode_pixels(pixels)

    def encode_pixels(
        self, pixels: Tensor, drawn_by: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        """The same of pixels (B, 3, H, W) in [-1, 1]: the most likely latents, or, with one
        generator a row, those that it draws of the autoencoder's distribution, as diffusers'
        pipelines do; of one picture as many as there are generators.
        """
        raise NotImplementedError

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents (B, C, H, W), of torch or NumPy, to pictures, one by one; those of more than
        2048 x 1024 pixels in tiles.

        Raises:
            ArgumentError: they are no latents.
            NotFiniteError: a picture came out as NaN or infinity, in float32 too.
            OutOfMemoryError: there is not even the memory to decode in tiles.
        """
        found = image.as_latents(latents)
        if found.shape[1] != self.latent_channels:
            raise ArgumentError(
                f"these latents have {found.shape[1]} channels, and those of {self.name}"
                f" {self.latent_channels}"
            )
        return self.decode_latents(found)

    def decode_latents(self, latents: Tensor) -> list[Image.Image]:
        """The same of a tensor of four dimensions."""
        raise NotImplementedError

    @property
    def latent_rgb(self) -> Tensor:
        """A linear map from latents to colours, (C + 1, 3), for previews before a run has ended."""
        raise NotImplementedError

    def colours(self, latents: Tensor, pictures: list[Image.Image]) -> Tensor:
        """The map for previews of a run that ended with these latents and pictures."""
        return image.fit_latent_rgb(latents, pictures)

    def add_noise(self, latents: Tensor, noise: Tensor, t: int) -> Tensor:
        r"""Forward process: :math:`x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 -
        \bar\alpha_t}\epsilon`, t from 0 to 999.

        Example:
            >>> import sagviz as sv, torch
            >>> sv.load().add_noise(torch.ones(1), torch.zeros(1), t=500)
            tensor([0.4363])
        """
        bars = self.scheduler.alphas_cumprod
        t = check_whole("t", t, 0, len(bars) - 1)
        return math.sqrt(bars[t]) * latents + math.sqrt(1 - bars[t]) * noise
