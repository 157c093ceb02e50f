"""Out of memory: recognized whatever torch calls it, the memory freed, and explained in a sentence
with what to lower.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from sagviz.checks import format_bytes, format_dtype
from sagviz.errors import OutOfMemoryError, SagvizError, is_shortage
from sagviz.models.memory import weight_bytes
from sagviz.models.offload import is_offloaded
from sagviz.models.unfit import network_word


class InMemory(Protocol):
    """What the sentences need of a model."""

    NETWORK: ClassVar[str]

    @property
    def network(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def networks(self) -> Mapping[str, nn.Module]: ...
    def network_bytes(self, rows: int, latent: tuple[int, int, int]) -> int: ...


def free_memory(error: BaseException) -> None:
    """Free what the frames of an error hold, activations above all, and give the GPU's spare blocks
    back.

    A notebook keeps the last traceback, and with it each tensor of the call that failed.
    """
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextmanager
def explained(sentence: Callable[[], str]) -> Iterator[None]:
    """Turn a shortage in this block into one of ours. The sentence is made when it is needed."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SagvizError) or not is_shortage(error):
            raise
        free_memory(error)
        raise OutOfMemoryError(sentence()) from error


def too_much(model: InMemory, x: Tensor) -> str:
    """The sentence for a call of the network that found no memory."""
    rows, channels, height, width = x.shape
    there = [model.network] if is_offloaded(model.network) else model.networks.values()
    held = f"beside weights of {format_bytes(sum(map(weight_bytes, there)))}"
    # it may be of a kind that cannot be built anew; the sentence is worth more than its number
    with suppress(Exception):
        peak = format_bytes(model.network_bytes(rows, (channels, height, width)))
        held = f"which needs about {peak} {held}"
    word = network_word(model.NETWORK)
    return (
        f"no memory left on {model.device} in a {word} call of {rows} rows of {height} x {width}"
        f" latent cells in {format_dtype(model.dtype)}, {held}; {advice(model)}"
    )


def too_much_to_decode(model: InMemory, latents: Tensor) -> str:
    """The sentence for a picture that could not be decoded even in tiles."""
    height, width = latents.shape[2:]
    return (
        f"no memory left on {model.device} to decode a picture of {height} x {width} latent cells,"
        f" in tiles either; {advice(model)}, and model.decode(trace.latents) tries again"
    )


def too_much_to_encode(model: InMemory, pixels: Tensor) -> str:
    """The sentence for a picture that could not be encoded."""
    height, width = pixels.shape[2:]
    return (
        f"no memory left on {model.device} to encode a picture of {height} x {width} pixels;"
        f" {advice(model)}"
    )


def too_much_between(model: InMemory) -> str:
    """The sentence for a step that found no memory outside of the network's calls."""
    return f"no memory left beside a {network_word(model.NETWORK)} call; {advice(model)}"


def advice(model: InMemory) -> str:
    """What to lower."""
    options = ["images= or size=, or batch= of a sweep"]
    if model.dtype == torch.float32:
        options.append("load with dtype='float16'")
    if model.device.type not in ("cpu", "mps", "meta") and not is_offloaded(model.network):
        options.append("load with offload=True")
    return "lower " + ", or ".join(options)
