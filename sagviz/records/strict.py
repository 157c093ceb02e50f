"""JSON that every program reads: Python's own writes infinities bare, which others refuse."""

from __future__ import annotations

import json
import math
from typing import Any

FLOAT = "float"  # the only key of an object that stands for such a number
NAMES = ("inf", "-inf", "nan")


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """The text of a value, with -inf as {"float": "-inf"}."""
    return json.dumps(_finite(value), sort_keys=sort_keys, allow_nan=False)


def loads(text: str | bytes) -> Any:
    """The value of such a text, and of Python's own."""
    return restored(json.loads(text))


def restored(value: Any) -> Any:
    """What `json.loads` makes of such a text, with its infinities."""
    if isinstance(value, list):
        return [*map(restored, value)]
    if not isinstance(value, dict):
        return value
    if value.keys() == {FLOAT} and value[FLOAT] in NAMES:
        return float(value[FLOAT])
    return {key: restored(each) for key, each in value.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_finite, value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT: str(value)}
    return value
