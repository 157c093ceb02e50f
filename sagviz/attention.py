"""Where a U-Net's attention goes, read at any of its layers without touching its output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from sagviz.errors import ArgumentError

LAYERS = {"mid": "mid_block.attentions.0.transformer_blocks.0.attn1"}  # short names; the paper reads the middle block
PIXEL_MID = "mid_block.attentions.0"  # the same place in U-Nets on pixels (diffusers' UNet2DModel), which read no text
SCORES = 2**18  # probabilities at a time, 1 MiB: a map of N x N is never held whole
KINDS = ("mass", "row", "maps", "words")


@dataclass(frozen=True)
class Layer:
    """A self-attention layer: its grid (h, w) at some latent size, its heads, and the cross-attention beside it, if any."""

    name: str
    grid: tuple[int, int]
    heads: int
    cross: str | None

    @property
    def tokens(self) -> int:
        """N, the cells of its grid."""
        return math.prod(self.grid)


@dataclass(frozen=True)
class Reading:
    """What to read at one self-attention layer, or at the cross-attention beside it.

    Args:
        layer: "mid" or a dotted path.
        kind: "mass" is A_t, what each cell receives, (B, h, w); "row" what the cell `place` gives to each, (B, h, w);
            "maps" the whole of it, (B, queries, keys); "words" what each cell gives to each token of the text, (B, tokens, h, w).
        heads: which heads; all where `None`.
        per_head: whether to keep the heads apart, as a dimension after the first, instead of their mean.
        place: the query (y, x) of a "row", in cells of the latent.
    """

    layer: str
    kind: str = "mass"
    heads: tuple[int, ...] | None = None
    per_head: bool = False
    place: tuple[int, int] | None = None


def layers(unet: nn.Module, size: tuple[int, int]) -> dict[str, Layer]:
    """All self-attention layers by their dotted paths, in the order of the U-Net's blocks, for a latent of `size` = (H, W)."""
    grids, modules = _grids(unet, size), dict(unet.named_modules())
    order = {block: place for place, block in enumerate(grids)}
    found = {name: ".".join(name.split(".")[: 1 if name.startswith("mid") else 2]) for name in self_attentions(unet)}
    return {
        name: Layer(name, grids[block], modules[name].heads, cross_of(unet, name))
        for name, block in sorted(found.items(), key=lambda item: order[item[1]])
    }


def self_attentions(unet: nn.Module) -> list[str]:
    """The dotted paths of all self-attention layers."""
    return [name for name, module in unet.named_modules() if _is_self(module)]


def path_of(unet: nn.Module, layer: str) -> str:
    """The dotted path of a layer that may have a short name."""
    if layer != "mid":
        return layer
    mid = getattr(unet, "mid_block", None)
    blocks = getattr(mid, "attentions", None)
    return PIXEL_MID if blocks and _is_self(blocks[0]) else LAYERS["mid"]


def default_layer(unet: nn.Module) -> str:
    """ "mid", or where the middle has no self-attention, the first one after it: the coarsest on the way up."""
    known = self_attentions(unet)
    if path_of(unet, "mid") in known:
        return "mid"
    return next((name for name in known if name.startswith("up_blocks")), known[-1] if known else "mid")


def cross_of(unet: nn.Module, layer: str) -> str | None:
    """The path of the cross-attention in the same transformer block as a self-attention, `None` where there is none."""
    path = path_of(unet, layer)
    cross = path.removesuffix("attn1") + "attn2"
    with suppress(AttributeError):
        return cross if path.endswith("attn1") and cast(Any, unet.get_submodule(cross)).is_cross_attention else None
    return None


def find_layer(unet: nn.Module, layer: str, heads: Sequence[int] | None = None) -> Any:
    """The self-attention module of that name, "mid" or a dotted path; it has to have these heads."""
    module: Any = None
    with suppress(AttributeError):
        module = unet.get_submodule(path_of(unet, layer))
    if not _is_self(module):
        mid = ["'mid' and"] if default_layer(unet) == "mid" else []
        raise ArgumentError(
            f"no self-attention layer {layer!r}; this U-Net has {' '.join([*mid, ', '.join(self_attentions(unet))])}"
        )
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
    return mass_per_head(q, k, scale).mean(dim=1)


