"""How networks work, whatever else the process does and is set to: one at a time, with the CPU
threads that pay, and with torch's usual defaults. The settings are the calling thread's own, and
put back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, ClassVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sagviz.models.part_locks import PartsLock

_turn = threading.Lock()


class Worker:
    """Several parts, some of which are networks, and how they work beside others.

    Attributes:
        threads: how many CPU threads it works with at most; `None` is torch's own choice.
    """

    PARTS: ClassVar[tuple[str, ...]]
    threads: int | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All parts that have weights, by name."""
        parts = {part: getattr(self, part) for part in self.PARTS}
        return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    @property
    def lock(self) -> PartsLock:
        """To be held while a network or a tokenizer works, so that several widgets, and several
        models with a part in common, can share it.
        """
        names = [part for part in self.PARTS if part.startswith("tokenizer")]
        tokenizers = [part for name in names if (part := getattr(self, name)) is not None]
        return PartsLock([*self.networks.values(), *tokenizers])

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """While open, this thread computes with the CPU threads that pay for these networks, and
        with torch's usual defaults.
        """
        with cpu_threads(self.threads), usual_defaults():
            yield

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The same with the lock: for the time that a network or a tokenizer works."""
        with self.lock, self.undisturbed():
            yield


MAKERS = (
    torch.tensor,
    torch.ones,
    torch.zeros,
    torch.full,
    torch.empty,
    torch.eye,
    torch.arange,
    torch.linspace,
)


class Float32(TorchFunctionMode):
    """New tensors in float32, where the default is float64; other threads keep theirs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        made, given = func(*args, **(kwargs or {})), kwargs or {}
        wide = func in MAKERS and "dtype" not in given and made.dtype == torch.float64
        return made.float() if wide else made


@contextmanager
def usual_defaults() -> Iterator[None]:
    """New tensors of libraries are on the CPU and in float32, as these expect."""
    with ExitStack() as stack:
        if torch.get_default_dtype() == torch.float64:
            stack.enter_context(Float32())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():  # in which CG could not differentiate
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        yield


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """At most so many CPU threads for what this thread computes; `None` leaves torch's choice."""
    if count is None or not _is_a_threads_own() or (before := torch.get_num_threads()) <= count:
        yield
        return
    _set_here(count)
    try:
        yield
    finally:
        _set_here(before)


def _set_here(count: int) -> None:
    """Set this thread's number alone. torch's own function also sets what threads begin with that
    have not computed yet; such a thread tells that number, and another puts it back.
    """
    with _turn:
        of_new_threads = _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(count)
        if of_new_threads != count:
            _in_new_thread(torch.set_num_threads, of_new_threads)


@cache
def _is_a_threads_own() -> bool:
    """Whether the number is each thread's own, as OpenMP has it; another backend sets it once."""
    return "parallel backend: OpenMP" in torch.__config__.parallel_info()


def _in_new_thread(call: Callable[..., Any], *args: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call(*args)))
    thread.start()
    thread.join()
    return found[0]
