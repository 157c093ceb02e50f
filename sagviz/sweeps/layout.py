"""Two settings of a sweep crossed: which cell stands in which row and column, and what they are
called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sagviz import describe
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, title_of
from sagviz.sweeps import Sweep
from sagviz.sweeps.plan import Cell

RUN = ("prompt", "seed", "steps", "scheduler")  # settings that are no part of the guidance
SYMBOLS = {"threshold": "threshold ψ", "blur_sigma": "blur σ", "blur_kernel": "blur taps"}
UNSET = {"heads": "all"}  # what a field is called that is left open; else "automatic"
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Axis:
    """A setting and the values that it has in a sweep, in the sweep's order; `None` where a cell
    has no such term.
    """

    name: str
    values: tuple[Any, ...]

    @property
    def title(self) -> str:
        """What the setting is called."""
        term, _, part = self.name.partition("_")
        return (
            f"{title_of(term)} {SYMBOLS.get(part, part.replace('_', ' '))}" if part else self.name
        )

    def label(self, value: Any) -> str:
        """A value with the name of its setting: "CFG scale 3", "seed 7", "no SAG"."""
        if value is None:
            return f"no {title_of(self.name.partition('_')[0])}"
        if self.name == "prompt":
            return quoted(value)
        if self.name == "steps":
            return counted(value)
        if isinstance(value, Guidance):
            words = describe.of_guidance(value)
            return (
                words
                if sum(describe.of_guidance(other) == words for other in self.values) == 1
                else repr(value)
            )
        return f"{self.title} {value:g}" if isinstance(value, float) else f"{self.title} {value}"


@dataclass(frozen=True)
class Square:
    """A place of the grid: one picture of a cell. `cell` is `None` where the sweep has no such
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
    """The cells of a sweep by two of its settings.

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
        return Square(
            row, column, cell, image, self.words(cell, image) if cell else "not part of this sweep"
        )

    def words(self, cell: Cell, image: int = 0) -> str:
        """All that tells a cell from the others of its sweep, and what people ask first."""
        run, own = cell.settings, values_of(cell)
        rest = [self.axes[name].label(own[name]) for name in self._rest if name in own]
        batch = [f"image {image}"] if len(self.axes["image"].values) > 1 else []
        parts = [
            quoted(run.prompt),
            f"seed {run.seed}",
            describe.of_guidance(run.guidance),
            counted(run.steps),
        ]
        return ", ".join([*parts, *rest, *batch])

    def shared(self) -> list[str]:
        """What all pictures have in common, as far as people ask for it."""
        asked = [name for name in self.axes if name in RUN[:3] or name.endswith("_scale")]
        same = {
            name: self.axes[name].values[0] for name in asked if len(self.axes[name].values) == 1
        }
        there = {
            name: value for name, value in same.items() if name not in (self.rows, self.columns)
        }
        return [self.axes[name].label(value) for name, value in {**there, **self.fixed}.items()]

    @cached_property
    def _rest(self) -> list[str]:
        """The settings that vary, besides those that are told of every cell."""
        told = {"prompt", "seed", "steps", "image", "guidance"} | {
            name for name in self.axes if name.endswith("_scale")
        }
        return [name for name, axis in self.axes.items() if name not in told and varies(axis)]

    @property
    def _names(self) -> list[str]:
        """The settings that a cell is found by."""
        return [
            name
            for name in {**self.fixed, self.rows: None, self.columns: None}
            if name not in ("", "image")
        ]

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
    if columns is None:
        free = most_valued(axes, _free(axes, rows or "", fixed), 1 if rows is not None else 2)
        columns = free[-1] if free else ""  # a sweep in one setting stands in one row
    if rows is None:
        rows = "".join(most_valued(axes, _free(axes, columns, fixed), 1))
    others = {name: axes[name].values[0] for name in remaining(axes, rows, columns)}
    for name, value in fixed.items():
        if name not in axes or value not in axes[name].values:
            offers = [repr(each) for each in axes[name].values] if name in axes else list(axes)
            raise ArgumentError(f"no cell has {name}={value!r}; there are {', '.join(offers[:12])}")
    return Crossing(
        sweep,
        axes,
        rows,
        columns,
        others | {name: value for name, value in fixed.items() if name in others},
    )


def axes_of(sweep: Sweep) -> dict[str, Axis]:
    """Every setting of a sweep by name, those that do not vary included."""
    every = [values_of(cell) for cell in sweep.plan.samples]
    names = dict.fromkeys(name for own in every for name in own if name != "guidance")
    axes = {
        name: Axis(name, tuple(dict.fromkeys(own.get(name) for own in every)))
        for name in (*names, "guidance")
    }
    return axes | {"image": Axis("image", tuple(range(sweep.plan.images)))}


def varies(axis: Axis) -> bool:
    """Whether there is a choice. That some cells lack a term is told by its scale alone, not by all
    its settings.
    """
    there = [value for value in axis.values if value is not None]
    return len(there) > 1 or (axis.name.endswith("_scale") and len(axis.values) > 1)


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


def values_of(cell: Cell) -> dict[str, Any]:
    """A cell's settings by name, all of them hashable, and none of them `None`."""
    named = {name: _told(name, value) for name, value in cell.columns.items()}
    return {**named, "guidance": cell.settings.guidance}


def quoted(prompt: str) -> str:
    """A prompt as it is shown to people."""
    return f"“{prompt}”" if prompt else "no prompt"


def counted(steps: int) -> str:
    """A number of steps."""
    return f"{steps} step{'s' * (steps != 1)}"


def _told(name: str, value: Any) -> Any:
    return UNSET.get(name.partition("_")[2], "automatic") if value is None else value


def _parts(axes: Mapping[str, Axis]) -> list[str]:
    """The settings that vary within the guidance."""
    return [
        name
        for name, axis in axes.items()
        if varies(axis) and name not in (*RUN, "guidance", "image")
    ]