def mass_per_head(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """`column_mass` of each head, (B, heads, N), in memory that grows as N does: some queries of some heads at a time."""
    tokens = k.shape[2]
    together, queries = max(1, SCORES // tokens**2), max(1, SCORES // tokens)
    masses: list[Tensor] = []
    for some_q, some_k in zip(q.flatten(0, 1).split(together), k.flatten(0, 1).split(together), strict=True):
        keys, mass = some_k.float().mT, torch.zeros(len(some_k), tokens, device=k.device)
        for block in some_q.split(queries, dim=1):
            mass = mass + torch.softmax((scale * block.float()) @ keys, dim=-1).sum(dim=1)
        masses.append(mass)
    return torch.cat(masses).unflatten(0, q.shape[:2])


def grid_of(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of a layer with that many tokens, from the latent's (H, W): each down-sampling halves, rounding up."""
    grid = size
    while math.prod(grid) > tokens:
        grid = _halved(grid)
    if math.prod(grid) != tokens:
        raise ArgumentError(f"{tokens} tokens do not come from a latent of {size[0]} x {size[1]} by halving")
    return grid


def cell_of(place: tuple[int, int], size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """The cell of a layer's grid in which a cell (y, x) of the latent lies."""
    return place[0] * grid[0] // size[0], place[1] * grid[1] // size[1]


@contextmanager
def capture(unet: nn.Module, wanted: Mapping[Reading, Sequence[int]], size: tuple[int, int]) -> Iterator[dict[Reading, Tensor]]:
    """While open, each pass through the U-Net puts what was wanted of it into the dictionary that is given, float32.

    A hook sees a layer's input and repeats its two small projections; the layer itself runs as it always does, so the
    U-Net's output is unchanged to the bit, and nothing is left behind however the block ends.

    Args:
        wanted: each reading, and the rows of the batch that it is taken from.
        size: (H, W) of the latent.

    Raises:
        ArgumentError: a layer or a head is not there.
    """
    found: dict[Reading, Tensor] = {}

    def reader(reading: Reading, rows: Sequence[int]) -> Any:
        def read(attn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            named = {**dict(zip(("hidden_states", "encoder_hidden_states"), args, strict=False)), **kwargs}
            found[reading] = _read(attn, reading, list(rows), size, named)

        return read

    with ExitStack() as handles:
        for reading, rows in wanted.items():
            module = _module(unet, reading)
            handles.callback(module.register_forward_pre_hook(reader(reading, rows), with_kwargs=True).remove)
        yield found


def _module(unet: nn.Module, reading: Reading) -> Any:
    """The layer that a reading is taken at."""
    module = find_layer(unet, reading.layer, reading.heads)
    if reading.kind != "words":
        return module
    cross = cross_of(unet, reading.layer)
    if cross is None:
        raise ArgumentError(f"no words at {reading.layer!r}: no cross-attention stands beside it; choose another layer")
    return unet.get_submodule(cross)


def _read(attn: Any, reading: Reading, rows: list[int], size: tuple[int, int], given: dict[str, Any]) -> Tensor:
    """One reading of a layer's input: (B, ...), or (B, heads, ...) where the heads are kept apart."""
    hidden = given["hidden_states"][rows]
    text, time = (None if part is None else part[rows] for part in (given.get("encoder_hidden_states"), given.get("temb")))
    q, k = queries_and_keys(attn, hidden, text, time)
    if reading.heads is not None:
        q, k = q[:, list(reading.heads)], k[:, list(reading.heads)]
    grid = grid_of(q.shape[2], size)
    if reading.kind == "mass":
        received = mass_per_head(q, k, attn.scale).unflatten(2, grid)
        return received if reading.per_head else received.mean(dim=1)
    if reading.place is not None:
        y, x = cell_of(reading.place, size, grid)
        q = q[:, :, [y * grid[1] + x]]
    given_away = _probabilities(q, k, attn.scale, reading.per_head)
    if reading.kind == "maps":
        return given_away
    return given_away.mT.unflatten(-1, grid) if reading.kind == "words" else given_away.squeeze(-2).unflatten(-1, grid)


def normed(attn: Any, hidden: Tensor, time: Tensor | None) -> Tensor:
    """(B, N, channels): a layer's input as diffusers' attention processors project it."""
    if attn.spatial_norm is not None:
        hidden = attn.spatial_norm(hidden, time)
    if hidden.ndim == 4:
        hidden = hidden.flatten(2).mT
    return hidden if attn.group_norm is None else attn.group_norm(hidden.mT).mT


def queries_and_keys(attn: Any, hidden: Tensor, text: Tensor | None, time: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, heads, N, d) each, as diffusers' attention processors make them of a layer's input."""
    hidden = normed(attn, hidden, time)
    if text is not None and attn.norm_cross:
        text = attn.norm_encoder_hidden_states(text)
    projected = attn.to_q(hidden), attn.to_k(hidden if text is None else text)
    q, k = (part.unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in projected)
    return q if attn.norm_q is None else attn.norm_q(q), k if attn.norm_k is None else attn.norm_k(k)


def _probabilities(q: Tensor, k: Tensor, scale: float, per_head: bool) -> Tensor:
    """Softmax over keys, (B, heads, queries, keys), or the mean over heads, head by head so that one is held at a time."""
    heads = (torch.softmax((scale * q[:, head].float()) @ k[:, head].float().mT, dim=-1) for head in range(q.shape[1]))
    if per_head:
        return torch.stack(list(heads), dim=1)
    return sum(heads, start=torch.zeros((), device=q.device)) / q.shape[1]


def _is_self(module: Any) -> bool:
    """Whether a module is an attention of the picture's cells on themselves alone (diffusers' `Attention`)."""
    if not (hasattr(module, "to_q") and hasattr(module, "to_k") and hasattr(module, "heads")):
        return False
    return not getattr(module, "is_cross_attention", True) and getattr(module, "added_kv_proj_dim", None) is None


def _grids(unet: Any, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """(h, w) at which each block's attention works: a block samples down, or up, only after it."""
    grids, stack = dict[str, tuple[int, int]](), [size]
    for place, block in enumerate(unet.down_blocks):
        grids[f"down_blocks.{place}"] = stack[-1]
        stack += [_halved(stack[-1])] if getattr(block, "downsamplers", None) else []
    grids["mid_block"] = stack[-1]
    for place, block in enumerate(unet.up_blocks):
        grids[f"up_blocks.{place}"] = stack.pop() if getattr(block, "upsamplers", None) else stack[-1]
    return grids


def _halved(grid: tuple[int, int]) -> tuple[int, int]:
    return math.ceil(grid[0] / 2), math.ceil(grid[1] / 2)
