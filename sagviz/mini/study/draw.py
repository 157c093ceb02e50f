"""Numbers of the study's table with their intervals, as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sagviz.mini.study.cells import Cell
from sagviz.plot import Drawing
from sagviz.plot.curves import chart
from sagviz.plot.series import LINE_COLOURS

INCHES = 0.28  # of a row
LETTERS = {"blur_sigma": "σ", "threshold": "ψ", "mask_source": "mask"}


def pick(
    table: pd.DataFrame, cells: Sequence[Cell], measure: str, against: Cell | None = None
) -> pd.DataFrame:
    """The rows of some cells in their order, as far as the table has them.

    Args:
        measure: see `measures.statistics`.
        against: for the difference to that cell; `None` for the cells' own numbers.
    """
    other = "" if against is None else against.name
    kept = table[(table.measure == measure) & (table.against == other)].set_index("cell")
    return kept.loc[[cell.name for cell in cells if cell.name in kept.index]]


def number(table: pd.DataFrame, cell: Cell, measure: str, against: Cell | None = None) -> pd.Series:
    """One row of the table.

    Raises:
        KeyError: it is not there.
    """
    return pick(table, [cell], measure, against).loc[cell.name]


def words(row: pd.Series, digits: int = 0) -> str:
    """'71.0 (68.2 to 73.8)'."""
    rounded = (round(row[name], digits) + 0.0 for name in ("value", "low", "high"))  # no "-0"
    value, low, high = (f"{number:.{digits}f}" for number in rounded)
    return f"{value} ({low} to {high})"


def holds(table: pd.DataFrame, cell: Cell, against: Cell | None = None, **said: str) -> None:
    """Assert that a text says numbers as the table has them: `words` of each measure, by name.

    Raises:
        AssertionError: says what the table has.
    """
    for measure, text in said.items():
        digits = len(text.split()[0].partition(".")[2])
        found = words(number(table, cell, measure, against), digits)
        assert found == text, f"{cell.name}: {measure} is {found}, and the text says {text}"


def forest(rows: pd.DataFrame, title: str, *, at: float | None = None) -> Drawing:
    """Values with their intervals below each other; `at` is where a line stands for "no
    difference".
    """
    title = _counted(title, rows)
    axes = _tall(title, len(rows))
    alike = rows.n.nunique() == 1
    names = [f"{_short(row.Index)}{'' if alike else f' ({row.n})'}" for row in rows.itertuples()]
    places = range(len(rows))
    axes.errorbar(rows.value, places, xerr=_sides(rows), fmt="o", color=LINE_COLOURS[0], capsize=3)
    axes.set_yticks(places, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # from the first row down
    if at is not None:
        axes.axvline(at, color="#999999", linewidth=1)
    return Drawing([cast(Figure, axes.figure)], _words(title, names, rows), min_width=480)


def curve(
    x: Sequence[float], rows: pd.DataFrame, xlabel: str, title: str, *, at: float | None = None
) -> Drawing:
    """Values with their intervals over one number of each."""
    title = _counted(title, rows)
    axes = chart(title, xlabel, width=5.6)
    axes.errorbar(x, rows.value, yerr=_sides(rows), fmt="o", color=LINE_COLOURS[0], capsize=3)
    if at is not None:
        axes.axhline(at, color="#999999", linewidth=1)
    names = [f"{xlabel} {place:.3g}" for place in x]
    return Drawing([cast(Figure, axes.figure)], _words(title, names, rows), min_width=420)


def _tall(title: str, rows: int) -> Axes:
    """Axes whose title begins at the figure's edge, since names of rows leave it little room."""
    axes = chart("", "", width=7.2)
    figure = cast(Figure, axes.figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.set_size_inches(7.2, 0.9 + INCHES * max(rows, 3))
    return axes


def _sides(rows: pd.DataFrame) -> list[pd.Series]:
    return [rows.value - rows.low, rows.high - rows.value]


def _short(name: str) -> str:
    """Without what it starts from, and with the method's letters."""
    short = name.partition(", ")[2]
    for words, letter in LETTERS.items():
        short = short.replace(words, letter)
    return short


def _counted(title: str, rows: pd.DataFrame) -> str:
    """'clear, % (n = 50 to 100)'."""
    counts = sorted(set(rows.n))
    return f"{title} (n = {' to '.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))})"


def _words(title: str, names: Sequence[str], rows: pd.DataFrame) -> str:
    parts = (
        f"{name}: {row.value:.3g} ({row.low:.3g} to {row.high:.3g})"
        for name, row in zip(names, rows.itertuples(), strict=True)
    )
    return f"{title}. " + "; ".join(parts)
