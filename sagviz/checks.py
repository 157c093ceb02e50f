"""Checks of arguments, and numbers for people: what was given, what is allowed."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

import numpy as np

from sagviz.errors import ArgumentError

MAX_STEPS = 999  # a schedule of 1,000 training steps has no more
MAX_SEED = 2**63 - 4097  # torch takes 63 bits, and image i of up to 4096 has seed + i

P = ParamSpec("P")
R = TypeVar("R")


def check_number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, finite: bool = True
) -> None:
    """Refuse what is not a number between `low` and `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ArgumentError(f"{name} is {value!r}; give a number")
    if not low <= value <= high or (finite and math.isinf(value)):
        bounded = math.isfinite(low) or math.isfinite(high)
        span = f"from {low:g} to {high:g}" if bounded else "that is finite"
        raise ArgumentError(f"{name} is {value!r}; give a number {span}")


def check_steps(steps: object) -> None:
    """Refuse what is not a number of steps, 1..999."""
    check_whole("steps", steps, 1, MAX_STEPS)


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is not a whole number from `low` to `high`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or not low <= value <= high
    ):
        raise ArgumentError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def check_size(size: object, unit: int, example: tuple[int, int]) -> None:
    """Refuse what is not (height, width) in pixels, both multiples of `unit`."""
    if not (
        isinstance(size, Sequence)
        and len(size) == 2
        and all(isinstance(side, int) and side >= unit and side % unit == 0 for side in size)
    ):
        raise ArgumentError(
            f"size is {size!r}; give (height, width) in pixels, multiples of {unit}, e.g. {example}"
        )


def format_bytes(amount: float) -> str:
    """Bytes in GiB, or in MiB where that is less than a tenth."""
    if math.ceil(amount) >= 2**30 / 10:
        return f"{amount / 2**30:.2f} GiB"
    return f"{amount / 2**20:.2f} MiB"


def format_dtype(dtype: object) -> str:
    """The name of a number format of torch, as `load` takes it: "float16"."""
    return str(dtype).removeprefix("torch.")


def names_arguments(**hints: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: a keyword that the function does not have is refused with a sentence.

    Args:
        hints: for names that people bring along, what to do instead.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = [*inspect.signature(function).parameters]

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in known:
                    near = get_close_matches(name, known, 1)
                    hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
                    raise ArgumentError(
                        f"{function.__name__} has no argument {name!r}; {hints.get(name, hint)}"
                    )
            return function(*args, **kwargs)

        return checked

    return decorate
