"""Unconditional models of pixels (DDPM; Ho et al. 2020, arXiv 2006.11239), the kind of the paper's
main experiments.

The latent is the picture itself in [-1, 1], one cell a pixel. There is no text and no autoencoder,
so no CFG: SAG works on the only branch there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from sagviz import image
from sagviz.errors import ArgumentError, ModelError
from sagviz.models.base import WORKS, Model
from sagviz.models.conditioning import Conditioning

if TYPE_CHECKING:
    from PIL import Image

# up to which side of the picture the paper has which sigma, in pixels; beyond it is 9
BLURS = ((64, 1.0), (128, 3.0))
WIDEST = 9.0
TAPS = 31  # of the paper's blur, which cut it off at sigma 9


class Pixels(Model):
    """A `UNet2DModel` with the scheduler of a DDPM or DDIM pipeline, for colour or grey pictures.

    A scheduler that clips the clean picture (`clip_sample`) does so in its own step; x0_hat of the
    records is what the network said, unclipped. Of a network that predicts its variance too, the
    noise alone is used.
    """

    reads_text: ClassVar[bool] = False

    @property
    def pixels_per_cell(self) -> int:
        return 1

    @property
    def size_unit(self) -> int:
        """Each block that samples down halves, and what samples up again must find the same sides."""
        return 2 ** sum(
            getattr(block, "downsamplers", None) is not None for block in self.unet.down_blocks
        )

    def check(self) -> None:
        super().check()
        channels, config = self.unet.config.in_channels, self.unet.config
        if channels not in (1, 3) or config.out_channels not in (channels, 2 * channels):
            raise ModelError(
                f"the U-Net of {self.name} maps {channels} to {config.out_channels} channels: no"
                f" pictures; {WORKS}"
            )
        if config.sample_size is None:
            raise ModelError(
                f"the U-Net of {self.name} does not say the size of its pictures (sample_size);"
                f" {WORKS}"
            )

    def sag_defaults(self) -> dict[str, Any]:
        """The paper's blur: sigma 1, 3, 9 pixels for pictures of 64, 128, 256 (arXiv 2210.00939v6),
        by a kernel of 31 taps.
        """
        side = min(self.default_size)
        sigma = next((sigma for most, sigma in BLURS if side <= most), WIDEST)
        # 31 taps and 9 are the same at sigma 1
        blur = {"blur_sigma": sigma, "blur_kernel": TAPS} if sigma > 1 else {}
        return {**super().sag_defaults(), **blur}

    def check_prompt(self, prompt: str, stacklevel: int = 2) -> None:
        del stacklevel
        if prompt:
            raise ArgumentError(
                f"the prompt is {prompt!r}, and {self.name} reads none: it was trained without;"
                " give prompt=''"
            )

    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del size
        self.check_prompt(prompt or "")
        return Conditioning()

    def _output(self, x: Tensor, t: Tensor, told: Conditioning) -> Tensor:
        del told
        return self.unet(x, t).sample[:, : x.shape[1]]

    def encode(self, pictures: Image.Image | Sequence[Image.Image]) -> Tensor:
        colours = self._pixels(pictures)
        return colours if self.unet.config.in_channels == 3 else colours.mean(dim=1, keepdim=True)

    def decode(self, latents: Tensor) -> list[Image.Image]:
        return image.to_images(latents.expand(-1, 3, -1, -1))

    @property
    def latent_rgb(self) -> Tensor:
        """Exact: a pixel is its own colour."""
        channels = self.unet.config.in_channels
        own = torch.eye(3) if channels == 3 else torch.ones(1, 3)
        return torch.cat([own, torch.zeros(1, 3)])

    def colours(self, latents: Tensor, pictures: list[Image.Image]) -> Tensor:
        del latents, pictures  # nothing to fit
        return self.latent_rgb
