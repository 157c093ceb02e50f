"""What a model's networks need of memory, for the estimate before a run and for the sentence when it was too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sagviz.footprint import readable, weight_bytes
from sagviz.models.places import is_offloaded

if TYPE_CHECKING:
    from sagviz.models.model import Model


def short(dtype: torch.dtype) -> str:
    """The name of a number format, as `load` takes it."""
    return str(dtype).removeprefix("torch.")


def unet_bytes(model: Model, rows: int, latent: tuple[int, int, int]) -> int:
    """Bytes at the peak of a U-Net call, beside the weights."""
    tokens = getattr(model.tokenizer, "model_max_length", 0)
    return model.footprint.unet(model.unet, model.dtype, rows=rows, latent=latent, tokens=tokens)


def too_much(model: Model, x: Tensor) -> str:
    """The sentence for a U-Net call that found no memory."""
    rows, channels, height, width = x.shape
    held = sum(map(weight_bytes, model.networks.values() if not is_offloaded(model.unet) else [model.unet]))
    try:
        need = f", which needs about {readable(unet_bytes(model, rows, (channels, height, width)))} beside weights of "
    except Exception:  # a network of a kind that cannot be built anew; the sentence is worth more than its number
        need = ", beside weights of "
    return (
        f"no memory left on {model.device} in a U-Net call of {rows} rows of {height} x {width} latent cells in "
        f"{short(model.dtype)}{need}{readable(held)}; {advice(model)}"
    )


def too_much_to_decode(model: Model, latents: Tensor) -> str:
    """The sentence for a picture that could not be decoded even in tiles."""
    height, width = latents.shape[2:]
    return (
        f"no memory left on {model.device} to decode a picture of {height} x {width} latent cells, in tiles either; "
        f"{advice(model)}, and model.decode(trace.latents) tries again"
    )


def advice(model: Model) -> str:
    """What to lower."""
    options = ["images= or size=, or batch= of a sweep"]
    if model.dtype == torch.float32:
        options.append("load with dtype='float16'")
    if model.device.type not in ("cpu", "mps", "meta") and not is_offloaded(model.unet):
        options.append("load with offload=True")
    return "lower " + ", or ".join(options)
