"""A series: what changes with one setting, as pictures in rows and as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import cast

from matplotlib.figure import Figure
from PIL import Image

from sagviz.errors import ArgumentError
from sagviz.plot.curves import chart
from sagviz.plot.display import Drawing, Panel, Strip

# For colour-blind readers too, Okabe & Ito's first: a line takes the next one.
LINE_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#CC99CC",
    "#FF9900",
    "#336633",
    "#0099FF",
    "#000000",
    "#009E73",
    "#555555",
)


def gallery(rows: Mapping[str, Sequence[Image.Image]], columns: Sequence[str]) -> Strip:
    """Pictures in rows, one for each column.

    Args:
        rows: the pictures of each row, by its name.
        columns: the words above the columns.

    Raises:
        ArgumentError: a row has more or fewer pictures than there are columns.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> runs = [
        ...     sv.trace(model, "a fox", steps=2, guidance=sv.CFG(w), progress=False)
        ...     for w in (1.0, 3.0)
        ... ]
        >>> strip = sv.plot.gallery({"CFG": [run.image for run in runs]}, ["w = 1", "w = 3"])
        >>> strip.columns
        ('w = 1', 'w = 3')
    """
    for name, pictures in rows.items():
        if len(pictures) != len(columns):
            raise ArgumentError(
                f"row {name!r} has {len(pictures)} pictures for {len(columns)} columns; give one"
                " for each"
            )
    return Strip(tuple(columns), tuple((name, _row(name, rows[name], columns)) for name in rows))


def _row(name: str, pictures: Sequence[Image.Image], columns: Sequence[str]) -> tuple[Panel, ...]:
    pairs = zip(pictures, columns, strict=True)
    return tuple(Panel(image, column, f"{name}, {column}") for image, column in pairs)


def lines(
    x: Sequence[float],
    y: Mapping[str, Sequence[float]],
    xlabel: str,
    title: str,
    *,
    dots: Mapping[str, Sequence[float]] | None = None,
    thin: Mapping[str, Sequence[float]] | None = None,
) -> Drawing:
    """Lines over one setting, each under its name.

    Args:
        x: values of the setting.
        y: as many values for each line, by its name.
        xlabel: what the setting is called.
        title: what is drawn over it.
        dots: more of `y`, drawn as dots without a line.
        thin: more of `y`, drawn as thin grey lines without a name, such as the runs of a mean.

    Raises:
        ArgumentError: a line has more or fewer values than `x`, or there are none.

    Example:
        >>> import sagviz as sv
        >>> drawing = sv.plot.lines([1, 3, 5], {"sharpness": [0.2, 0.4, 0.3]}, "w", "sharpness")
        >>> drawing.words
        'sharpness over w: sharpness from 0.2 to 0.4'
    """
    if not len(x):
        raise ArgumentError("x is empty; give the values of the setting")
    axes = chart(title, xlabel, width=4.8)
    colours = cycle(LINE_COLOURS)
    for name, values in {**(thin or {}), **y, **(dots or {})}.items():
        if len(values) != len(x):
            raise ArgumentError(
                f"line {name!r} has {len(values)} values for {len(x)} places; give one for each"
            )
    for values in (thin or {}).values():
        axes.plot(x, values, color="#bbbbbb", linewidth=0.8)
    for style, series in (("-", y), ("o", dots or {})):
        for name, values in series.items():
            axes.plot(x, values, style, color=next(colours), linewidth=2, label=name)
    if len(y) + len(dots or {}) > 1:
        axes.legend(frameon=False, fontsize=11)
    ranges = (
        f"{name} from {min(values):.2g} to {max(values):.2g}"
        for name, values in {**y, **(dots or {})}.items()
    )
    return Drawing([cast(Figure, axes.figure)], f"{title} over {xlabel}: " + "; ".join(ranges))
