"""How much attention each place of the latent receives, read off a U-Net's own self-attention without touching its output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import torch
from torch import Tensor, nn

from sagviz.errors import ArgumentError

LAYERS = {"mid": "mid_block.attentions.0.transformer_blocks.0.attn1"}  # short names; the paper reads the middle block
QUERY_BLOCK = 128  # queries at a time: a map of N x N is never held whole


def find_layer(unet: nn.Module, layer: str, heads: Sequence[int] | None = None) -> Any:
    """The self-attention module of that name, "mid" or a dotted path that ends in `attn1`; it has to have these heads."""
    path, module = LAYERS.get(layer, layer), None
    with suppress(AttributeError):
        module = cast(Any, unet.get_submodule(path))
    if module is None or not path.endswith("attn1"):
        known = [name for name, _ in unet.named_modules() if name.endswith("attn1")]
        raise ArgumentError(f"no self-attention layer {layer!r}; this U-Net has 'mid' and {', '.join(known) or 'none'}")
    if heads is not None and not set(heads) <= set(range(module.heads)):
        raise ArgumentError(f"heads {tuple(heads)} asked for, the layer {layer!r} has 0..{module.heads - 1}")
    return module


def column_mass(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Attention received by each key, (B, N): softmax over keys, mean over heads, sum over queries; its mean is exactly 1.

    Args:
        q: queries (B, heads, N, d), any dtype; the softmax is taken in float32.
        k: keys (B, heads, N, d).
        scale: factor on the dot products, usually 1 / sqrt(d).
    """
    q, k = q.float(), k.float()
    mass = torch.zeros(k.shape[0], k.shape[2], device=k.device)
    for block in q.split(QUERY_BLOCK, dim=2):
        probabilities = torch.softmax(block @ k.transpose(2, 3) * scale, dim=-1)
        mass = mass + probabilities.mean(dim=1).sum(dim=1)
    return mass


def grid_of(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of a layer with that many tokens, from the latent's (H, W): each down-sampling halves, rounding up."""
    h, w = size
    while h * w > tokens:
        h, w = math.ceil(h / 2), math.ceil(w / 2)
    if h * w != tokens:
        raise ArgumentError(f"{tokens} tokens do not come from a latent of {size[0]} x {size[1]} by halving")
    return h, w


@contextmanager
def capture(
    unet: nn.Module, layer: str, rows: int, size: tuple[int, int], heads: Sequence[int] | None = None
) -> Iterator[list[Tensor]]:
    """While open, each pass through `layer` appends its attention map A_t, (rows, h, w), to the list that is given.

    A hook sees the layer's input and repeats its two small projections; the layer itself runs as it always does, so the
    U-Net's output is unchanged to the bit, and nothing is left behind however the block ends.

    Args:
        rows: how many leading rows of the batch to read (the unconditional ones come first).
        size: (H, W) of the latent.
        heads: which heads to average; all where `None`.
    """
    module = find_layer(unet, layer, heads)
    maps: list[Tensor] = []

    def read(attn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = (args[0] if args else kwargs["hidden_states"])[:rows]
        q, k = (part.unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in (attn.to_q(hidden), attn.to_k(hidden)))
        if heads is not None:
            q, k = q[:, list(heads)], k[:, list(heads)]
        maps.append(column_mass(q, k, attn.scale).unflatten(1, grid_of(hidden.shape[1], size)))

    handle = module.register_forward_pre_hook(read, with_kwargs=True)
    try:
        yield maps
    finally:
        handle.remove()
