"""Queries and keys of an attention layer of diffusers, made once more of what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sagviz.errors import ModelError

KNOWN = frozenset(  # diffusers' processors that compute softmax(QK^T) V of a layer's projections
    (
        *("AttnProcessor", "AttnProcessor2_0", "FusedAttnProcessor2_0", "SlicedAttnProcessor"),
        *("XFormersAttnProcessor", "AttnProcessorNPU", "XLAFlashAttnProcessor2_0"),
        "JointAttnProcessor2_0",  # of the picture alone, in the dual blocks of SD 3.5
    )
)


def rows_of(x: Tensor, rows: Sequence[int]) -> Tensor:
    """These rows of a batch, taken by slices: a list of them would be copied to the device, which
    waits.
    """
    parts = [x[part] for part in spans(rows)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def spans(rows: Sequence[int]) -> list[slice]:
    """Rows as slices, in their order."""
    starts = [at for at in range(len(rows)) if at == 0 or rows[at] != rows[at - 1] + 1]
    return [
        slice(rows[start], rows[end - 1] + 1)
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)
    ]


def inputs_of(attn: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What an attention layer of diffusers was called with, by name.

    Raises:
        ModelError: what it does with that is its processor's own affair.
    """
    kind = type(attn.processor)
    if kind.__name__ not in KNOWN or not kind.__module__.startswith("diffusers."):
        raise ModelError(
            f"an attention layer has the processor {kind.__name__}, which may attend in a way of"
            " its own, so that its attention can be neither read nor changed; set one of"
            " diffusers': network.set_attn_processor(AttnProcessor2_0())"
        )
    return {**dict(zip(("hidden_states", "encoder_hidden_states"), args, strict=False)), **kwargs}


def normed(attn: Any, hidden: Tensor, time: Tensor | None) -> Tensor:
    """(B, N, channels): a layer's input as diffusers' attention processors project it."""
    if attn.spatial_norm is not None:
        hidden = attn.spatial_norm(hidden, time)
    if hidden.ndim == 4:
        hidden = hidden.flatten(2).mT
    return hidden if attn.group_norm is None else attn.group_norm(hidden.mT).mT


def queries_and_keys(
    attn: Any, hidden: Tensor, text: Tensor | None, time: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(B, heads, N, d) each, as diffusers' attention processors make them of a layer's input."""
    hidden = normed(attn, hidden, time)
    if text is not None and attn.norm_cross:
        text = attn.norm_encoder_hidden_states(text)
    projected = attn.to_q(hidden), attn.to_k(hidden if text is None else text)
    q, k = (part.unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in projected)
    return q if attn.norm_q is None else attn.norm_q(q), (
        k if attn.norm_k is None else attn.norm_k(k)
    )
