"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv 2403.03206): tokens of picture and text in
one softmax, two CLIP text encoders, and T5, which may be left out.

3.5 medium has a second attention in its first blocks, `attn2`, of the picture alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.attention.blocks import Blocks
from sagviz.attention.unshared import unshared
from sagviz.attention.words import Tokens, padded
from sagviz.errors import ArgumentError
from sagviz.models.conditioning import Conditioning, PooledConditioning
from sagviz.models.cut_words import warn_of_cut_words
from sagviz.models.offload import execution_device
from sagviz.models.transformer import FlowTransformer

T5_TOKENS = 256  # as diffusers' pipeline has it


class SD3(FlowTransformer):
    """Stable Diffusion 3 and 3.5, with and without T5.

    A prompt's tokens are those of CLIP, whose two encoders lie side by side, and then those of T5.
    """

    title: ClassVar[str] = "Stable Diffusion 3 and 3.5"
    CLASSES: ClassVar[tuple[str, ...]] = ("SD3Transformer2DModel",)
    PARTS: ClassVar[tuple[str, ...]] = (
        "transformer",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "tokenizer",
        "tokenizer_2",
        "tokenizer_3",
        "scheduler",
    )
    OPTIONAL: ClassVar[tuple[str, ...]] = ("text_encoder_3", "tokenizer_3")
    SHIFTS: ClassVar[tuple[tuple[str, float], ...]] = (
        *FlowTransformer.SHIFTS[:3],
        ("max_shift", 1.16),
    )
    ATTENTION: ClassVar[Blocks | None] = Blocks(
        layers=("attn", "attn2"), text="last", alone=("attn2",)
    )
    text_encoder_2: Any
    text_encoder_3: Any
    tokenizer_2: Any
    tokenizer_3: Any

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        shape = super().latent_shape(size)
        most = self.network.config.pos_embed_max_size * self.size_unit
        if max(size) > most:
            raise ArgumentError(
                f"size is {size}, and {self.name} knows the places of {most} pixels a side at most;"
                " give a smaller one"
            )
        return shape

    @property
    def max_tokens(self) -> int:
        clip: int = self.tokenizer.model_max_length
        return clip + T5_TOKENS

    def token_lists(self, prompt: str) -> list[Tokens]:
        clip = Tokens(self.tokenizer, padded(self.tokenizer, prompt).input_ids)
        if self.text_encoder_3 is None:
            return [clip, Tokens(None, [0] * T5_TOKENS)]
        ids = padded(self.tokenizer_3, prompt, T5_TOKENS).input_ids
        return [clip, Tokens(self.tokenizer_3, ids, " (T5)")]

    def check_prompt(self, prompt: str) -> None:
        """Warn of what no encoder has room for: T5 reads on where CLIP ends."""
        long, last = self.text_encoder_3 is not None, self.tokenizer
        tokenizer, length = (self.tokenizer_3, T5_TOKENS) if long else (last, last.model_max_length)

        def count(text: str) -> int:
            with self.at_work():  # a tokenizer keeps padding as its own state
                return len(unshared(tokenizer)(text, truncation=False, padding=False).input_ids)

        warn_of_cut_words(prompt, length, count)

    @torch.no_grad()
    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del size
        text, texts, pooled = prompt or "", [], []
        with self.at_work():
            for tokenizer, encoder in (
                (self.tokenizer, self.text_encoder),
                (self.tokenizer_2, self.text_encoder_2),
            ):
                ids = padded(tokenizer, text, return_tensors="pt").input_ids
                found = encoder(ids.to(execution_device(encoder)), output_hidden_states=True)
                texts.append(found.hidden_states[-2])  # the last layer is left out, as in training
                pooled.append(found[0])
            clip, width = torch.cat(texts, dim=-1), self.network.config.joint_attention_dim
            clip = F.pad(clip, (0, width - clip.shape[-1]))
            t5 = self._of_t5(text, clip)
        return PooledConditioning(torch.cat([clip, t5], dim=1), torch.cat(pooled, dim=-1))

    def _of_t5(self, text: str, like: Tensor) -> Tensor:
        """(1, 256, width): zeros where T5 is left out. Hold the lock."""
        encoder = self.text_encoder_3
        if encoder is None:
            return like.new_zeros(1, T5_TOKENS, like.shape[-1])
        ids = padded(self.tokenizer_3, text, T5_TOKENS, return_tensors="pt").input_ids
        found: Tensor = encoder(ids.to(execution_device(encoder)))[0]
        return found.to(like)

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        return network(
            hidden_states=x,
            timestep=t.expand(len(x)),
            encoder_hidden_states=conditioning.text,
            pooled_projections=conditioning.pooled,
        ).sample

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        text = torch.empty(1, tokens, config["joint_attention_dim"])
        return PooledConditioning(text, torch.empty(1, config["pooled_projection_dim"]))
