"""Unconditional models of pixels (DDPM; Ho et al. 2020, arXiv 2006.11239), the kind of the paper's
main experiments.

The latent is the picture itself in [-1, 1], one cell a pixel. There is no text and no autoencoder,
so no CFG: SAG works on the only branch there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from sagviz import image
from sagviz.errors import ArgumentError
from sagviz.guidance import SAG
from sagviz.models.base import Model
from sagviz.models.conditioning import Conditioning

# up to which side of the picture the paper has which sigma, in pixels; beyond it is 9
BLURS = ((64, 1.0), (128, 3.0))
WIDEST = 9.0
TAPS = 31  # of the paper's blur, which cut it off at sigma 9


class Pixels(Model):
    """A `UNet2DModel` with the scheduler of a DDPM or DDIM pipeline, for colour or grey pictures.

    A scheduler that clips the clean picture (`clip_sample`) does so in its own step; x0_hat of the
    records is what the network predicted, unclipped. Of a network that predicts its variance too,
    the noise alone is used.
    """

    title: ClassVar[str] = "unconditional models of pixels"
    CLASSES: ClassVar[tuple[str, ...]] = ("UNet2DModel",)
    OPEN: ClassVar[bool] = False
    reads_text: ClassVar[bool] = False
    bounded: ClassVar[bool] = True

    @property
    def pixels_per_cell(self) -> int:
        return 1

    @property
    def size_unit(self) -> int:
        """Each block that samples down halves, and sampling up must find the same sides again."""
        return 2 ** sum(
            getattr(block, "downsamplers", None) is not None for block in self.network.down_blocks
        )

    def misfit(self) -> str | None:
        channels, config = self.latent_channels, self.network.config
        if (reason := super().misfit()) is not None:
            return reason
        if channels not in (1, 3) or config.out_channels not in (channels, 2 * channels):
            return (
                f"the U-Net of {self.name} maps {channels} to {config.out_channels} channels: no"
                " pictures"
            )
        if config.sample_size is None:
            return f"the U-Net of {self.name} does not say the size of its pictures (sample_size)"
        return None

    @property
    def default_sag(self) -> SAG:
        """The paper's blur: sigma 1, 3, 9 pixels for pictures of 64, 128, 256 (arXiv 2210.00939v6),
        by a kernel of 31 taps.
        """
        side = min(self.default_size)
        sigma = next((sigma for most, sigma in BLURS if side <= most), WIDEST)
        # 31 taps and 9 are the same at sigma 1
        taps = TAPS if sigma > 1 else None
        return replace(super().default_sag, blur_sigma=sigma, blur_kernel=taps)

    def check_prompt(self, prompt: str) -> None:
        """Refuse any prompt."""
        if prompt:
            raise ArgumentError(
                f"the prompt is {prompt!r}, and {self.name} reads none: it was trained without;"
                " give prompt=''"
            )

    def embed(
        self,
        prompt: str | None = "",
        *,
        size: tuple[int, int] | None = None,
        clip_skip: int | None = None,
    ) -> Conditioning:
        del size, clip_skip
        self.check_prompt(prompt or "")
        return Conditioning()

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        del conditioning
        return network(x, t).sample[:, : x.shape[1]]

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        del config, tokens
        return Conditioning()

    def decoding_bytes(self, latent: tuple[int, int, int], tiled: bool = False) -> int:
        del latent, tiled
        return 0

    def encode_pixels(
        self, pixels: Tensor, drawn_by: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        del drawn_by  # nothing is drawn: a pixel is its own latent
        return pixels if self.latent_channels == 3 else pixels.mean(dim=1, keepdim=True)

    def decode_latents(self, latents: Tensor) -> list[Image.Image]:
        return image.to_images(latents.expand(-1, 3, -1, -1))

    @property
    def latent_rgb(self) -> Tensor:
        """Exact: a pixel is its own colour."""
        channels = self.latent_channels
        rows = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] if channels == 3 else [[1, 1, 1]]
        return torch.tensor([*rows, [0, 0, 0]], device="cpu", dtype=torch.float32)

    def colours(self, latents: Tensor, pictures: list[Image.Image]) -> Tensor:
        del latents, pictures  # nothing to fit
        return self.latent_rgb
