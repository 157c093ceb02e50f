"""Settings that are written as text, on a command line or in a table of jobs, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def whole(text: str) -> int:
    """A whole number written as text, which may be written as 1e12."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
    if not number.is_integer() or abs(number) > 2**53:
        raise ValueError(f"{text} is no whole number")
    return int(number)


def scale(text: str) -> float | dict[str, Any]:
    """A scale written as text: a number, or a curve such as "cosine 1 7", as files have it."""
    shape, *values = text.split() or [""]
    if not values:
        return float(shape)
    return {"shape": shape, "values": [float(value) for value in values]}


KINDS: dict[str, Callable[[str], object]] = {
    "int": whole,
    "float": float,
    "str": str,
    "float | None": float,
    "float | Schedule | dict[str, Any]": scale,
}
