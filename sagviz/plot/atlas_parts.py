"""Parts of an atlas's figure and page: a table of cosines, and spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

STRONG = 0.6  # from which size on a cell is dark


def draw_table(axes: Axes, titles: Sequence[str], values: Sequence[Sequence[float]]) -> None:
    """Numbers from -1 to 1 on their colours, each row and column under a title."""
    axes.imshow(np.asarray(values), cmap="PuOr", vmin=-1, vmax=1)
    axes.set_xticks(range(len(titles)), titles, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(titles)), titles, fontsize=8)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            colour = "white" if abs(value) > STRONG else "black"
            axes.text(x, y, _words(value), ha="center", va="center", fontsize=7, color=colour)


def draw_spectra(axes: Axes, lines: Sequence[tuple[str, str, Sequence[float]]]) -> None:
    """Power in equal parts of 0 to 0.5 cycles a cell, a line for each (title, colour, values)."""
    axes.axhline(1, color="#bbbbbb", linewidth=1)
    for title, colour, values in lines:
        places = (np.arange(len(values)) + 0.5) / (2 * len(values))
        axes.plot(places, values, color=colour, linewidth=2, label=title)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=9, ncols=2)


def shaded(value: float) -> str:
    """A number from -1 to 1 as HTML on its colour: orange below 0, violet above, as in figures."""
    if math.isnan(value):
        return _words(value)
    colour = "230,97,1" if value < 0 else "94,60,153"
    style = f"padding:2px 6px;background:rgba({colour},{abs(value) * 0.45:.2f})"
    return f'<span style="{style}">{_words(value)}</span>'


def _words(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.2f}"
