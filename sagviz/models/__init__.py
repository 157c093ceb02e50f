"""The one door to third-party models: `load` finds a Stable Diffusion, and `Model` is all that the rest of sagviz sees of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from sagviz.errors import ArgumentError, ModelError, SagvizWarning
from sagviz.mini import WEIGHTS
from sagviz.models.model import Model as Model
from sagviz.models.reading import PARTS, first_sentence, read_parts
from sagviz.models.schedulers import SCHEDULERS as SCHEDULERS
from sagviz.models.schedulers import make_scheduler as make_scheduler


def load(
    source: object = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    offload: bool = False,
) -> Model:
    """Open a model.

    Args:
        source: `None` for the bundled miniature (offline, no download), a folder in diffusers' format, a name on the
            Hugging Face hub such as "stable-diffusion-v1-5/stable-diffusion-v1-5", or a diffusers pipeline in memory,
            which is used as it is.
        device: "cpu", "cuda" ...; by default a GPU where there is one, and the CPU for the miniature. "meta" reads no weights:
            such a model cannot run, but `estimate` says what memory it would need.
        dtype: "float32", "float16", "bfloat16"; by default float16 on CUDA and float32 elsewhere.
        offload: for a small GPU: the networks wait on the CPU, and one at a time visits the GPU while it works.

    Raises:
        ModelError: there is no such model, or it is of a kind without a self-attention U-Net.
    """
    if source is not None and not isinstance(source, str | Path):
        return _from_pipeline(source, device, dtype, offload)
    place = _device(device or ("cpu" if source is None else _best_device()))
    kind = _dtype(dtype) if dtype else torch.float16 if place.type == "cuda" else torch.float32
    folder = str(WEIGHTS if source is None else source)
    parts = read_parts(folder, kind, weights=place.type != "meta")
    _refuse_other_families(parts["unet"].config, folder)
    if offload and place.type in ("cpu", "mps", "meta"):  # MPS shares the computer's memory
        warnings.warn(f"offload=True does nothing on {place.type}; it saves the memory of a GPU", SagvizWarning, stacklevel=2)
        offload = False
    networks = ("unet", "vae", "text_encoder")
    for name in networks:
        parts[name] = parts[name].to("cpu" if offload else place).eval().requires_grad_(False)
    if offload:
        from sagviz.models.visits import visit_in_turn

        visit_in_turn([parts[name] for name in networks], place)
    return Model("miniature" if source is None else str(source), **parts)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # no such kind, none of that number, torch built without it
        reason = first_sentence(error)
        raise ArgumentError(
            f"device is {device!r}, which torch cannot use here ({reason}); give 'cpu' or leave it out"
        ) from error


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if found not in (torch.float32, torch.float16, torch.bfloat16):
        raise ArgumentError(f"dtype is {dtype!r}; give 'float32', 'float16' or 'bfloat16'")
    return found


def _from_pipeline(pipe: Any, device: object, dtype: object, offload: bool) -> Model:
    missing = [part for part in PARTS if getattr(pipe, part, None) is None]
    if missing:
        raise ModelError(
            f"{type(pipe).__name__} has no {', '.join(missing)}; give a Stable Diffusion 1.x / 2.x pipeline, folder or hub name"
        )
    if device is not None or dtype is not None:
        raise ArgumentError("a pipeline is used as it is; move it with pipe.to(device, dtype) instead of device= and dtype=")
    if offload:
        raise ArgumentError("a pipeline is used as it is; call pipe.enable_model_cpu_offload() instead of offload=True")
    _refuse_other_families(pipe.unet.config, type(pipe).__name__)
    return Model(type(pipe).__name__, **{part: getattr(pipe, part) for part in PARTS})


def _refuse_other_families(config: Any, name: str) -> None:
    if config.get("addition_embed_type") == "text_time":
        raise ModelError(f"{name} is of the SDXL kind, which sagviz does not run yet; use a Stable Diffusion 1.x or 2.x")
