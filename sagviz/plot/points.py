"""Points in the plane: data, samples, the ways between them, and arrows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import cast

from matplotlib.figure import Figure
from torch import Tensor

from sagviz.plot.curves import chart
from sagviz.plot.display import Drawing
from sagviz.plot.series import LINE_COLOURS

REACH, SIDE = 3.0, 4.6  # of the plane on each side, inches of the picture


def points(
    groups: Mapping[str, Tensor],
    title: str = "",
    *,
    arrows: tuple[Tensor, Tensor] | None = None,
    ways: Tensor | None = None,
) -> Drawing:
    """Points in the plane from -3 to 3, each group in a colour of its own.

    Args:
        groups: points (N, 2) by their name.
        title: above the picture.
        arrows: from (N, 2) by (N, 2).
        ways: lines (steps, N, 2), one for each point.

    Example:
        >>> import sagviz as sv, torch
        >>> sv.plot.points({"data": torch.zeros(90, 2)}, "a star").words
        'a star: 90 points of data'
    """
    axes = chart(title, "", width=SIDE)
    figure = cast(Figure, axes.figure)
    figure.set_size_inches(SIDE, SIDE)
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
    if ways is not None:
        axes.plot(*ways.unbind(-1), color="#999999", linewidth=0.6, zorder=1)
    for (name, x), colour in zip(groups.items(), cycle(LINE_COLOURS), strict=False):
        axes.scatter(
            x[:, 0], x[:, 1], s=9, color=colour, label=name, alpha=0.7, linewidths=0, zorder=2
        )
    if arrows is not None:
        (x, y), (dx, dy) = arrows[0].T, arrows[1].T
        axes.quiver(x, y, dx, dy, angles="xy", color="#222222", width=0.004, zorder=3)
    if len(groups) > 1:
        axes.legend(frameon=False, fontsize=11, markerscale=2, loc="upper right")
    told = ", ".join(f"{len(x)} points of {name}" for name, x in groups.items())
    return Drawing([figure], f"{title}: {told}")
