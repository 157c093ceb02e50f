"""Where a network's attention goes, read at any of its layers without touching its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sagviz.attention.blocks import in_softmax
from sagviz.attention.hooks import before
from sagviz.attention.joint import Act, Softmax, at_softmax
from sagviz.attention.layers import (
    cell_of,
    check_shared,
    find_cross,
    find_layer,
    grid_of,
    has_text,
    path_of,
)
from sagviz.attention.projected import inputs_of, queries_and_keys, rows_of
from sagviz.diffusion.precision import exact

# probabilities at a time: a map of N x N is never held whole. A CPU is fast where they fit its
# cache, a GPU where few kernels are launched.
SCORES, GPU_SCORES = 2**18, 2**24  # 1 MiB, 64 MiB
KINDS = ("mass", "row", "maps", "words", "text")
OF_TEXT = ("words", "text")  # what is read of the branch with the prompt


@dataclass(frozen=True)
class Reading:
    """What to read at one self-attention layer, or at the cross-attention beside it.

    Args:
        layer: "mid" or a dotted path.
        kind: "mass" is A_t, what each cell receives, (B, h, w); "row" what the cell `place` gives
            to each, (B, h, w); "maps" the whole of it, (B, queries, keys); "words" what each cell
            gives to each token of the text, (B, tokens, h, w), and "text" what it gives to all of
            it where picture and text share a softmax, (B, h, w). There the first three are of the
            softmax over the picture's tokens alone, and what a cell gives to words sums to its
            "text".
        heads: which heads; all where `None`.
        per_head: whether to keep the heads apart, as a dimension after the first, instead of their
            mean.
        place: the query (y, x) of a "row", in cells of the latent.
    """

    layer: str
    kind: str = "mass"
    heads: tuple[int, ...] | None = None
    per_head: bool = False
    place: tuple[int, int] | None = None


def column_mass(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Attention received by each key, (B, N): softmax over keys, mean over heads, sum over queries;
    its mean is exactly 1.

    Args:
        q: queries (B, heads, N, d), any dtype; the softmax is taken in float32.
        k: keys (B, heads, N, d).
        scale: factor on the dot products, usually 1 / sqrt(d).
    """
    return mass_per_head(q, k, scale).mean(dim=1)


