"""Z-Image (Z-Image Team 2025, arXiv 2511.22699): one stream, the tokens of the picture before those
of the text, and Qwen3 as the text encoder, which is given the prompt as a user's message.

The blocks that refine picture and text apart, before they meet, are not among the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.attention.blocks import Blocks
from sagviz.attention.unshared import unshared
from sagviz.attention.words import Tokens
from sagviz.models.conditioning import Conditioning, MaskedConditioning
from sagviz.models.cut_words import warn_of_cut_words
from sagviz.models.offload import execution_device
from sagviz.models.transformer import TEXT_PARTS, FlowTransformer

TRAIN_TIMES = 1000  # the network reads times from 0, noise, to 1, picture
PLACE = "§"  # a prompt, to find where it stands in a message
FILLED = 32  # the tokens of picture and text are filled up to multiples of this


class ZImage(FlowTransformer):
    """Z-Image and Z-Image-Turbo. `CFG(w)` is the pipeline's `guidance_scale` of w - 1."""

    title: ClassVar[str] = "Z-Image"
    CLASSES: ClassVar[tuple[str, ...]] = ("ZImageTransformer2DModel",)
    PARTS: ClassVar[tuple[str, ...]] = TEXT_PARTS
    ATTENTION: ClassVar[Blocks | None] = Blocks(
        lists=("layers",), layers=("attention",), text="last", side=2, filled=FILLED
    )
    EVEN: ClassVar[bool] = True

    @property
    def max_tokens(self) -> int:
        return 512  # as diffusers' pipeline has it

    def token_lists(self, prompt: str) -> list[Tokens]:
        """Without what fills up the text, but for the multiple that the network takes."""
        ids = self._ids(prompt, truncation=True, max_length=self.max_tokens).input_ids
        blank = [self.tokenizer.pad_token_id] * (-len(ids) % FILLED)
        head = self._message(PLACE).partition(PLACE)[0]
        begin = len(unshared(self.tokenizer)(head).input_ids)
        return [Tokens(self.tokenizer, [*ids, *blank], begin=begin)]

    def _message(self, prompt: str) -> str:
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        return text

    def _ids(self, prompt: str, **options: Any) -> Any:
        """The tokens of a prompt as a user's message; hold the lock."""
        return unshared(self.tokenizer)(self._message(prompt), **options)

    def check_prompt(self, prompt: str) -> None:
        def count(text: str) -> int:
            with self.at_work():  # a tokenizer keeps padding as its own state
                return len(self._ids(text, truncation=False, padding=False).input_ids)

        warn_of_cut_words(prompt, self.max_tokens, count)

    @torch.no_grad()
    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del size
        encoder = self.text_encoder
        with self.at_work():
            tokens = self._ids(
                prompt or "",
                padding="max_length",
                max_length=self.max_tokens,
                truncation=True,
                return_tensors="pt",
            ).to(execution_device(encoder))
            mask = tokens.attention_mask.bool()
            found = encoder(
                input_ids=tokens.input_ids, attention_mask=mask, output_hidden_states=True
            )
        text = found.hidden_states[-2][mask][None]
        return MaskedConditioning(text, torch.ones(text.shape[:2], dtype=torch.int64, device="cpu"))

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        counts = conditioning.mask.sum(dim=1).tolist()  # no wait for a device
        texts = [text[:count] for text, count in zip(conditioning.text, counts, strict=True)]
        times = (TRAIN_TIMES - t.expand(len(x))) / TRAIN_TIMES
        out = network(list(x[:, :, None].unbind(0)), times, texts).sample
        return -torch.stack(list(out)).squeeze(2)

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        text = torch.empty(1, tokens, config["cap_feat_dim"])
        return MaskedConditioning(text, torch.ones(1, tokens, dtype=torch.int64, device="cpu"))
