"""A network disturbed for some rows of a call, all other rows left as they are to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from sagviz.attention.blocks import in_softmax
from sagviz.attention.hooks import before
from sagviz.attention.joint import Act, Softmax, at_softmax, in_turn, others_and_own
from sagviz.attention.layers import find_layer, grid_of, has_text, middle_block, self_attentions
from sagviz.attention.projected import inputs_of, normed, queries_and_keys, rows_of, spans
from sagviz.diffusion.precision import exact

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Perturbation:
    """What is done to a network for some rows. A subclass says it in `attach`; what is equal is
    done together.

    Args:
        layers: "mid", "all", or dotted paths of self-attention layers or blocks, see `layers_of`.
    """

    layers: tuple[str, ...]

    def paths(self, network: nn.Module) -> list[str]:
        """The self-attention layers, each once."""
        return list(
            dict.fromkeys(path for layer in self.layers for path in layers_of(network, layer))
        )

    def attach(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Iterator[RemovableHandle]:
        """Hooks that change these rows, for a latent of `size` = (H, W)."""
        raise NotImplementedError

    def in_softmax(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Mapping[str, Act]:
        """What is done to these rows in softmaxes that picture and text share, by layer."""
        del network, rows, size
        return {}


@dataclass(frozen=True)
class PerturbedMap(Perturbation):
    """Another self-attention map.

    Args:
        blur_sigma: standard deviation of a Gaussian over the queries, in cells of the layer's grid;
            where `None` the map is made the identity instead.
        heads: which heads get it; all where `None`.
    """

    blur_sigma: float | None = None
    heads: tuple[int, ...] | None = None

    def attach(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Iterator[RemovableHandle]:
        def mixed(attn: Any, given: dict[str, Any]) -> Tensor:
            time = None if given.get("temb") is None else rows_of(given["temb"], rows)
            return _mixed(attn, rows_of(given["hidden_states"], rows), time, self.blur_sigma, size)

        for path in self.changed(network):
            if not has_text(network, path):
                yield from mix_anew(network.get_submodule(path), rows, mixed, self.heads)

    def in_softmax(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Mapping[str, Act]:
        shared = [path for path in self.changed(network) if has_text(network, path)]
        return dict.fromkeys(shared, partial(self._mix, network, rows, size))

    def _mix(
        self, network: nn.Module, rows: list[int], size: tuple[int, int], call: Softmax, out: Tensor
    ) -> Tensor:
        """Replaces what comes out of such a softmax for the picture's tokens."""
        grid, picture, _ = in_softmax(network, size, call.key.shape[2])
        own, found = call.rows(rows), rows_of(out, rows).clone()
        heads = slice(None) if self.heads is None else list(self.heads)
        if self.blur_sigma is None:
            mixed = others_and_own(own, picture)
        else:
            blurred = blur_queries(own.query[:, :, picture], grid, self.blur_sigma)
            mixed = replace(own, query=blurred).mixed()
        found[:, heads, picture] = mixed[:, heads]
        return with_rows(out, rows, found)

    def changed(self, network: nn.Module) -> list[str]:
        """The layers whose map is another one: none without blur."""
        return [] if self.blur_sigma == 0 else self.paths(network)


def layers_of(network: nn.Module, layer: str) -> list[str]:
    """The self-attention layers that a name stands for: "all", "mid" and any other block for all
    in it, a dotted path for itself.

    Raises:
        ArgumentError: there is none.
    """
    if layer == "all":
        return self_attentions(network)
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
    """While open, each pass of this thread through the network treats these rows another way.

    A layer runs on all rows as it always does, and what it takes or gives is replaced in these rows
    alone, so that every norm, residual and processor stays the layer's own; nothing is left behind
    however the block ends. Where picture and text share a softmax, the picture's tokens alone are
    disturbed, and attend to the text as before.

    Args:
        wanted: each change, and the rows of the batch that it is made to.
        size: (H, W) of the latent.

    Raises:
        ArgumentError: a layer is not there.
    """
    with ExitStack() as handles:
        acts = dict[str, list[Act]]()
        for change, rows in wanted.items():
            for handle in change.attach(network, list(rows), size):
                handles.callback(handle.remove)
            for path, act in change.in_softmax(network, list(rows), size).items():
                acts.setdefault(path, []).append(act)
        handles.enter_context(at_softmax(network, {p: in_turn(each) for p, each in acts.items()}))
        yield


def mix_anew(
    attn: Any,
    rows: list[int],
    mixed: Callable[[Any, dict[str, Any]], Tensor],
    heads: Sequence[int] | None = None,
) -> Iterator[RemovableHandle]:
    """Two hooks on an attention layer: one sees its input by name, the other replaces what it is
    about to project out in these rows by `mixed(attn, input)`, (rows, N, channels), of these heads
    or of all.
    """
    found: list[Tensor] = []

    def see(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found[:] = [mixed(attn, inputs_of(attn, args, kwargs))]

    def put(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new = found.pop()
        if heads is not None:
            new = _with_heads(rows_of(args[0], rows), attn.heads, heads, new)
        return (with_rows(args[0], rows, new), *args[1:]), kwargs

    yield before(attn, see)
    yield before(attn.to_out[0], put)


def _with_heads(x: Tensor, count: int, heads: Sequence[int], new: Tensor) -> Tensor:
    """Features (rows, N, channels) of `count` heads, with those of some heads from others."""
    chosen = torch.zeros(count, 1, dtype=torch.bool, device=x.device)
    for head in heads:
        chosen[head] = True
    own, other = (part.unflatten(2, (count, -1)) for part in (x, new))
    return torch.where(chosen, other, own).flatten(2)


def with_rows(x: Tensor, rows: Sequence[int], new: Tensor) -> Tensor:
    """A batch with others in the place of these rows."""
    changed, parts = x.clone(), spans(rows)
    for part, own in zip(parts, new.split([p.stop - p.start for p in parts]), strict=True):
        changed[part] = own
    return changed


def _mixed(
    attn: Any, hidden: Tensor, time: Tensor | None, blur: float | None, size: tuple[int, int]
) -> Tensor:
    """(B, N, channels): the values, each cell's own, or mixed by blurred queries."""
    values = attn.to_v(normed(attn, hidden, time))
    if blur is None:
        return values
    q, k = queries_and_keys(attn, hidden, None, time)
    v = values.unflatten(2, (attn.heads, -1)).transpose(1, 2)
    blurred = blur_queries(q, grid_of(q.shape[2], size), blur)
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
