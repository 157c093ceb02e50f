"""The self-attention layers of a U-Net or transformer: their names, grids and heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from sagviz.attention.blocks import blocks_of
from sagviz.attention.compiled import plain
from sagviz.checks import check_kind
from sagviz.errors import ArgumentError


@dataclass(frozen=True)
class Layer:
    """A self-attention layer: its grid (h, w) at some latent size, its heads, and the layer where
    the text is attended to, if any: the cross-attention beside it, or itself where picture and text
    share a softmax.
    """

    name: str
    grid: tuple[int, int]
    heads: int
    cross: str | None

    @property
    def tokens(self) -> int:
        """N, the cells of its grid."""
        return math.prod(self.grid)


def layers(network: nn.Module, size: tuple[int, int]) -> dict[str, Layer]:
    """All self-attention layers by their dotted paths, in the order of the network's blocks, for
    a latent of `size` = (H, W).

    Example:
        >>> import sagviz as sv
        >>> from sagviz.attention.layers import layers
        >>> [layer.grid for layer in layers(sv.load().network, (16, 16)).values()]
        [(8, 8), (8, 8), (8, 8), (8, 8)]
    """
    modules, blocks = dict(plain(network).named_modules()), blocks_of(network)
    if blocks is not None:
        grid = blocks.grid(network, size)
        return {
            name: Layer(name, grid, modules[name].heads, cross_of(network, name))
            for name in blocks.attentions(network)
        }
    grids = _grids(network, size)
    order = {block: place for place, block in enumerate(grids)}
    found = {
        name: ".".join(name.split(".")[: 1 if name.startswith("mid") else 2])
        for name in self_attentions(network)
    }
    return {
        name: Layer(name, grids[block], modules[name].heads, cross_of(network, name))
        for name, block in sorted(found.items(), key=lambda item: order[item[1]])
    }


def self_attentions(network: nn.Module) -> list[str]:
    """The dotted paths of all self-attention layers."""
    if (blocks := blocks_of(network)) is not None:
        return blocks.attentions(network)
    return [name for name, module in plain(network).named_modules() if _is_self(module)]


def path_of(network: nn.Module, layer: str) -> str:
    """The dotted path of a layer: of "mid" the first in the middle block, which the paper reads."""
    check_kind("layer", layer, str, "'mid', or a layer's dotted path")
    if layer != "mid":
        return layer
    mid = middle_block(network)
    if blocks_of(network) is None:  # a U-Net takes long to be searched as a whole
        block = getattr(plain(network), mid)  # `None` in distilled ones
        parts = () if block is None else block.named_modules(prefix=mid)
        return next((name for name, module in parts if _is_self(module)), mid)
    return next((name for name in self_attentions(network) if name.startswith(f"{mid}.")), mid)


def middle_block(network: nn.Module) -> str:
    """The dotted path of the middle block: a U-Net's own, of a transformer the one at half the
    depth.
    """
    blocks = blocks_of(network)
    return "mid_block" if blocks is None else blocks.middle(network)


def default_layer(network: nn.Module) -> str:
    """ "mid", or where the middle has no self-attention, the first one after it: the coarsest on
    the way up.
    """
    known = self_attentions(network)
    if path_of(network, "mid") in known:
        return "mid"
    return next(
        (name for name in known if name.startswith("up_blocks")), known[-1] if known else "mid"
    )


def cross_of(network: nn.Module, layer: str) -> str | None:
    """The path of the cross-attention in the same transformer block as a self-attention, its own
    where picture and text share a softmax, `None` where there is neither.
    """
    path = path_of(network, layer)
    if has_text(network, path):
        return path
    cross = path.removesuffix("attn1") + "attn2"
    with suppress(AttributeError):
        module: Any = network.get_submodule(cross)
        return cross if path.endswith("attn1") and module.is_cross_attention else None
    return None


def has_text(network: nn.Module, layer: str) -> bool:
    """Whether picture and text share the softmax of a layer."""
    blocks = blocks_of(network)
    return blocks is not None and blocks.has_text(path_of(network, layer))


def check_shared(network: nn.Module, layer: str) -> None:
    """Refuse a layer whose softmax picture and text do not share."""
    if not has_text(network, layer):
        raise ArgumentError(
            f"the layer {layer!r} attends to the picture alone, so that the text has no share in"
            " it; leave 'text' out, or take a layer where they share a softmax"
        )


def find_cross(network: nn.Module, layer: str) -> nn.Module:
    """The layer where a self-attention's place attends to the text, see `cross_of`.

    Raises:
        ArgumentError: there is none.
    """
    cross = cross_of(network, layer)
    if cross is None:
        raise ArgumentError(
            f"no words at {layer!r}: it attends to no text, and no cross-attention stands beside"
            " it; choose another layer"
        )
    return network.get_submodule(cross)


def find_layer(network: nn.Module, layer: str, heads: Sequence[int] | None = None) -> Any:
    """The self-attention module of that name, "mid" or a dotted path.

    Raises:
        ArgumentError: there is none, or it has not these heads.
    """
    path, known = path_of(network, layer), self_attentions(network)
    if path not in known:
        mid = "'mid' and " if default_layer(network) == "mid" else ""
        raise ArgumentError(
            f"no self-attention layer {layer!r}; this network has {mid}{', '.join(known)}"
        )
    module: Any = network.get_submodule(path)
    if heads is not None and not set(heads) <= set(range(module.heads)):
        raise ArgumentError(
            f"heads {tuple(heads)} asked for, the layer {layer!r} has 0..{module.heads - 1}"
        )
    return module


def grid_of(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of a layer with that many tokens, from the latent's (H, W): each down-sampling halves,
    rounding up.
    """
    grid = size
    while math.prod(grid) > tokens:
        grid = _halved(grid)
    if math.prod(grid) != tokens:
        raise ArgumentError(
            f"{tokens} tokens do not come from a latent of {size[0]} x {size[1]} by halving"
        )
    return grid


def cell_of(
    place: tuple[int, int], size: tuple[int, int], grid: tuple[int, int]
) -> tuple[int, int]:
    """The cell of a layer's grid in which a cell (y, x) of the latent lies."""
    return place[0] * grid[0] // size[0], place[1] * grid[1] // size[1]


def _is_self(module: Any) -> bool:
    """Whether a module is an attention of the picture's cells on themselves alone (diffusers'
    `Attention`). A module is slow to say that it lacks an attribute, so that its parts are asked.
    """
    return (
        module._modules.keys() >= {"to_q", "to_k"}
        and hasattr(module, "heads")
        and not getattr(module, "is_cross_attention", True)
        and getattr(module, "added_kv_proj_dim", None) is None
    )


def _grids(network: Any, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """(h, w) at which each block's attention works: a block samples down, or up, only after it."""
    grids, stack = dict[str, tuple[int, int]](), [size]
    for place, block in enumerate(network.down_blocks):
        grids[f"down_blocks.{place}"] = stack[-1]
        stack += [_halved(stack[-1])] if getattr(block, "downsamplers", None) else []
    grids["mid_block"] = stack[-1]
    for place, block in enumerate(network.up_blocks):
        grids[f"up_blocks.{place}"] = (
            stack.pop() if getattr(block, "upsamplers", None) else stack[-1]
        )
    return grids


def _halved(grid: tuple[int, int]) -> tuple[int, int]:
    return math.ceil(grid[0] / 2), math.ceil(grid[1] / 2)