def mass_per_head(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """`column_mass` of each head, (B, heads, N), in memory that grows as N does: some queries of
    some heads at a time.
    """
    tokens = k.shape[2]
    scores = _at_once(k)
    together, queries = max(1, scores // tokens**2), max(1, scores // tokens)
    masses: list[Tensor] = []
    for some_q, some_k in zip(
        q.flatten(0, 1).split(together), k.flatten(0, 1).split(together), strict=True
    ):
        keys = some_k.float().mT
        mass = keys.new_zeros(len(some_k), tokens)
        for block in some_q.split(queries, dim=1):
            mass = mass + _softmax(block, keys, scale).sum(dim=1)
        masses.append(mass)
    return torch.cat(masses).unflatten(0, q.shape[:2])


@contextmanager
def capture(
    network: nn.Module, wanted: Mapping[Reading, Sequence[int]], size: tuple[int, int]
) -> Iterator[dict[Reading, Tensor]]:
    """While open, each pass of this thread through the network puts what was wanted of it into the
    dictionary that is given, float32.

    A hook sees a layer's input and repeats its two small projections; the layer itself runs as it
    always does, so the network's output is unchanged to the bit, and nothing is left behind however
    the block ends.

    Args:
        wanted: each reading, and the rows of the batch that it is taken from.
        size: (H, W) of the latent.

    Raises:
        ArgumentError: a layer or a head is not there.
    """
    found: dict[Reading, Tensor] = {}

    def reader(reading: Reading, rows: Sequence[int]) -> Any:
        def read(attn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[reading] = _read(attn, reading, list(rows), size, inputs_of(attn, args, kwargs))

        return read

    shared: dict[str, dict[Reading, Sequence[int]]] = {}
    with ExitStack() as handles:
        for reading, rows in wanted.items():
            module = _module(network, reading)
            if has_text(network, reading.layer):
                shared.setdefault(path_of(network, reading.layer), {})[reading] = rows
            else:
                handles.callback(before(module, reader(reading, rows)).remove)
        acts = {path: _joint_reader(network, part, size, found) for path, part in shared.items()}
        handles.enter_context(at_softmax(network, acts))
        yield found


def _joint_reader(
    network: nn.Module,
    wanted: Mapping[Reading, Sequence[int]],
    size: tuple[int, int],
    found: dict[Reading, Tensor],
) -> Act:
    """Reads a softmax that picture and text share, and leaves it as it is."""

    def read(call: Softmax, out: Tensor) -> Tensor:
        grid, picture, text = in_softmax(network, size, call.key.shape[2])
        for reading, rows in wanted.items():
            own = call.rows(rows)
            q, k, place = own.query[:, :, picture], own.key, (own.scale, grid, size)
            if reading.kind not in OF_TEXT:
                found[reading] = summed_up(reading, q, k[:, :, picture], *place)
                continue
            given = summed_up(reading, q, k, *place, bias=own.bias, keep=text)
            found[reading] = given if reading.kind == "words" else given.sum(dim=-3)
        return out

    return read


def _module(network: nn.Module, reading: Reading) -> nn.Module:
    """The layer that a reading is taken at."""
    module: nn.Module = find_layer(network, reading.layer, reading.heads)
    if reading.kind == "text":
        check_shared(network, reading.layer)
    return find_cross(network, reading.layer) if reading.kind == "words" else module


def _read(
    attn: Any, reading: Reading, rows: list[int], size: tuple[int, int], given: dict[str, Any]
) -> Tensor:
    """One reading of a layer's input: (B, ...), or (B, heads, ...) with the heads kept apart."""
    hidden = rows_of(given["hidden_states"], rows)
    text, time = (
        None if part is None else rows_of(part, rows)
        for part in (given.get("encoder_hidden_states"), given.get("temb"))
    )
    bias = given.get("attention_mask")
    q, k = queries_and_keys(attn, hidden, text, time)
    return summed_up(
        reading,
        *(q, k, attn.scale, grid_of(q.shape[2], size), size),
        bias=None if bias is None else rows_of(bias, rows),
    )


def summed_up(
    reading: Reading,
    q: Tensor,
    k: Tensor,
    scale: float,
    grid: tuple[int, int],
    size: tuple[int, int],
    *,
    bias: Tensor | None = None,
    keep: slice = slice(None),
) -> Tensor:
    """What a reading takes of the softmax of queries and keys, (B, heads, N, d) each.

    Args:
        grid: (h, w) of the queries; `size` that of the latent.
        bias: added to the scores of each key, (B, 1, keys), as a mask is.
        keep: of which keys, for all but "mass".
    """
    if reading.heads is not None:
        q, k = (torch.stack([part[:, head] for head in reading.heads], dim=1) for part in (q, k))
    if reading.kind == "mass":
        received = mass_per_head(q, k, scale).unflatten(2, grid)
        return received if reading.per_head else received.mean(dim=1)
    if reading.place is not None:
        y, x = cell_of(reading.place, size, grid)
        q = q[:, :, y * grid[1] + x, None]
    given_away = _probabilities(q, k, scale, reading.per_head, bias, keep)
    if reading.kind == "maps":
        return given_away
    if reading.kind == "row":
        return given_away.squeeze(-2).unflatten(-1, grid)
    return given_away.mT.unflatten(-1, grid)


def _probabilities(
    q: Tensor, k: Tensor, scale: float, per_head: bool, bias: Tensor | None, keep: slice
) -> Tensor:
    """Softmax over keys, (B, heads, queries, kept keys), or the mean over heads: some queries of a
    head at a time, so that beside the result little is held.
    """
    heads, tokens = q.shape[1], k.shape[2]
    queries, kept = max(1, _at_once(k) // tokens), len(range(tokens)[keep])
    places = heads if per_head else 1
    found = k.new_zeros(len(q), places, q.shape[2], kept, dtype=torch.float32)
    for head in range(heads):
        keys, into = k[:, head].float().mT, found[:, head % places]
        for some, part in zip(q[:, head].split(queries, 1), into.split(queries, 1), strict=True):
            part.add_(_softmax(some, keys, scale, bias)[..., keep])
    return found if per_head else found.squeeze(1).div_(heads)


def _at_once(k: Tensor) -> int:
    """How many probabilities are held at a time."""
    return SCORES if k.device.type == "cpu" else GPU_SCORES


def _softmax(q: Tensor, keys: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Probabilities (..., queries, keys) in float32, of keys (..., d, keys) that are so already."""
    with exact(q.device):
        scores = (scale * q.float()) @ keys
    return torch.softmax(scores if bias is None else scores + bias, dim=-1)
