"""Stable Diffusion 1.x and 2.x: a latent of an autoencoder, and a U-Net that reads the tokens of
one CLIP text encoder.

2.x differs in what its parts say of themselves: an OpenCLIP encoder whose last layer is already
left out, more heads in coarser layers, and v-prediction at 768 pixels, also with a noise schedule
rescaled to zero terminal SNR.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from sagviz import image
from sagviz.attention.words import padded, with_all_vectors
from sagviz.checks import shortened
from sagviz.diffusion.seeds import generator, normal
from sagviz.errors import warn
from sagviz.models.base import Model
from sagviz.models.conditioning import Conditioning
from sagviz.models.memory import WORKSPACES, weight_bytes
from sagviz.models.offload import execution_device
from sagviz.models.oom import explained, too_much_to_decode
from sagviz.models.vae import decoded, encoded, overflows

SHOWN = 200  # letters of the words that were cut
ALONE = "\u3040-\u30ff\u3400-\u9fff"  # Chinese and Japanese, which put no spaces between words
WORD = re.compile(rf"[{ALONE}]|[^\s{ALONE}]+")


class StableDiffusion(Model):
    """A text-to-image model in the latent space of an autoencoder."""

    title: ClassVar[str] = "Stable Diffusion 1.x and 2.x"
    UNET: ClassVar[str] = "UNet2DConditionModel"
    PARTS: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    # what the U-Net adds to its embedding of the time, in diffusers' name for it
    addition: ClassVar[str | None] = None
    _fitted: tuple[Any, Tensor] | None = None

    @property
    def pixels_per_cell(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def misfit(self) -> str | None:
        if (reason := super().misfit()) is not None:
            return reason
        given, channels = self.vae.config.latent_channels, self.unet.config.in_channels
        if channels != given:
            return (
                f"the U-Net of {self.name} takes {channels} channels and its autoencoder has"
                f" {given}: it wants a picture beside the noise, as models for inpainting and"
                " editing do"
            )
        kind = self.unet.config.get("addition_embed_type")
        if kind != self.addition:
            sdxl = "it is SDXL's, and lacks the second text encoder"
            hint = sdxl if kind == "text_time" else f"it wants {kind!r} added"
            return f"the U-Net of {self.name} does not fit the other parts: {hint}"
        return None

    def check_prompt(self, prompt: str) -> None:
        length, count = self.tokenizer.model_max_length, self._count_tokens
        if count(prompt) > length:
            starts = [word.start() for word in WORD.finditer(prompt)]
            # the first word that does not fit as a whole
            place = bisect_right(starts, length, key=lambda start: count(prompt[:start])) - 1
            cut = shortened(prompt[starts[place] :], SHOWN)
            warn(f"the prompt is longer than {length - 2} tokens; these words were cut: {cut}")

    def _count_tokens(self, text: str) -> int:
        # a fast tokenizer keeps padding and truncation as its own state, which threads would share
        with self.at_work():
            text = with_all_vectors(self.tokenizer, text)
            return len(self.tokenizer(text, truncation=False, verbose=False).input_ids)

    @property
    def max_clip_skip(self) -> int:
        layers: int = self.text_encoder.config.num_hidden_layers
        return layers

    @property
    def embedding_widths(self) -> tuple[int, ...]:
        return (self.unet.config.cross_attention_dim,)

    @torch.no_grad()
    def embed(
        self,
        prompt: str | None = "",
        *,
        size: tuple[int, int] | None = None,
        clip_skip: int | None = None,
    ) -> Conditioning:
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        with self.at_work():
            tokens = padded(self.tokenizer, prompt or "", return_tensors="pt")
            device = execution_device(self.text_encoder)
            mask = tokens.attention_mask.to(device) if masked else None
            found = self.text_encoder(
                tokens.input_ids.to(device),
                attention_mask=mask,
                output_hidden_states=clip_skip is not None,
            )
            if clip_skip is None:
                return self.condition(found[0], size=size)
            # older transformers have the layers one deeper
            inner = getattr(self.text_encoder, "text_model", self.text_encoder)
            text = inner.final_layer_norm(found.hidden_states[-1 - clip_skip])
        return self.condition(text, size=size)

    def condition(
        self, text: Tensor, pooled: Tensor | None = None, *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del pooled, size  # only SDXL reads them
        return Conditioning(text.to(self.device))

    @staticmethod
    def call_unet(unet: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        return unet(x, t, encoder_hidden_states=conditioning.text).sample

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        return Conditioning(torch.empty(1, tokens, config["cross_attention_dim"]))

    def decoding_bytes(self, latent: tuple[int, int, int], tiled: bool = False) -> int:
        """A VAE that is put in float32 grows by its weights in float16. A model that is not on the
        CPU counts as on a GPU.
        """
        whole = overflows(self.vae)
        dtype = torch.float32 if whole else self.vae.dtype
        shape = (self.vae.config.latent_channels, *latent[1:])
        peak = self.footprint.decoder(self.vae, dtype, latent=shape, tiled=tiled)
        if self.device.type != "cpu":
            peak = round(WORKSPACES * peak)
        return peak + (weight_bytes(self.vae) if whole else 0)

    def encode_pixels(
        self, pixels: Tensor, drawn_by: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        with self.at_work(), torch.no_grad():
            latents = encoded(self.vae, pixels, drawn_by)
        spread, offset = self._spread
        return (latents - offset) * self.vae.config.scaling_factor / spread

    def decode(self, latents: Tensor) -> list[Image.Image]:
        spread, offset = (
            part.to(latents.device) if isinstance(part, Tensor) else part for part in self._spread
        )
        unscaled = latents.float() * spread / self.vae.config.scaling_factor + offset
        with self.at_work(), torch.no_grad(), explained(lambda: too_much_to_decode(self, latents)):
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
