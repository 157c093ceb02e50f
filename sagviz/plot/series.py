"""A series: what changes with one setting, as pictures in rows and as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import cast

from matplotlib.figure import Figure
from PIL import Image

from sagviz.errors import ArgumentError
from sagviz.plot.curves import COLOURS, chart
from sagviz.plot.display import Drawing, Panel, Strip


def gallery(rows: Mapping[str, Sequence[Image.Image]], columns: Sequence[str]) -> Strip:
    """Pictures in rows, one for each column: `gallery({"CFG": pictures}, [f"w = {w}" for w in
    scales])`.

    Raises:
        ArgumentError: a row has more or fewer pictures than there are columns.
    """
    for name, pictures in rows.items():
        if len(pictures) != len(columns):
            raise ArgumentError(
                f"row {name!r} has {len(pictures)} pictures for {len(columns)} columns; give one"
                " for each"
            )
    return Strip(
        tuple(columns),
        tuple(
            (
                name,
                tuple(
                    Panel(image, column, f"{name}, {column}")
                    for image, column in zip(pictures, columns, strict=True)
                ),
            )
            for name, pictures in rows.items()
        ),
    )


def lines(
    x: Sequence[float],
    y: Mapping[str, Sequence[float]],
    xlabel: str,
    title: str,
    *,
    dots: Mapping[str, Sequence[float]] | None = None,
) -> Drawing:
    """Lines over one setting, each under its name; `dots` are drawn without a line, as measurements
    on a law.

    Raises:
        ArgumentError: a line has more or fewer values than `x`.
    """
    axes = chart(title, xlabel, width=4.8)
    colours = cycle(COLOURS.values())
    for style, series in (("-", y), ("o", dots or {})):
        for name, values in series.items():
            if len(values) != len(x):
                raise ArgumentError(
                    f"line {name!r} has {len(values)} values for {len(x)} places; give one for each"
                )
            axes.plot(x, values, style, color=next(colours), linewidth=2, label=name)
    if len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize=11)
    ranges = (
        f"{name} from {min(values):.2g} to {max(values):.2g}"
        for name, values in {**y, **(dots or {})}.items()
    )
    return Drawing([cast(Figure, axes.figure)], f"{title} over {xlabel}: " + "; ".join(ranges))
