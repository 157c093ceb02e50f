"""Settings that are written as text, on a command line or in a table of jobs, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sagviz.checks.texts import whole


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
