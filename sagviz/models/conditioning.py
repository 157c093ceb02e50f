"""What a U-Net is told beside the noisy latent and its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Conditioning:
    """One row for each row of the latent, `None` for what a family is not told: a pixel model is
    told nothing at all.

    Attributes:
        text: the tokens of a prompt as the text encoder sees them, (B, tokens, width).
        pooled: the prompt as one vector, (B, width): SDXL.
        time_ids: original size, crop and target size in pixels, (B, 6): SDXL.
    """

    text: Tensor | None = None
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def expand(self, rows: int) -> Conditioning:
        """The same for that many rows of a batch, without a copy."""
        return self.each(lambda part: part.expand(rows, *part.shape[1:]))

    def each(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """With every tensor changed."""
        return Conditioning(
            *(
                None if part is None else change(part)
                for part in (self.text, self.pooled, self.time_ids)
            )
        )

    @staticmethod
    def joined(parts: Sequence[Conditioning]) -> Conditioning:
        """The rows of several, one below the other; they are of one family."""
        columns = zip(*((part.text, part.pooled, part.time_ids) for part in parts), strict=True)
        return Conditioning(
            *(torch.cat(column) if isinstance(column[0], Tensor) else None for column in columns)
        )
