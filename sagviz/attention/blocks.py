"""Where attention stands in a transformer, as its family says; a U-Net says it by its blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from sagviz.attention.compiled import plain


@dataclass(frozen=True)
class Blocks:
    """How a transformer's blocks, which all work on one grid, hold their attention.

    Args:
        lists: its attributes with the blocks, in the order in which they run.
        layers: a block's attributes that are attention of the picture's tokens on themselves.
        text: where a text's tokens stand in the same softmax: "first", "last", or "" where they do
            not.
        alone: those of its layers that have no text in them all the same.
        filled: the picture's tokens are filled up to a multiple of this, by tokens of no use.
        side: of a token in latent cells; `None` for the `patch_size` of its configuration.

    Example:
        >>> from sagviz.attention.blocks import Blocks
        >>> Blocks(layers=("attn1",)).lists
        ('transformer_blocks',)
    """

    lists: tuple[str, ...] = ("transformer_blocks",)
    layers: tuple[str, ...] = ("attn1",)
    text: str = ""
    alone: tuple[str, ...] = ()
    filled: int = 1
    side: int | None = None

    def paths(self, network: nn.Module) -> list[str]:
        """The dotted paths of all blocks."""
        sizes = {name: len(getattr(plain(network), name)) for name in self.lists}
        return [f"{name}.{place}" for name, size in sizes.items() for place in range(size)]

    def middle(self, network: nn.Module) -> str:
        """The block at half the depth, which stands for a U-Net's middle block: a choice, since a
        transformer has none.
        """
        paths = self.paths(network)
        return paths[len(paths) // 2]

    def attentions(self, network: nn.Module) -> list[str]:
        """The dotted paths of the layers."""
        candidates = [f"{block}.{name}" for block in self.paths(network) for name in self.layers]
        known = dict(plain(network).named_modules())
        return [path for path in candidates if path in known]

    def grid(self, network: Any, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) in tokens for a latent of `size` = (H, W)."""
        side = self.side or network.config.patch_size
        return size[0] // side, size[1] // side

    def has_text(self, path: str) -> bool:
        """Whether text and picture share the softmax of a layer."""
        return bool(self.text) and path.rpartition(".")[2] not in self.alone

    def split(self, tokens: int, cells: int) -> tuple[slice, slice]:
        """Of all tokens in a softmax, the picture's and the text's."""
        if self.text == "first":
            return slice(tokens - cells, tokens), slice(0, tokens - cells)
        return slice(0, cells), slice(cells + -cells % self.filled, tokens)


_known: dict[str, Blocks] = {}


def register(classes: Iterable[str], blocks: Blocks | None) -> None:
    """Say where attention stands in networks of these classes of diffusers."""
    if blocks is not None:
        _known.update(dict.fromkeys(classes, blocks))


def in_softmax(
    network: Any, size: tuple[int, int], tokens: int
) -> tuple[tuple[int, int], slice, slice]:
    """In a softmax of so many tokens that picture and text share, for a latent of `size` = (H, W):
    the picture's grid (h, w), which tokens are the picture's, and which the text's.
    """
    blocks = blocks_of(network)
    assert blocks is not None, "only transformers have such a softmax"
    grid = blocks.grid(network, size)
    return grid, *blocks.split(tokens, math.prod(grid))


def blocks_of(network: Any) -> Blocks | None:
    """Where it stands in this network; `None` for a U-Net."""
    kinds = (kind.__name__ for kind in type(plain(network)).__mro__)
    return next((_known[kind] for kind in kinds if kind in _known), None)
