"""What a network is given beside the noisy latent and its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

C = TypeVar("C", bound="Conditioning")


@dataclass(frozen=True, eq=False)
class Conditioning:
    """One row for each row of the latent. A model of pixels is given nothing; a family whose
    network reads more than a text adds fields in a class of its own.

    Attributes:
        text: the tokens of a prompt as the text encoder sees them, (B, tokens, width).
        time_cond: the guidance scale that a U-Net was distilled to, (B, width), where it reads one.
    """

    text: Tensor | None = None
    time_cond: Tensor | None = field(default=None, kw_only=True)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What there is, by its attribute."""
        return {name: part for name, part in vars(self).items() if part is not None}

    def expand(self: C, rows: int) -> C:
        """The same for that many rows of a batch, without a copy."""
        parts = self.tensors.items()
        return replace(self, **{name: part.expand(rows, *part.shape[1:]) for name, part in parts})

    def to(self: C, dtype: torch.dtype) -> C:
        """The same in another number format, as the network's where the text encoder has its own;
        whole numbers, such as labels, stay so.
        """
        parts = {name: part for name, part in self.tensors.items() if part.is_floating_point()}
        return replace(self, **{name: part.to(dtype) for name, part in parts.items()})

    @staticmethod
    def joined(several: Sequence[C]) -> C:
        """The rows of several, one below the other; they are of one family. Shorter texts are
        filled up, which their masks leave out; those without masks have one length.
        """
        first = several[0]
        columns = {name: [each.tensors[name] for each in several] for name in first.tensors}
        return replace(first, **{name: torch.cat(filled(part)) for name, part in columns.items()})


def filled(parts: Sequence[Tensor]) -> list[Tensor]:
    """Texts or their masks, (B, tokens, ...), all as long as the longest, by zeros."""
    longest = max(part.shape[1] if part.dim() > 1 else 0 for part in parts)
    return [part if part.dim() == 1 else _longer(part, longest - part.shape[1]) for part in parts]


def _longer(part: Tensor, tokens: int) -> Tensor:
    if tokens == 0:
        return part
    return torch.cat([part, part.new_zeros(len(part), tokens, *part.shape[2:])], dim=1)


@dataclass(frozen=True, eq=False)
class MaskedConditioning(Conditioning):
    """A text of which some tokens do not count, for PixArt, Qwen-Image and Z-Image.

    Attributes:
        mask: which tokens of the text there are, (B, tokens), 0 or 1.
    """

    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PooledConditioning(Conditioning):
    """A text with the whole of it as one vector beside, for SDXL, SD3 and Flux.

    Attributes:
        pooled: the prompt as one vector, (B, width).
    """

    pooled: Tensor | None = None
