"""Kinds of traits that refuse with a sentence: what was given, what is allowed."""

from __future__ import annotations

from typing import Any

import traitlets

from sagviz.checks import check_number, check_whole, shown
from sagviz.errors import ArgumentError


class Amount(traitlets.Float):
    """A number from `min` to `max`, kept as it was given."""

    def validate(self, _obj: Any, value: Any) -> float:
        return float(check_number(str(self.name), value, self.min, self.max))


class Text(traitlets.Unicode):
    """A text."""

    def validate(self, _obj: Any, value: Any) -> str:
        if not isinstance(value, str):
            raise ArgumentError(f"{self.name} is {shown(value)}; give a text")
        return value


class Whole(traitlets.Int):
    """A whole number from `min` to `max`."""

    def validate(self, _obj: Any, value: Any) -> int:
        return check_whole(str(self.name), value, self.min, self.max)


class Choice(traitlets.Enum):
    """One of a few values."""

    def validate(self, _obj: Any, value: Any) -> Any:
        allowed = self.values or ()
        if value not in allowed:
            raise ArgumentError(
                f"{self.name} is {value!r}; give one of {', '.join(map(repr, allowed))}"
            )
        return value


def check_place(name: str, place: Any, shape: tuple[int, int]) -> None:
    """Refuse what is neither () nor a (row, column) in a grid of this shape."""
    rows, columns = shape
    if place and not (len(place) == 2 and 0 <= place[0] < rows and 0 <= place[1] < columns):
        raise ArgumentError(
            f"{name} is {place!r}; give (row, column) up to ({rows - 1}, {columns - 1}), or () for"
            " none"
        )
