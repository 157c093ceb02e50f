"""Stable Diffusion 1.x and 2.x: a latent of an autoencoder, and a U-Net that reads the tokens of
one CLIP text encoder.

2.x differs in what its parts say of themselves: an OpenCLIP encoder whose last layer is already
left out, more heads in coarser layers, and v-prediction at 768 pixels, also with a noise schedule
rescaled to zero terminal SNR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.attention.unshared import unshared
from sagviz.attention.words import padded, with_all_vectors
from sagviz.models.conditioning import Conditioning
from sagviz.models.cut_words import warn_of_cut_words
from sagviz.models.distilled import blank_time_cond, scale_embedding
from sagviz.models.latent import LatentModel
from sagviz.models.offload import execution_device


class StableDiffusion(LatentModel):
    """A text-to-image model in the latent space of an autoencoder."""

    title: ClassVar[str] = "Stable Diffusion 1.x and 2.x"
    CLASSES: ClassVar[tuple[str, ...]] = ("UNet2DConditionModel",)
    PARTS: ClassVar[tuple[str, ...]] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    # what the U-Net adds to its embedding of the time, in diffusers' name for it
    addition: ClassVar[str | None] = None
    embedded_guidance: float = 8.5  # of latent consistency models, as in diffusers

    def misfit(self) -> str | None:
        if (reason := super().misfit()) is not None:
            return reason
        given, channels = self.vae.config.latent_channels, self.network.config.in_channels
        if channels != given:
            return (
                f"the U-Net of {self.name} takes {channels} channels and its autoencoder has"
                f" {given}: it wants a picture beside the noise, as models for inpainting and"
                " editing do"
            )
        kind = self.network.config.get("addition_embed_type")
        if kind != self.addition:
            sdxl = "it is SDXL's, and lacks the second text encoder"
            hint = sdxl if kind == "text_time" else f"it wants {kind!r} added"
            return f"the U-Net of {self.name} does not fit the other parts: {hint}"
        return None

    def check_prompt(self, prompt: str) -> None:
        warn_of_cut_words(prompt, self.max_tokens, self._count_tokens)

    def _count_tokens(self, text: str) -> int:
        # a fast tokenizer keeps padding and truncation as its own state, which threads would share
        with self.at_work():
            text = with_all_vectors(self.tokenizer, text)
            return len(unshared(self.tokenizer)(text, truncation=False, verbose=False).input_ids)

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
        """As every model does; `clip_skip` leaves out so many of the text encoder's last layers,
        beside the one that SDXL leaves out anyhow.
        """
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
        return Conditioning(text.to(self.device), time_cond=self._time_cond)

    @property
    def reads_guidance(self) -> bool:
        return bool(self.network.config.get("time_cond_proj_dim"))

    @property
    def _time_cond(self) -> Tensor | None:
        """The scale that it was distilled to, as latent consistency models read it."""
        if not self.reads_guidance:
            return None
        width = self.network.config.time_cond_proj_dim
        return scale_embedding(self.embedded_guidance, width).to(self.device)

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        text, distilled = conditioning.text, conditioning.time_cond
        return network(x, t, encoder_hidden_states=text, timestep_cond=distilled).sample

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        text = torch.empty(1, tokens, config["cross_attention_dim"])
        return Conditioning(text, time_cond=blank_time_cond(config))
