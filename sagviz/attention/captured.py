"""`Captured`: what was read of the attention at one layer in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sagviz.attention.read import KINDS, Reading
from sagviz.attention.words import Word


@dataclass(frozen=True, eq=False, kw_only=True)
class Captured:
    """What was read at one layer in one step: float32, `None` where it was not wanted.

    With `per_head` each tensor has the heads as a dimension after the first.

    Attributes:
        layer: the name that the `Capture` gave it.
        mass: A_t, (B, h, w): what each cell receives from all; its mean is 1.
        row: (B, h, w): what the cell at `place` gives to each; it sums to 1.
        maps: (B, N, N): what each cell (second dimension) gives to each (third), row by row of the
            grid.
        words: (B, W, h, w): what each cell gives to each of the `names`; at each cell they sum to
            1, or to `text`.
        text: (B, h, w): the share that each cell gives to the text, where picture and text share a
            softmax.
        names: the prompt's words as the tokenizer splits it, between "[start]" and "[end]" (which
            padding is part of).
        place: (y, x) of the row's query, in cells of the latent.

    Example:
        >>> import sagviz as sv
        >>> read = sv.Capture("mid", what=("mass", "words"))
        >>> trace = sv.trace(sv.load(), "a fox", steps=2, capture=read, progress=False)
        >>> (found,) = trace[0].captured.values()
        >>> found.mass.shape, found.names
        (torch.Size([1, 8, 8]), ('[start]', 'a', 'fox', '[end]'))
    """

    layer: str
    mass: Tensor | None = None
    row: Tensor | None = None
    maps: Tensor | None = None
    words: Tensor | None = None
    text: Tensor | None = None
    names: tuple[str, ...] = ()
    place: tuple[int, int] | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What there is, by its attribute."""
        return {kind: value for kind in KINDS if (value := getattr(self, kind)) is not None}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Captured:
        """The same reading with other numbers: moved, or of fewer images."""
        changes: dict[str, Any] = dict(tensors)
        return replace(self, **changes)


def captured_of(read: Mapping[Reading, Tensor], words: Sequence[Word] = ()) -> dict[str, Captured]:
    """The readings of one step by layer, those of tokens joined to words."""
    found: dict[str, dict[str, Any]] = {}
    for reading, value in read.items():
        parts = found.setdefault(reading.layer, {})
        if reading.kind == "words":
            parts["names"] = tuple(word.name for word in words)
            value = torch.stack(
                [value[..., word.first : word.beyond, :, :].sum(-3) for word in words], dim=-3
            )
        if reading.kind == "row":
            parts["place"] = reading.place
        parts[reading.kind] = value
    return {layer: Captured(layer=layer, **parts) for layer, parts in found.items()}
