"""Checks of arguments, and numbers for people: what was given, what is allowed."""

from __future__ import annotations

import math

import numpy as np

from sagviz.errors import ArgumentError


def check_number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, finite: bool = True
) -> None:
    """Refuse what is not a number between `low` and `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ArgumentError(f"{name} is {value!r}; give a number")
    if not low <= value <= high or (finite and math.isinf(value)):
        span = (
            f"from {low:g} to {high:g}"
            if math.isfinite(low) or math.isfinite(high)
            else "that is finite"
        )
        raise ArgumentError(f"{name} is {value!r}; give a number {span}")


MAX_STEPS = 999


def check_steps(steps: object) -> None:
    """Refuse what is not 1..999: a schedule of 1,000 training steps has no more."""
    check_whole("steps", steps, 1, MAX_STEPS)


def check_whole(name: str, value: object, low: int, high: int) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or not low <= value <= high
    ):
        raise ArgumentError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def format_bytes(amount: float) -> str:
    """Bytes in GiB, or in MiB where that is less than a tenth."""
    return (
        f"{amount / 2**30:.2f} GiB"
        if math.ceil(amount) >= 2**30 / 10
        else f"{amount / 2**20:.2f} MiB"
    )
