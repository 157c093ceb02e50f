"""PixArt-α and Σ (Chen et al. 2023, arXiv 2310.00426; 2024, arXiv 2403.04692): a transformer with
self- and cross-attention, and T5 as the text encoder.

A prompt is put in lower case and stripped, as diffusers does where it has not the libraries to
clean a web page's caption.
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
from sagviz.models.conditioning import Conditioning, MaskedConditioning
from sagviz.models.cut_words import warn_of_cut_words
from sagviz.models.offload import execution_device
from sagviz.models.transformer import TEXT_PARTS, Transformer

TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}  # of a prompt, as in training


@dataclass(frozen=True, eq=False)
class PixArtConditioning(MaskedConditioning):
    """What PixArt is given.

    Attributes:
        resolution, aspect_ratio: of the picture, (B, 2) and (B, 1), where the network reads them.
    """

    resolution: Tensor | None = None
    aspect_ratio: Tensor | None = None


class PixArt(Transformer):
    """PixArt-α, also its 1,024 pixels with the size as an input, and PixArt-Σ. The network predicts
    its variance too, of which nothing is used.
    """

    title: ClassVar[str] = "PixArt-α and Σ"
    CLASSES: ClassVar[tuple[str, ...]] = ("PixArtTransformer2DModel", "Transformer2DModel")
    KNOWN_BY: ClassVar[str] = "text_encoder"
    PARTS: ClassVar[tuple[str, ...]] = TEXT_PARTS
    ATTENTION: ClassVar[Blocks | None] = Blocks()

    @property
    def max_tokens(self) -> int:
        kind = self.config.get("_class_name") if self.pipe is None else type(self.pipe).__name__
        return TOKENS.get(str(kind), TOKENS["PixArtSigmaPipeline"])

    def token_lists(self, prompt: str) -> list[Tokens]:
        return super().token_lists(_cleaned(prompt))

    def check_prompt(self, prompt: str) -> None:
        warn_of_cut_words(prompt, self.max_tokens, self._count_tokens)

    def _count_tokens(self, text: str) -> int:
        with self.at_work():  # a tokenizer keeps padding as its own state
            tokenizer = unshared(self.tokenizer)
            return len(tokenizer(_cleaned(text), truncation=False, padding=False).input_ids)

    @torch.no_grad()
    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        with self.at_work():
            text, length = _cleaned(prompt or ""), self.max_tokens
            tokens = padded(self.tokenizer, text, length, return_tensors="pt")
            device = execution_device(self.text_encoder)
            mask = tokens.attention_mask.to(device)
            found = self.text_encoder(tokens.input_ids.to(device), attention_mask=mask)[0]
        if not _reads_size(self.network.config):
            return PixArtConditioning(found, mask)
        height, width = self.default_size if size is None else size
        sides, ratio = found.new_tensor([[height, width]]), found.new_tensor([[height / width]])
        return PixArtConditioning(found, mask, sides, ratio)

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        added = {"resolution": conditioning.resolution, "aspect_ratio": conditioning.aspect_ratio}
        return network(
            x,
            encoder_hidden_states=conditioning.text,
            encoder_attention_mask=conditioning.mask,
            timestep=t.expand(len(x)),
            added_cond_kwargs=added,
        ).sample[:, : x.shape[1]]

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        text = torch.empty(1, tokens, config["caption_channels"])
        mask = torch.empty(1, tokens, dtype=torch.int64)
        if not _reads_size(config):
            return PixArtConditioning(text, mask)
        return PixArtConditioning(text, mask, torch.empty(1, 2), torch.empty(1, 1))


def _cleaned(prompt: str) -> str:
    return prompt.lower().strip()


def _reads_size(config: Mapping[str, Any]) -> bool:
    """Whether a network of these settings reads the picture's size; where they do not say, that of
    1,024 pixels does.
    """
    stated = config.get("use_additional_conditions")
    return config["sample_size"] == 128 if stated is None else bool(stated)
