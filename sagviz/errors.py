"""One family of errors and one warning. Each message is a sentence: what was given, what is
allowed, what to try.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

LONGEST = 1500  # letters of a sentence
SHORTAGES = (  # where torch has no class for it, or an older one
    "DefaultCPUAllocator",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


_words: ContextVar[list[str] | None] = ContextVar("words", default=None)


class SagvizError(Exception):
    """Root of everything that sagviz raises on purpose.

    Example:
        >>> import sagviz as sv
        >>> try:
        ...     sv.trace(sv.load(), "a fox", steps=0)
        ... except sv.SagvizError as error:
        ...     print(error)
        steps is 0; give a whole number from 1 to 999
    """

    def __str__(self) -> str:
        """On one line, and without the middle where that is long: what was given may be an array,
        or a book.
        """
        line, half = " ".join(super().__str__().split()), LONGEST // 2
        return line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}"


class ArgumentError(SagvizError, ValueError):
    """An argument is of the wrong kind or out of range."""


class ModelError(SagvizError):
    """A model cannot be found, loaded or used."""


class TraceError(SagvizError):
    """A trace file is damaged or not a trace, or a trace lacks what was asked for."""


class ReportError(SagvizError):
    """A report could not be made or written."""


class Unfinished:
    """What an error or an interrupt leaves of the work that it stopped.

    Attributes:
        traces: the runs as far as they came, one `Trace` each; empty where nothing had begun.
        sweep: the `Sweep` that was being made, which goes on from there; `None` outside sweeps.
    """

    traces: Sequence[Any] = ()
    sweep: Any = None

    @property
    def trace(self) -> Any:
        """The first of the runs, `None` where nothing had begun."""
        return self.traces[0] if self.traces else None


class RunError(Unfinished, SagvizError, RuntimeError):
    """A run stopped at something that is no fault of its settings; the cause is chained to it."""


class WorkerError(Unfinished, SagvizError):
    """The executor of a sweep broke, was shut down, or gave up."""


class OutOfMemoryError(Unfinished, SagvizError, MemoryError):
    """The device, or the computer, has no memory left for what was asked."""


class NotFiniteError(Unfinished, SagvizError, ArithmeticError):
    """A network, the guidance or a picture came out as NaN or infinity.

    Attributes:
        step: the record of the step where it arose, `None` outside a run.
    """

    step: Any = None


class Interrupted(Unfinished, KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop button, during a run or a sweep."""


def is_shortage(error: BaseException) -> bool:
    """Whether an error of torch or of Python says that there was no memory."""
    if isinstance(error, MemoryError):
        return True
    of_torch = type(error).__name__ == "OutOfMemoryError"  # whose import takes seconds
    signs = of_torch or any(sign in str(error) for sign in SHORTAGES)
    return isinstance(error, RuntimeError) and signs


def stopped(error: BaseException, what: str) -> BaseException:
    """The error to raise for one that stopped a run or a sweep: ours stay, Ctrl-C is `Interrupted`,
    a shortage an `OutOfMemoryError`, anything else a `RunError`.
    """
    if isinstance(error, SagvizError | Unfinished):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(*error.args)
    if is_shortage(error):
        return OutOfMemoryError(
            f"{what} stopped: no memory left ({first_sentence(error)}); lower images=, size= or the"
            " number of steps that keep= keeps, or batch= of a sweep"
        )
    said = " ".join(str(error).split())
    return RunError(f"{what} stopped: {type(error).__name__}: {said}")


class SagvizWarning(UserWarning):
    """Something was ignored or cut off, and the run goes on.

    Example:
        >>> import warnings, sagviz as sv
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     trace = sv.trace(sv.load(), "a zeppelin", steps=1, progress=False)
        >>> [each.category.__name__ for each in caught]
        ['SagvizWarning']
    """


def warn(message: str) -> None:
    """Warn at the line of the user's own code that led here: the first one outside this package.
    Where this thread has them `collected`, into the list.
    """
    if (words := _words.get()) is not None:
        if message not in words:
            words.append(message)
        return
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, SagvizWarning, stacklevel=level)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Our warnings in this block and thread go into a list, each once, for a widget to show.
    Python's own `catch_warnings` would change the state of all threads, and leave it changed where
    two overlap.
    """
    words: list[str] = []
    before = _words.set(words)
    try:
        yield words
    finally:
        _words.reset(before)


def _is_ours(names: dict[str, Any]) -> bool:
    # torch's decorators, such as no_grad, stand between two functions of ours
    return str(names.get("__name__")).partition(".")[0] in (__name__.partition(".")[0], "torch")


def first_sentence(error: BaseException) -> str:
    """What a library's error says first, without its full stop, to go into a sentence of ours."""
    lines = (line.strip() for line in str(error).splitlines())
    line = next((line for line in lines if line), type(error).__name__)
    return re.split(r"[.!?]\s+(?=[A-Z])", line)[0].rstrip(".")
