"""A U-Net's self-attention layers: their names, grids and heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from sagviz.attention.compiled import plain
from sagviz.errors import ArgumentError


@dataclass(frozen=True)
class Layer:
    """A self-attention layer: its grid (h, w) at some latent size, its heads, and the
    cross-attention beside it, if any.
    """

    name: str
    grid: tuple[int, int]
    heads: int
    cross: str | None

    @property
    def tokens(self) -> int:
        """N, the cells of its grid."""
        return math.prod(self.grid)


def layers(unet: nn.Module, size: tuple[int, int]) -> dict[str, Layer]:
    """All self-attention layers by their dotted paths, in the order of the U-Net's blocks, for a
    latent of `size` = (H, W).

    Example:
        >>> import sagviz as sv
        >>> from sagviz.attention.layers import layers
        >>> [layer.grid for layer in layers(sv.load().unet, (16, 16)).values()]
        [(8, 8), (8, 8), (8, 8), (8, 8)]
    """
    grids, modules = _grids(unet, size), dict(plain(unet).named_modules())
    order = {block: place for place, block in enumerate(grids)}
    found = {
        name: ".".join(name.split(".")[: 1 if name.startswith("mid") else 2])
        for name in self_attentions(unet)
    }
    return {
        name: Layer(name, grids[block], modules[name].heads, cross_of(unet, name))
        for name, block in sorted(found.items(), key=lambda item: order[item[1]])
    }


def self_attentions(unet: nn.Module) -> list[str]:
    """The dotted paths of all self-attention layers."""
    return [name for name, module in plain(unet).named_modules() if _is_self(module)]


def path_of(unet: nn.Module, layer: str) -> str:
    """The dotted path of a layer: of "mid" the first in the middle block, which the paper reads."""
    if layer != "mid":
        return layer
    mid = getattr(unet, "mid_block", None)
    inside = () if mid is None else mid.named_modules(prefix="mid_block")
    return next((name for name, module in inside if _is_self(module)), "mid_block")


def default_layer(unet: nn.Module) -> str:
    """ "mid", or where the middle has no self-attention, the first one after it: the coarsest on
    the way up.
    """
    known = self_attentions(unet)
    if path_of(unet, "mid") in known:
        return "mid"
    return next(
        (name for name in known if name.startswith("up_blocks")), known[-1] if known else "mid"
    )


def cross_of(unet: nn.Module, layer: str) -> str | None:
    """The path of the cross-attention in the same transformer block as a self-attention, `None`
    where there is none.
    """
    path = path_of(unet, layer)
    cross = path.removesuffix("attn1") + "attn2"
    with suppress(AttributeError):
        module: Any = unet.get_submodule(cross)
        return cross if path.endswith("attn1") and module.is_cross_attention else None
    return None


def find_cross(unet: nn.Module, layer: str) -> nn.Module:
    """The cross-attention in the same transformer block as a self-attention.

    Raises:
        ArgumentError: there is none.
    """
    cross = cross_of(unet, layer)
    if cross is None:
        raise ArgumentError(
            f"no words at {layer!r}: no cross-attention stands beside it; choose another layer"
        )
    return unet.get_submodule(cross)


def find_layer(unet: nn.Module, layer: str, heads: Sequence[int] | None = None) -> Any:
    """The self-attention module of that name, "mid" or a dotted path.

    Raises:
        ArgumentError: there is none, or it has not these heads.
    """
    module: Any = None
    with suppress(AttributeError):
        module = unet.get_submodule(path_of(unet, layer))
    if not _is_self(module):
        mid = "'mid' and " if default_layer(unet) == "mid" else ""
        raise ArgumentError(
            f"no self-attention layer {layer!r}; this U-Net has {mid}"
            f"{', '.join(self_attentions(unet))}"
        )
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
    `Attention`).
    """
    return (
        all(hasattr(module, name) for name in ("to_q", "to_k", "heads"))
        and not getattr(module, "is_cross_attention", True)
        and getattr(module, "added_kv_proj_dim", None) is None
    )


def _grids(unet: Any, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """(h, w) at which each block's attention works: a block samples down, or up, only after it."""
    grids, stack = dict[str, tuple[int, int]](), [size]
    for place, block in enumerate(unet.down_blocks):
        grids[f"down_blocks.{place}"] = stack[-1]
        stack += [_halved(stack[-1])] if getattr(block, "downsamplers", None) else []
    grids["mid_block"] = stack[-1]
    for place, block in enumerate(unet.up_blocks):
        grids[f"up_blocks.{place}"] = (
            stack.pop() if getattr(block, "upsamplers", None) else stack[-1]
        )
    return grids


def _halved(grid: tuple[int, int]) -> tuple[int, int]:
    return math.ceil(grid[0] / 2), math.ceil(grid[1] / 2)
