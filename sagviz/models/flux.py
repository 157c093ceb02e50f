"""Flux.1 (Black Forest Labs 2024): tokens of a text, by T5, before those of the picture in one
softmax, in blocks of two streams and then of one.

"dev" was distilled to its guidance: it reads a scale, `embedded_guidance`, for a second row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.attention.blocks import Blocks
from sagviz.attention.unshared import unshared
from sagviz.attention.words import Tokens, padded
from sagviz.models.conditioning import Conditioning, PooledConditioning
from sagviz.models.cut_words import warn_of_cut_words
from sagviz.models.offload import execution_device
from sagviz.models.transformer import PackedTransformer, packed, unpacked

TRAIN_TIMES = 1000  # the network reads times from 0 to 1


@dataclass(frozen=True, eq=False)
class FluxConditioning(PooledConditioning):
    """What Flux is given.

    Attributes:
        guidance: the scale that it was distilled to, (B,), where it reads one.
    """

    guidance: Tensor | None = None


class Flux(PackedTransformer):
    """Flux.1 dev and schnell, and their fine-tunes.

    Attributes:
        embedded_guidance: the scale that a distilled model is given; 3.5, as in diffusers. It is
            none of the guidance terms, and costs nothing.
    """

    title: ClassVar[str] = "Flux.1"
    CLASSES: ClassVar[tuple[str, ...]] = ("FluxTransformer2DModel",)
    PARTS: ClassVar[tuple[str, ...]] = (
        "transformer",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "scheduler",
    )
    ATTENTION: ClassVar[Blocks | None] = Blocks(
        lists=("transformer_blocks", "single_transformer_blocks"),
        layers=("attn",),
        text="first",
        side=2,
    )
    EVEN: ClassVar[bool] = True
    embedded_guidance: float = 3.5
    text_encoder_2: Any
    tokenizer_2: Any

    @property
    def max_tokens(self) -> int:
        return 512  # as diffusers' pipeline has it

    @property
    def reads_guidance(self) -> bool:
        return bool(self.network.config.guidance_embeds)

    def token_lists(self, prompt: str) -> list[Tokens]:
        """T5's; CLIP gives the whole of the prompt alone."""
        ids = padded(self.tokenizer_2, prompt, self.max_tokens).input_ids
        return [Tokens(self.tokenizer_2, ids)]

    def check_prompt(self, prompt: str) -> None:
        warn_of_cut_words(prompt, self.max_tokens, self._count_tokens)

    def _count_tokens(self, text: str) -> int:
        with self.at_work():  # a tokenizer keeps padding as its own state
            tokenizer = unshared(self.tokenizer_2)
            return len(tokenizer(text, truncation=False, padding=False).input_ids)

    @torch.no_grad()
    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del size
        text, clip, t5 = prompt or "", self.text_encoder, self.text_encoder_2
        with self.at_work():
            ids = padded(self.tokenizer, text, return_tensors="pt").input_ids
            pooled = clip(ids.to(execution_device(clip))).pooler_output
            ids = padded(self.tokenizer_2, text, self.max_tokens, return_tensors="pt").input_ids
            found = t5(ids.to(execution_device(t5)))[0]
        guidance = found.new_tensor([self.embedded_guidance]) if self.reads_guidance else None
        return FluxConditioning(found, pooled, guidance)

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        height, width = x.shape[2] // 2, x.shape[3] // 2
        tokens = conditioning.text.shape[1]
        out = network(
            hidden_states=packed(x),
            timestep=t.expand(len(x)).to(x.dtype) / TRAIN_TIMES,
            guidance=conditioning.guidance,
            pooled_projections=conditioning.pooled,
            encoder_hidden_states=conditioning.text,
            txt_ids=x.new_zeros(tokens, 3),
            img_ids=_places(height, width).to(x),
        ).sample
        return unpacked(out, (height, width))

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        return FluxConditioning(
            torch.empty(1, tokens, config["joint_attention_dim"]),
            torch.empty(1, config["pooled_projection_dim"]),
            torch.empty(1) if config["guidance_embeds"] else None,
        )


def _places(height: int, width: int) -> Tensor:
    """(row, column) of each token, after a 0, (height width, 3)."""
    rows, columns = torch.arange(height), torch.arange(width)
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1)
