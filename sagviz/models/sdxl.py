"""SDXL (Podell et al. 2023, arXiv 2307.01952): two text encoders, and a U-Net that reads the
picture's size.

Its U-Net samples down twice only: at 1,024 pixels the middle block works on 32 x 32 cells, where
Stable Diffusion 1.x has 8 x 8 at 512, so that SAG's map is four times as fine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.attention.words import padded
from sagviz.guidance import SAG
from sagviz.models.conditioning import Conditioning, PooledConditioning
from sagviz.models.distilled import blank_time_cond
from sagviz.models.offload import execution_device
from sagviz.models.stable_diffusion import StableDiffusion

SIZES = 6  # numbers: original size, corner of the crop, target size


@dataclass(frozen=True, eq=False)
class SDXLConditioning(PooledConditioning):
    """What SDXL's U-Net is given.

    Attributes:
        time_ids: original size, crop and target size in pixels, (B, 6).
    """

    time_ids: Tensor | None = None


class SDXL(StableDiffusion):
    """Stable Diffusion XL's base model and its fine-tunes.

    The unconditional branch without a negative prompt is given zeros where the pipeline's
    `force_zeros_for_empty_prompt` says so, and else the empty text; so is an unguided run without a
    prompt, which is that same branch.
    """

    title: ClassVar[str] = "SDXL"
    KNOWN_BY: ClassVar[str] = "text_encoder_2"
    PARTS: ClassVar[tuple[str, ...]] = (
        "unet",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "scheduler",
    )
    addition: ClassVar[str | None] = "text_time"
    text_encoder_2: Any
    tokenizer_2: Any

    def misfit(self) -> str | None:
        if (reason := super().misfit()) is not None:
            return reason
        if self.text_encoder_2.config.projection_dim == _pooled_width(self.network.config):
            return None
        return (
            f"the U-Net of {self.name} wants other numbers than size and crop, as SDXL's refiner"
            " does"
        )

    @property
    def default_sag(self) -> SAG:
        """A blur of half the width: users of SDXL report blurry pictures at 1 latent pixel and
        advise 0.34 to 0.7 instead.

        That is advice and no measurement; Refiners, for one, keeps 1.
        """
        return replace(super().default_sag, blur_sigma=0.5)

    @property
    def max_clip_skip(self) -> int:
        """Counted from the last but one, where SDXL reads."""
        encoders = (self.text_encoder, self.text_encoder_2)
        return min(encoder.config.num_hidden_layers for encoder in encoders) - 1

    @property
    def embedding_widths(self) -> tuple[int, ...]:
        return self.unet.config.cross_attention_dim, _pooled_width(self.unet.config)

    @torch.no_grad()
    def embed(
        self,
        prompt: str | None = "",
        *,
        size: tuple[int, int] | None = None,
        clip_skip: int | None = None,
    ) -> Conditioning:
        texts = []
        with self.at_work():
            for tokenizer, encoder in (
                (self.tokenizer, self.text_encoder),
                (self.tokenizer_2, self.text_encoder_2),
            ):
                ids = padded(tokenizer, prompt or "", return_tensors="pt").input_ids
                found = encoder(ids.to(execution_device(encoder)), output_hidden_states=True)
                # the last layer is left out, as in training
                texts.append(found.hidden_states[-2 - (clip_skip or 0)])
        text, pooled = torch.cat(texts, dim=-1), found[0]  # of the second encoder, projected
        if prompt is None and self.config.get("force_zeros_for_empty_prompt", True):
            text, pooled = torch.zeros_like(text), torch.zeros_like(pooled)
        return self.condition(text, pooled, size=size)

    def condition(
        self, text: Tensor, pooled: Tensor | None = None, *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        assert pooled is not None, "SDXL's pooled prompt was checked to be there"
        height, width = self.default_size if size is None else size
        sizes = text.new_tensor([[height, width, 0, 0, height, width]])
        text, pooled, sizes = (part.to(self.device) for part in (text, pooled, sizes))
        return SDXLConditioning(text, pooled, sizes, time_cond=self._time_cond)

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        text, pooled = conditioning.text, conditioning.pooled
        added = {"text_embeds": pooled, "time_ids": conditioning.time_ids}
        given = {"encoder_hidden_states": text, "timestep_cond": conditioning.time_cond}
        return network(x, t, added_cond_kwargs=added, **given).sample

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        text = torch.empty(1, tokens, config["cross_attention_dim"])
        pooled, sizes = torch.empty(1, _pooled_width(config)), torch.empty(1, SIZES)
        return SDXLConditioning(text, pooled, sizes, time_cond=blank_time_cond(config))


def _pooled_width(config: Mapping[str, Any]) -> int:
    """How wide a U-Net of these settings takes the pooled prompt to be."""
    total: int = config["projection_class_embeddings_input_dim"]
    return total - SIZES * config["addition_time_embed_dim"]
