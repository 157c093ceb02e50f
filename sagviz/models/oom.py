"""Out of memory: recognized whatever torch calls it, let go of, and said in a sentence."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sagviz.errors import OutOfMemoryError, SagvizError

SIGNS = (  # where torch has no class for it, or an older one
    "DefaultCPUAllocator",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def is_shortage(error: BaseException) -> bool:
    """Whether an error of torch or of Python says that there was no memory."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def let_go(error: BaseException) -> None:
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
        let_go(error)
        raise OutOfMemoryError(sentence()) from error
