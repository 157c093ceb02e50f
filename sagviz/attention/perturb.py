"""Self-attention disturbed for some rows of a network's call, all other rows left as they are to
the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.attention.blocks import blocks_of
from sagviz.attention.hooks import before
from sagviz.attention.joint import Act, Softmax, at_softmax, others_and_own
from sagviz.attention.layers import find_layer, grid_of, has_text, middle_block, self_attentions
from sagviz.attention.projected import inputs_of, normed, queries_and_keys, rows_of, spans
from sagviz.diffusion.precision import exact

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Perturbation:
    """What is done to the self-attention of some rows.

    Args:
        layers: "mid", or dotted paths of layers or blocks, see `layers_of`.
        blur_sigma: standard deviation of a Gaussian over the queries, in cells of the layer's grid;
            where `None` the map is made the identity instead.
    """

    layers: tuple[str, ...]
    blur_sigma: float | None = None


def layers_of(network: nn.Module, layer: str) -> list[str]:
    """The self-attention layers that a name stands for: "mid" and any other block for all in it, a
    dotted path for itself.

    Raises:
        ArgumentError: there is none.
    """
    block = middle_block(network) if layer == "mid" else layer
    found = [
        path for path in self_attentions(network) if path == block or path.startswith(f"{block}.")
    ]
    if not found:
        find_layer(network, layer)  # which says what there is
    return found


@contextmanager
def perturb(
    network: nn.Module, wanted: Mapping[Perturbation, Sequence[int]], size: tuple[int, int]
) -> Iterator[None]:
    """While open, each pass of this thread through the network mixes the values of these rows in
    another way.

    A layer runs on all rows as it always does. What it is about to project out is replaced in these
    rows alone, so that every norm, residual and processor stays the layer's own; nothing is left
    behind however the block ends. Where picture and text share a softmax, the picture's tokens
    alone are disturbed, and attend to the text as before.

    Args:
        wanted: each change, and the rows of the batch that it is made to.
        size: (H, W) of the latent.

    Raises:
        ArgumentError: a layer is not there.
    """
    shared: dict[str, list[tuple[Perturbation, list[int]]]] = {}
    with ExitStack() as handles:
        for change, rows in wanted.items():
            if change.blur_sigma == 0:  # no blur
                continue
            for path in dict.fromkeys(
                path for layer in change.layers for path in layers_of(network, layer)
            ):
                if has_text(network, path):
                    shared.setdefault(path, []).append((change, list(rows)))
                    continue
                for handle in _attach(network.get_submodule(path), change, list(rows), size):
                    handles.callback(handle.remove)
        acts = {path: _in_softmax(network, changes, size) for path, changes in shared.items()}
        handles.enter_context(at_softmax(network, acts))
        yield


def _in_softmax(
    network: nn.Module, changes: Sequence[tuple[Perturbation, list[int]]], size: tuple[int, int]
) -> Act:
    """Changes what comes out of a softmax that picture and text share, in some rows, for the
    picture's tokens alone.
    """
    blocks = blocks_of(network)
    assert blocks is not None, "only transformers have such a softmax"
    grid = blocks.grid(network, size)

    def mix(call: Softmax, out: Tensor) -> Tensor:
        picture, _ = blocks.split(call.key.shape[2], math.prod(grid))
        out = out.clone()
        for change, rows in changes:
            for part in spans(rows):
                own = call.map(itemgetter(part))
                out[part, :, picture] = (
                    others_and_own(own, picture)
                    if change.blur_sigma is None
                    else _blurred(own, picture, grid, change.blur_sigma)
                )
        return out

    return mix


def _blurred(call: Softmax, picture: slice, grid: tuple[int, int], sigma: float) -> Tensor:
    """What the picture's tokens get by blurred queries, (B, heads, N, d)."""
    blurred = blur_queries(call.query[:, :, picture], grid, sigma)
    bias = None if call.bias is None else call.bias[:, None].to(blurred.dtype)
    return F.scaled_dot_product_attention(
        blurred, call.key, call.value, attn_mask=bias, scale=call.scale
    )


def _attach(
    attn: Any, change: Perturbation, rows: list[int], size: tuple[int, int]
) -> tuple[Any, Any]:
    """Two hooks on a layer: one sees its input, the other changes what it projects out."""
    found: list[Tensor] = []

    def see(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = inputs_of(args, kwargs)
        time = None if given.get("temb") is None else rows_of(given["temb"], rows)
        found[:] = [_mixed(attn, rows_of(given["hidden_states"], rows), time, change, size)]

    def put(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mixed, changed = found.pop(), args[0].clone()
        parts = spans(rows)
        for part, own in zip(parts, mixed.split([p.stop - p.start for p in parts]), strict=True):
            changed[part] = own
        return (changed, *args[1:]), kwargs

    return before(attn, see), before(attn.to_out[0], put)


def _mixed(
    attn: Any, hidden: Tensor, time: Tensor | None, change: Perturbation, size: tuple[int, int]
) -> Tensor:
    """(B, N, channels): the values, each cell's own, or mixed by blurred queries."""
    values = attn.to_v(normed(attn, hidden, time))
    if change.blur_sigma is None:
        return values
    q, k = queries_and_keys(attn, hidden, None, time)
    v = values.unflatten(2, (attn.heads, -1)).transpose(1, 2)
    blurred = blur_queries(q, grid_of(q.shape[2], size), change.blur_sigma)
    return (
        F.scaled_dot_product_attention(blurred, k, v, scale=attn.scale).transpose(1, 2).flatten(2)
    )


def blur_queries(q: Tensor, grid: tuple[int, int], sigma: float) -> Tensor:
    """Queries (B, heads, N, d), blurred over their grid (h, w); all of them their mean where sigma
    is far above the grid.
    """
    if sigma > 4 * max(grid):  # the slowest wave that the grid holds is down to exp(-79)
        return q.float().mean(dim=2, keepdim=True).expand_as(q).to(q.dtype)
    rows, columns = (smoothing(cells, sigma, q.device) for cells in grid)
    cells = q.float().unflatten(2, grid)
    with exact(q.device):
        blurred = torch.einsum("yi,xj,bnijd->bnyxd", rows, columns, cells)
    return blurred.flatten(2, 3).to(q.dtype)


@lru_cache(maxsize=64)
def smoothing(cells: int, sigma: float, device: torch.device = CPU) -> Tensor:
    """The blur of a row of cells as a matrix (cells, cells), whose rows sum to 1.

    At the borders the row goes on as in a mirror, the last cell twice, so that the blur keeps the
    mean and tends to it.
    """
    reach = math.ceil(4 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=CPU)
    weights = torch.exp(-0.5 * (offsets.float() / sigma) ** 2)
    place = (torch.arange(cells, device=CPU)[:, None] + offsets) % (2 * cells)
    mirrored = torch.minimum(place, 2 * cells - 1 - place)
    blur = weights.new_zeros(cells, cells).scatter_add(
        1, mirrored, (weights / weights.sum()).expand(cells, -1)
    )
    return blur.to(device)
