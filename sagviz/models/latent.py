"""What models in the latent space of an autoencoder share: from pictures to latents and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sagviz import image
from sagviz.diffusion.seeds import generator, normal
from sagviz.models.base import Model
from sagviz.models.memory import WORKSPACES
from sagviz.models.oom import explained, too_much_to_decode, too_much_to_encode
from sagviz.models.twin import twin_bytes
from sagviz.models.vae import decoded, encoded, is_upcast


class LatentModel(Model):
    """A model whose latent is that of an autoencoder, its part `vae`."""

    _fitted: tuple[Any, Tensor] | None = None

    @property
    def pixels_per_cell(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def misfit(self) -> str | None:
        if hasattr(self.vae, "decoder_scheduler"):  # diffusers' ConsistencyDecoderVAE
            return (
                f"the autoencoder of {self.name} is a {type(self.vae).__name__}, which decodes by a"
                " diffusion of its own, each time to another picture"
            )
        return super().misfit()

    def decoding_bytes(self, latent: tuple[int, int, int], tiled: bool = False) -> int:
        """A VAE that works in float32 has such weights beside those in float16. A model that is not
        on the CPU counts as on a GPU.
        """
        whole = is_upcast(self.vae)
        dtype = torch.float32 if whole else self.vae.dtype
        shape = (self.vae.config.latent_channels, *latent[1:])
        peak = self.footprint.decoder(self.vae, dtype, latent=shape, tiled=tiled)
        if self.device.type != "cpu":
            peak = round(WORKSPACES * peak)
        return peak + (twin_bytes(self.vae) if whole else 0)

    def encode_pixels(
        self, pixels: Tensor, drawn_by: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        with self.at_work(), torch.no_grad(), explained(lambda: too_much_to_encode(self, pixels)):
            latents = encoded(self.vae, pixels, drawn_by)
        spread, offset = self._spread
        return (latents - offset) * self.vae.config.scaling_factor / spread

    def decode_latents(self, latents: Tensor) -> list[Image.Image]:
        spread, offset = (
            part.to(latents.device) if isinstance(part, Tensor) else part for part in self._spread
        )
        with self.at_work(), torch.no_grad(), explained(lambda: too_much_to_decode(self, latents)):
            unscaled = latents.float() * spread / self.vae.config.scaling_factor + offset
            return image.to_images(decoded(self.vae, unscaled))

    @property
    def latent_rgb(self) -> Tensor:
        """Fitted on smooth random latents, once for an autoencoder."""
        if self._fitted is None or self._fitted[0] is not self.vae:
            self._fitted = (self.vae, self._fit())
        return self._fitted[1]

    def _fit(self) -> Tensor:
        channels, height, width = self.latent_shape(self.default_size)
        coarse = normal((4, channels, 4, 4), generator(0))
        latents = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
        return image.fit_latent_rgb(latents, self.decode(latents))

    @property
    def _spread(self) -> tuple[Tensor | float, Tensor | float]:
        """Standard deviation and mean of the autoencoder's own latents, for each channel where it
        says so.
        """
        config = self.vae.config
        mean, deviation = config.get("latents_mean"), config.get("latents_std")
        if mean is None or deviation is None:
            return 1.0, config.get("shift_factor") or 0.0
        spread, offset = (
            torch.tensor(numbers, device="cpu", dtype=torch.float32).view(1, -1, 1, 1)
            for numbers in (deviation, mean)
        )
        return spread, offset
