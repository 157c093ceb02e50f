"""Where the checks run: the device, the models that they share, and what they measure with."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu.families import build
from torch import nn

import sagviz as sv
from sagviz import CFG
from sagviz.guidance import Guidance

PROMPT = "a fox on a blue background"
MIB = 2**20


class Stage:
    """One device, real networks or toys.

    Args:
        device: "cuda" or "cpu".
        toy: whether networks, pictures and repeats are tiny.
    """

    def __init__(self, device: str, toy: bool) -> None:
        self.device, self.toy = torch.device(device), toy
        self.folder = Path(tempfile.mkdtemp(prefix="prove"))
        self._held: tuple[str, torch.dtype | None, sv.Model | None, Any] = ("", None, None, None)
        self._built = 0

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def short(self) -> torch.dtype:
        """float16 on a GPU; a CPU is too slow in it."""
        return torch.float16 if self.cuda else torch.float32

    def choose(self, real: Any, toy: Any) -> Any:
        return toy if self.toy else real

    def miniature(self, **options: Any) -> sv.Model:
        options = {"device": self.device.type, "dtype": "float32", **options}
        return sv.load("miniature", **options)

    def pipe(self, family: str, dtype: torch.dtype = torch.float32) -> Any:
        """A pipeline of random weights. The last one is held, all others are freed."""
        if self._held[0] != family:
            self.free()
            self._built += 1
            where = self.folder / f"words{self._built}"
            self._held = (family, None, None, build(family, where, self.device, self.toy))
        pipe = self._held[3]
        if self._held[1] != dtype:
            for part in pipe.components.values():
                if isinstance(part, nn.Module):
                    nn.Module.to(part, dtype)
            self._held = (family, dtype, sv.load(pipe), pipe)
        return pipe

    def model(self, family: str, dtype: torch.dtype = torch.float32) -> sv.Model:
        """A model on such a pipeline, or the miniature."""
        if family == "miniature":
            return self.miniature(dtype=dtype)
        self.pipe(family, dtype)
        assert self._held[2] is not None
        return self._held[2]

    def free(self) -> None:
        """Let go of the pipeline that is held."""
        self._held = ("", None, None, None)
        self.clean()

    def clean(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def seconds(self, action: Callable[[], Any]) -> float:
        """How long the device is busy with it, by CUDA's own events where there is CUDA."""
        if not self.cuda:
            start = time.perf_counter()
            action()
            return time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        action()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def medians(self, repeats: int, *actions: Callable[[], Any]) -> list[float]:
        """Seconds of each action, which take turns after one round that does not count."""
        return in_turn(repeats, *(partial(self.seconds, action) for action in actions))

    def allocated(self) -> int:
        return torch.cuda.memory_allocated() if self.cuda else 0

    def peak(self, action: Callable[[], Any]) -> int:
        """The most bytes that torch held on the GPU at once while it ran, all counted."""
        self.clean()
        torch.cuda.reset_peak_memory_stats()
        action()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()


def in_turn(repeats: int, *timers: Callable[[], float]) -> list[float]:
    """The median of each, of `repeats` rounds after one that does not count."""
    times = [[timer() for timer in timers] for _ in range(repeats + 1)]
    return [statistics.median(own) for own in zip(*times[1:], strict=True)]


def both(model: sv.Model) -> Guidance:
    """CFG + SAG, as it suits the family."""
    return CFG(3.0) + model.sag(1.0)


def run(model: sv.Model, **options: Any) -> list[sv.Step]:
    """The steps of a run, without a picture at its end."""
    options = {"guidance": both(model), "steps": 3, "seed": 7, **options}
    return list(sv.steps(model, PROMPT, **options))


def final(steps: Sequence[sv.Step]) -> torch.Tensor:
    last = steps[-1].x_next
    assert last is not None
    return last


@contextmanager
def heard() -> Iterator[list[str]]:
    """The warnings of a block, instead of shown."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            said += [str(each.message) for each in caught]


@contextmanager
def without_tf32() -> Iterator[None]:
    """Products in full float32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
