"""Code that is broken off in the middle: at its n-th operation of torch, or where it enters its
n-th function of the package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

import sagviz as sv

PACKAGE = str(Path(sv.__file__).parent)
NEVER = sys.maxsize
Break = Callable[..., AbstractContextManager["Count"]]
# What puts things back: Python itself cannot bear an interrupt there.
CLEANING = (
    "__exit__",
    "__torch_function__",
    "__del__",
    "_set_here",
    "_in_new_thread",
    "close",
    "remove",
    "<lambda>",
)


class Count:
    """How many places were passed, and whether the error came."""

    def __init__(self, place: int = NEVER, error: BaseException | None = None) -> None:
        self.place, self.error, self.passed = place, error, 0

    @property
    def came(self) -> bool:
        return self.passed >= self.place

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.place and self.error is not None:
            raise self.error


class _Operations(TorchDispatchMode):
    def __init__(self, count: Count) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.count()
        return func(*args, **(kwargs or {}))


@contextmanager
def at_operation(place: int = NEVER, error: BaseException | None = None) -> Iterator[Count]:
    """Raise at an operation of torch in this thread, whoever asks for it: networks, hooks,
    schedulers, the sampler.
    """
    count = Count(place, error)
    with _Operations(count):
        yield count


@contextmanager
def at_function(place: int = NEVER, error: BaseException | None = None) -> Iterator[Count]:
    """Raise where this thread enters a function of the package."""
    count = Count(place, error)

    def profile(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        # not where a generator goes on: its own `finally` would not run
        enters = event == "call" and frame.f_lineno == code.co_firstlineno
        if enters and code.co_filename.startswith(PACKAGE) and code.co_name not in CLEANING:
            count()

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(before)


def spread(count: int, over: int) -> list[int]:
    """So many places from the first to the last of `over`."""
    return sorted({1 + (over - 1) * i // max(1, count - 1) for i in range(count)}) if over else []
