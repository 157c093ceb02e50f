"""Two settings of a sweep crossed: which run stands in which row and column, in which words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sagviz import describe
from sagviz.errors import ArgumentError
from sagviz.sweeps.columns import counted, is_scale
from sagviz.sweeps.labels import RUN, Axis, axes_of, values_of, varies
from sagviz.sweeps.plan import Cell
from sagviz.sweeps.results import Sweep

NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Square:
    """A place of the grid: one picture of a run. `cell` is `None` where the sweep has no such
    combination.
    """

    row: int
    column: int
    cell: Cell | None
    image: int = 0
    words: str = ""

    @property
    def name(self) -> str:
        """Of the picture, wherever it stands."""
        return f"{self.cell.key}/{self.image}" if self.cell else ""


@dataclass(frozen=True, eq=False)
class Crossing:
    """The runs of a sweep by two of its settings.

    Attributes:
        axes: all settings of the sweep by name.
        rows, columns: names of settings; "" for a single row or column.
        fixed: the value of each other setting that varies.
    """

    sweep: Sweep
    axes: Mapping[str, Axis]
    rows: str
    columns: str
    fixed: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns."""
        return len(self.values(self.rows)), len(self.values(self.columns))

    def values(self, name: str) -> tuple[Any, ...]:
        return self.axes[name].values if name else (None,)

    def labels(self, name: str) -> list[str]:
        """Of all rows or all columns."""
        return [self.axes[name].label(value) for value in self.values(name)] if name else [""]

    def square(self, row: int, column: int) -> Square:
        """What stands there."""
        wanted = {
            **self.fixed,
            self.rows: self.values(self.rows)[row],
            self.columns: self.values(self.columns)[column],
        }
        image = wanted.get("image", 0)
        cell = self._cells.get(tuple(wanted[name] for name in self._names))
        words = self.words(cell, image) if cell else "not part of this sweep"
        return Square(row, column, cell, image, words)

    def words(self, cell: Cell, image: int = 0) -> str:
        """All that sets a run apart from the others of its sweep, and what people ask first."""
        run, own = cell.settings, values_of(cell)
        rest = [self.axes[name].label(own[name]) for name in self._rest if name in own]
        batch = [f"image {image}"] if len(self.axes["image"].values) > 1 else []
        first = [describe.quoted(run.prompt), f"seed {run.seed}"]
        then = [describe.of_guidance(run.guidance), counted(run.steps)]
        return ", ".join([*first, *then, *rest, *batch])

    def shared(self) -> list[str]:
        """What all pictures have in common, as far as people ask for it."""
        same = {
            name: axis.values[0]
            for name, axis in self.axes.items()
            if (name in RUN[:3] or is_scale(name))
            and len(axis.values) == 1
            and name not in (self.rows, self.columns)
        }
        return [self.axes[name].label(value) for name, value in {**same, **self.fixed}.items()]

    @cached_property
    def _rest(self) -> list[str]:
        """The settings that vary, besides those that `words` has of every run."""
        return [
            name
            for name, axis in self.axes.items()
            if varies(axis) and name not in (*RUN[:3], "image", "guidance") and not is_scale(name)
        ]

    @property
    def _names(self) -> list[str]:
        """The settings that a run is found by."""
        names = dict.fromkeys([*self.fixed, self.rows, self.columns])
        return [name for name in names if name not in ("", "image")]

    @cached_property
    def _cells(self) -> dict[tuple[Any, ...], Cell]:
        found: dict[tuple[Any, ...], Cell] = {}
        for cell in self.sweep.cells:
            own = values_of(cell)
            found.setdefault(tuple(own.get(name) for name in self._names), cell)
        return found


def cross(
    sweep: Sweep,
    rows: str | None = None,
    columns: str | None = None,
    fixed: Mapping[str, Any] = NOTHING,
) -> Crossing:
    """Lay a sweep out by two of its settings.

    Args:
        rows, columns: `prompt`, `seed`, `steps`, `scheduler`, `guidance` (the whole sum), a column
            such as `cfg_scale`, or `image`, the number in the batch. Where `None`, those with most
            values that are not fixed; "" is a single one.
        fixed: values of other settings; those that it leaves out have their first one.

    Raises:
        ArgumentError: no such setting, no such value, or the same setting twice.
    """
    axes = axes_of(sweep)
    _check_names(axes, rows, columns)
    _check_values(axes, fixed)
    if columns is None:
        free = most_valued(axes, _free(axes, rows or "", fixed), 1 if rows is not None else 2)
        columns = free[-1] if free else ""  # a sweep in one setting stands in one row
    if rows is None:
        rows = "".join(most_valued(axes, _free(axes, columns, fixed), 1))
    others = {
        name: fixed.get(name, axes[name].values[0]) for name in remaining(axes, rows, columns)
    }
    return Crossing(sweep, axes, rows, columns, others)


def _check_names(axes: Mapping[str, Axis], rows: str | None, columns: str | None) -> None:
    for name in (rows, columns):
        if name and name not in axes:
            offers = [each for each, axis in axes.items() if varies(axis)]
            raise ArgumentError(
                f"a sweep has no setting {name!r}; this one varies in {', '.join(offers) or 'none'}"
            )
    if rows and rows == columns:
        raise ArgumentError(
            f"rows and columns are both {rows!r}; give two settings, or '' for a single row"
        )


def _check_values(axes: Mapping[str, Axis], fixed: Mapping[str, Any]) -> None:
    for name, value in fixed.items():
        if name not in axes or value not in axes[name].values:
            offers = [repr(each) for each in axes[name].values] if name in axes else list(axes)
            raise ArgumentError(f"no cell has {name}={value!r}; there are {', '.join(offers[:12])}")


def most_valued(axes: Mapping[str, Axis], names: Sequence[str], count: int) -> list[str]:
    """The settings with most values among these, in the order given."""
    most = sorted(names, key=lambda name: -len(axes[name].values))[:count]
    return [name for name in names if name in most]


def remaining(axes: Mapping[str, Axis], rows: str, columns: str) -> list[str]:
    """The settings that vary besides these two. Guidance counts as one where its parts are no full
    grid.
    """
    parts, taken = _parts(axes), {rows, columns}
    full = math.prod(len(axes[name].values) for name in parts) == len(axes["guidance"].values)
    by_parts = "guidance" not in taken and (full or bool(taken & set(parts)))
    left_out = {"guidance"} if by_parts else {*parts, *({"guidance"} & taken)}
    return [name for name, axis in axes.items() if varies(axis) and name not in taken | left_out]


def _free(axes: Mapping[str, Axis], taken: str, fixed: Mapping[str, Any]) -> list[str]:
    return [name for name in remaining(axes, taken, "") if name not in fixed]


def _parts(axes: Mapping[str, Axis]) -> list[str]:
    """The settings that vary within the guidance."""
    others = (*RUN, "guidance", "image")
    return [name for name, axis in axes.items() if varies(axis) and name not in others]
