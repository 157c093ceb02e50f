"""Stable Diffusion 1.x and 2.x: a latent of an autoencoder, and a U-Net that reads the tokens of
one CLIP text encoder.

2.x differs in what its parts say of themselves: an OpenCLIP encoder whose last layer is already
left out, more heads in coarser layers, and v-prediction at 768 pixels, also with a noise schedule
rescaled to zero terminal SNR.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from sagviz import image
from sagviz.errors import ModelError, SagvizWarning
from sagviz.models.base import WORKS, Model
from sagviz.models.conditioning import Conditioning
from sagviz.models.memory import too_much_to_decode
from sagviz.models.offload import execution_device
from sagviz.models.oom import explained
from sagviz.models.vae import decoded, encoded

if TYPE_CHECKING:
    from PIL import Image


class StableDiffusion(Model):
    """A text-to-image model in the latent space of an autoencoder."""

    PARTS: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    # what the U-Net adds to its embedding of the time, in diffusers' name for it
    addition: ClassVar[str | None] = None

    @property
    def pixels_per_cell(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def check(self) -> None:
        super().check()
        given, channels = self.vae.config.latent_channels, self.unet.config.in_channels
        if channels != given:
            raise ModelError(
                f"the U-Net of {self.name} takes {channels} channels and its autoencoder has"
                f" {given}: it wants a picture beside the noise, as models for inpainting and"
                f" editing do; {WORKS}"
            )
        kind = self.unet.config.get("addition_embed_type")
        if kind != self.addition:
            hint = (
                "it is SDXL's, and lacks the second text encoder"
                if kind == "text_time"
                else f"it wants {kind!r} added"
            )
            raise ModelError(
                f"the U-Net of {self.name} does not fit the other parts: {hint}; {WORKS}"
            )

    def check_prompt(self, prompt: str, stacklevel: int = 2) -> None:
        length = self.tokenizer.model_max_length
        # a fast tokenizer keeps padding and truncation as its own state, which threads would share
        with self.lock:
            ids = self.tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(ids) > length:
            cut = self.tokenizer.decode(ids[length - 1 : -1]).strip()
            shown = cut if len(cut) < 200 else cut[:200] + " ..."
            message = (
                f"the prompt is longer than {length - 2} tokens; these words were cut: {shown}"
            )
            warnings.warn(message, SagvizWarning, stacklevel=stacklevel)

    @torch.no_grad()
    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del size  # only SDXL is told
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        with self.lock:
            tokens = padded(self.tokenizer, prompt or "")
            place = execution_device(self.text_encoder)
            mask = tokens.attention_mask.to(place) if masked else None
            return Conditioning(
                self.text_encoder(tokens.input_ids.to(place), attention_mask=mask)[0]
            )

    def _output(self, x: Tensor, t: Tensor, told: Conditioning) -> Tensor:
        return self.unet(x, t, encoder_hidden_states=told.text).sample

    @torch.no_grad()
    def encode(self, pictures: Image.Image | Sequence[Image.Image]) -> Tensor:
        pixels = self._pixels(pictures)
        with self.lock:
            latents = encoded(self.vae, pixels)
        spread, offset = self._spread
        return (latents - offset) * self.vae.config.scaling_factor / spread

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        spread, offset = (
            part.to(latents.device) if isinstance(part, Tensor) else part for part in self._spread
        )
        unscaled = latents.float() * spread / self.vae.config.scaling_factor + offset
        with self.lock, explained(lambda: too_much_to_decode(self, latents)):
            return image.to_images(decoded(self.vae, unscaled))

    @cached_property
    def latent_rgb(self) -> Tensor:
        """Fitted on smooth random latents."""
        channels, height, width = self.latent_shape(self.default_size)
        coarse = torch.randn(4, channels, 4, 4, generator=torch.Generator().manual_seed(0))
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
        return torch.tensor(deviation).view(1, -1, 1, 1), torch.tensor(mean).view(1, -1, 1, 1)


def padded(tokenizer: Any, text: str) -> Any:
    """The tokens of a text, cut or filled up to the tokenizer's length; a tokenizer's state is
    shared: hold the lock.
    """
    return tokenizer(
        text,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
