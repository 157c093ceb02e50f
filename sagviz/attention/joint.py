"""Attention of a picture's tokens and a text's in one softmax, seen where it is computed.

Queries and keys of such a layer are normed, rotated and joined inside of its processor, in each
family in another way. What they all come to is torch's `scaled_dot_product_attention`, called by
diffusers' dispatch function (of Flux, Qwen-Image, Z-Image ...) or by a processor itself (of SD3). A
function mode sees that call; modes act in the thread that opened them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sagviz.attention.hooks import after, before
from sagviz.attention.projected import rows_of
from sagviz.diffusion.precision import exact
from sagviz.errors import ModelError


@dataclass(frozen=True, eq=False)
class Softmax:
    """What a layer gives to its softmax: (B, heads, tokens, d) each.

    Attributes:
        bias: added to the scores of each key, (B, 1, keys), as a mask is; `None` for none.
        scale: factor on the scores.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    bias: Tensor | None
    scale: float

    def rows(self, rows: Sequence[int]) -> Softmax:
        """The same of some rows."""
        query, key, value = (rows_of(part, rows) for part in (self.query, self.key, self.value))
        bias = None if self.bias is None else rows_of(self.bias, rows)
        return Softmax(query, key, value, bias, self.scale)

    def with_tokens(self, other: Softmax, part: slice) -> Softmax:
        """The same with a part of its tokens from another one of as many rows."""

        def put(own: Tensor, new: Tensor) -> Tensor:
            changed = own.clone()
            changed[:, :, part] = new[:, :, part]
            return changed

        pairs = ((self.query, other.query), (self.key, other.key), (self.value, other.value))
        query, key, value = (put(*pair) for pair in pairs)
        bias = None if self.bias is None or other.bias is None else put(self.bias, other.bias)
        return Softmax(query, key, value, bias, self.scale)

    def mixed(self) -> Tensor:
        """What comes out of it: (B, heads, queries, d)."""
        bias = None if self.bias is None else self.bias[:, None].to(self.query.dtype)
        return F.scaled_dot_product_attention(
            self.query, self.key, self.value, attn_mask=bias, scale=self.scale
        )


Act = Callable[[Softmax, Tensor], Tensor]


def in_turn(acts: Sequence[Act]) -> Act:
    """One after the other, each with what came out of the one before."""

    def act(call: Softmax, out: Tensor) -> Tensor:
        for each in acts:
            out = each(call, out)
        return out

    return act


class _Seen(TorchFunctionMode):
    """Lets acts see the first softmax of the layer that is at work."""

    def __init__(self, acts: Mapping[str, Act]) -> None:
        super().__init__()
        self.acts, self.layer = acts, ""

    def enter(self, layer: str) -> None:
        """A layer begins."""
        self.layer = layer

    def leave(self) -> None:
        """It ends.

        Raises:
            ModelError: its softmax was not seen.
        """
        layer, self.layer = self.layer, ""
        if layer:
            raise ModelError(
                f"the layer {layer!r} computes its attention where it cannot be seen; let torch do"
                " it: network.set_attention_backend('native'), of the pipeline's transformer"
            )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        if func is not F.scaled_dot_product_attention or not self.layer:
            return out
        act, self.layer = self.acts[self.layer], ""
        return act(_softmax(*args, **(kwargs or {})), out)


def _softmax(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Softmax:
    """torch's arguments as what they mean."""
    del dropout_p, is_causal  # none of the families has them
    if enable_gqa:  # several heads of queries share one of keys
        times = query.shape[1] // key.shape[1]
        key, value = (part.repeat_interleave(times, dim=1) for part in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return Softmax(query, key, value, _bias(attn_mask, len(query)), scale)


def _bias(mask: Tensor | None, rows: int) -> Tensor | None:
    """A mask over keys, (B, ..., keys), true or 0 where they count, as (B, 1, keys)."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, float("-inf"))
    while mask.dim() > 3:  # the same for all heads
        mask = mask[:, 0]
    return mask[..., -1:, :].expand(rows, 1, -1)


@contextmanager
def at_softmax(network: nn.Module, acts: Mapping[str, Act]) -> Iterator[None]:
    """While open, an act sees what its layer, by dotted path, gives to its softmax and what comes
    out, (B, heads, tokens, d), and says what comes out instead.

    Raises:
        ModelError: a layer computes its attention by something else than torch's function.
    """
    if not acts:
        yield
        return
    seen = _Seen(acts)
    with ExitStack() as handles:
        for path in acts:
            module = network.get_submodule(path)
            handles.callback(before(module, lambda *_, path=path: seen.enter(path)).remove)
            handles.callback(after(module, lambda *_: seen.leave()).remove)
        with seen:
            yield


def others_and_own(call: Softmax, picture: slice) -> Tensor:
    """What the picture's tokens get, (B, heads, N, d), when each attends to itself and to all that
    are not the picture's: the map among them is the identity (PAG; as diffusers' PAG processors for
    SD3 mask it).
    """

    def others(part: Tensor) -> Tensor:
        return torch.cat([part[..., : picture.start, :], part[..., picture.stop :, :]], dim=-2)

    q, k, v = (part[:, :, picture].float() for part in (call.query, call.key, call.value))
    k_text, v_text = (others(part).float() for part in (call.key, call.value))
    bias = 0.0 if call.bias is None else others(call.bias.mT).mT

    def of_head(head: int) -> Tensor:
        own = (q[:, head] * k[:, head]).sum(-1, keepdim=True)
        scores = torch.cat([own, q[:, head] @ k_text[:, head].mT], dim=-1) * call.scale
        scores[..., 1:] += bias
        weights = scores.softmax(dim=-1)
        return weights[..., :1] * v[:, head] + weights[..., 1:] @ v_text[:, head]

    with exact(q.device):
        mixed = torch.stack([of_head(head) for head in range(q.shape[1])], dim=1)
    return mixed.to(call.value.dtype)
