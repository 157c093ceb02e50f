"""How much memory a network's call takes, found without its weights: its own code on torch's meta
device, storages counted.

Meta tensors have shapes and no numbers, so that a U-Net of SDXL's size is followed in seconds, in
no memory. What is counted is what torch's allocator is asked for. Attention counts as its fused
kernels do it, without the N x N map; PyTorch takes one of them for every layer of Stable Diffusion
on CUDA and on the CPU. Not counted: CUDA's own context (some 0.4 GiB), the workspaces of cuDNN,
which matter where a picture is decoded (`WORKSPACES`), and gaps between allocations.
"""

from __future__ import annotations

import copy
import inspect
import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sagviz.attention.compiled import plain
from sagviz.models.conditioning import Conditioning

TILE = 64  # side of a decoder's tile, in latent cells
WORKSPACES = 1.55  # a decoder's peak with the workspaces of cuDNN, over that without (docs/gpu.md)


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors made while it is open. `now` live at this moment, `peak`
    lived at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        for tensor in _tensors((args, kwargs)):
            self._see(tensor, 0)  # what was there before is nobody's cost here
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._see(tensor, tensor.untyped_storage().nbytes())
        return out

    def _see(self, tensor: Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        self._seen[key] = weakref.ref(storage, lambda _: self._gone(key, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int) -> None:
        del self._seen[key]
        self.now -= size


class Fused(TorchFunctionMode):
    """Attention as its fused kernels take memory: the output, (B, N, heads, d), and one number for
    each query and head.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, _, value = (
            *args,
            *(kwargs[name] for name in ("query", "key", "value") if name in (kwargs or {})),
        )[:3]
        rows, heads, queries, _ = query.shape
        sums = query.new_empty(rows, heads, queries, dtype=torch.float32)
        out = query.new_empty(rows, queries, heads, value.shape[-1]).transpose(1, 2)
        del sums
        return out


def peak(call: Callable[[], object]) -> int:
    """The most bytes that a call holds at once, beyond what was there before it."""
    with torch.no_grad(), Fused(), Live() as live:
        call()
    return live.peak


def weight_bytes(network: nn.Module) -> int:
    """Bytes of a network's parameters and buffers."""
    return sum(
        part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers())
    )


class Family(Protocol):
    """How a family calls its network, and with what: see `Model`, which has the same."""

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor: ...
    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning: ...


class Footprint:
    """Peaks of a model's networks, each found once. It keeps numbers only, no networks."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def network(
        self,
        family: Family,
        network: Any,
        dtype: torch.dtype,
        *,
        rows: int,
        latent: tuple[int, int, int],
        tokens: int,
    ) -> int:
        """Bytes at the peak of a call of the network that predicts, beside the weights.

        Args:
            family: how it is called.
            network: diffusers' own, of which only the class and the configuration are used.
            dtype: its number format.
            rows: rows of the batch.
            latent: (C, H, W) in cells.
            tokens: length of the text, if it reads one.
        """

        def call() -> Any:
            like, x = _on_meta(network, dtype), torch.empty(rows, *latent, device="meta")
            t = torch.empty(rows, dtype=torch.int64, device="meta")
            with torch.device("meta"):
                given = family.blank(network.config, tokens).expand(rows)
            given = given.to(dtype)
            given = replace(given, **{name: part.clone() for name, part in given.tensors.items()})
            return lambda: family.call_network(like, x.to(dtype), t, given).float()

        return self._once(network, (dtype, rows, latent, tokens), call)

    def decoder(
        self, vae: Any, dtype: torch.dtype, *, latent: tuple[int, ...], tiled: bool = False
    ) -> int:
        """Bytes at the peak of decoding one picture, beside the weights; `tiled` in tiles of 64
        cells.
        """

        def call() -> Any:
            like, z = _on_meta(vae, dtype), torch.empty(1, *latent, device="meta")
            if tiled and has_tiles(like):
                like = in_tiles(like)
                # in place, line by line: hardly any memory, and most of the time
                like.blend_v = like.blend_h = lambda _, tile, __: tile
            return lambda: like.decode(z.to(dtype)).sample.float()

        return self._once(vae, (dtype, latent, tiled), call)

    def _once(self, network: Any, shape: tuple[object, ...], prepare: Callable[[], Any]) -> int:
        key = json.dumps(
            [type(network).__name__, dict(network.config), shape], sort_keys=True, default=str
        )
        if key not in self._found:
            self._found[key] = peak(prepare())
        return self._found[key]


def has_tiles(vae: Any) -> bool:
    """Whether a VAE can decode in tiles. diffusers' tiny one takes all its kind for eightfold."""
    if not hasattr(vae, "tile_latent_min_size"):
        return False
    pixels = pixels_per_cell(vae)
    return bool(getattr(vae, "spatial_scale_factor", pixels) == pixels)


def in_tiles(vae: Any) -> Any:
    """The VAE, which stays as it is for all others, as one that decodes in tiles of 64 cells, or of
    its own where they are smaller.
    """
    tiled = copy.copy(plain(vae))  # the same weights and layers
    cells = min(TILE, vae.tile_latent_min_size)
    tiled.tile_sample_min_size = cells * pixels_per_cell(vae)
    tiled.tile_latent_min_size, tiled.use_tiling = cells, True
    return tiled


def pixels_per_cell(vae: Any) -> int:
    """Side of the square of pixels that a VAE makes of a latent cell."""
    side: int = 2 ** (len(vae.config.block_out_channels) - 1)
    return side


def _on_meta(network: Any, dtype: torch.dtype) -> Any:
    """The like of a network without weights."""
    kind, known = type(plain(network)), inspect.signature(type(plain(network))).parameters
    # autoencoders note more than their classes take, of which diffusers would warn
    config = {k: v for k, v in network.config.items() if k in known or k.startswith("_")}
    with torch.device("meta"):
        return nn.Module.to(kind.from_config(config), dtype).eval()


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
