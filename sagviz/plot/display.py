"""What a plot function returns: pictures with words, shown as HTML that wraps on narrow pages, or
drawn as one figure.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sagviz.errors import ArgumentError
from sagviz.html import data_uri
from sagviz.image import to_png

FONT = "font-family:system-ui,sans-serif;color:inherit"
DPI = 200  # pixels an inch of saved figures


def tag(image: Image.Image, alt: str) -> str:
    """An `<img>` that holds its picture, as wide as its place; pixels stay square, as latents and
    maps need it.
    """
    style = "width:100%;height:auto;display:block;image-rendering:pixelated;"
    return f'<img src="{data_uri(to_png(image))}" alt="{escape(alt, quote=True)}" style="{style}">'


def write(figure: Figure, path: str | Path) -> Path:
    """Save a figure as PNG, or say why not."""
    path = Path(path)
    try:
        figure.savefig(path, dpi=DPI)
    except OSError as error:
        raise ArgumentError(
            f"cannot write {path}: {error.strerror}; give a folder that exists"
        ) from error
    return path


def bare(axes: Axes) -> Axes:
    """Axes for a picture: no ticks, no frame."""
    axes.set_axis_off()
    return axes


@dataclass(frozen=True)
class Panel:
    """One picture, its title and a sentence, which is its alt text too."""

    image: Image.Image
    title: str
    words: str = ""


@dataclass(frozen=True)
class Panels:
    """Pictures side by side, as many in a row as the page is wide."""

    panels: tuple[Panel, ...]
    width: int = 190  # least pixels of each on a wide page
    columns: int = 2  # how many stand side by side on the narrowest page

    def _repr_html_(self) -> str:
        figures = [
            '<figure style="margin:0">'
            "<figcaption"
            f' style="font-weight:600;font-size:13px;margin-bottom:4px">{escape(panel.title)}</figcaption>'
            + tag(panel.image, f"{panel.title}: {panel.words}")
            + "<div"
            f' style="font-size:13px;line-height:1.35;margin-top:4px">{escape(panel.words)}</div></figure>'
            for panel in self.panels
        ]
        columns = f"repeat(auto-fill,minmax(min({self.width}px,{92 // self.columns}%),1fr))"
        return (
            "<div"
            f' style="display:grid;grid-template-columns:{columns};gap:14px;{FONT}">{"".join(figures)}</div>'
        )

    def figure(self) -> Figure:
        """The same as one matplotlib figure, in a single row."""
        count = len(self.panels)
        figure = Figure(figsize=(2.6 * count, 3.0), layout="constrained")
        for axes, panel in zip(
            figure.subplots(1, count, squeeze=False)[0], self.panels, strict=True
        ):
            bare(axes).imshow(panel.image, interpolation="nearest")
            axes.set_title(panel.title, fontsize=11)
        return figure

    def save(self, path: str | Path) -> Path:
        """Write the figure as PNG."""
        return write(self.figure(), path)


@dataclass(frozen=True)
class Strip:
    """Rows of small pictures over steps; a narrow page scrolls it sideways."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    def _repr_html_(self) -> str:
        names = ("", *self.columns)
        head = "".join(
            f'<div style="font-size:13px;text-align:center">{escape(name)}</div>' for name in names
        )
        label = "font-size:14px;font-weight:600;align-self:center;position:sticky;left:0;background:var(--jp-layout-color0,#fff)"
        body = "".join(
            f'<div style="{label}">{escape(name)}</div>'
            + "".join(tag(panel.image, panel.words) for panel in panels)
            for name, panels in self.rows
        )
        grid = (
            "display:grid;grid-template-columns:92px"
            f" repeat({len(self.columns)},minmax(72px,220px));gap:4px;min-width:100%"
        )
        return (
            f'<div style="overflow-x:auto;{FONT}" tabindex="0" role="group"><div'
            f' style="{grid}">{head}{body}</div></div>'
        )

    def figure(self) -> Figure:
        """The same as one matplotlib figure."""
        height, width = len(self.rows), len(self.columns)
        figure = Figure(figsize=(1.15 * width + 0.9, 1.2 * height + 0.2), layout="constrained")
        grid = figure.subplots(height, width, squeeze=False)
        for row, (name, panels) in zip(grid, self.rows, strict=True):
            for axes, panel in zip(row, panels, strict=True):
                axes.imshow(panel.image, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(name, fontsize=11, rotation=0, ha="right", va="center")
        for axes, name in zip(grid[0], self.columns, strict=True):
            axes.set_title(name, fontsize=10)
        return figure

    def save(self, path: str | Path) -> Path:
        """Write the figure as PNG."""
        return write(self.figure(), path)


@dataclass(frozen=True)
class Drawing:
    """Matplotlib figures side by side with one alt text; on a page narrower than `min_width` pixels
    they scroll sideways.
    """

    figures: Sequence[Figure]
    words: str
    min_width: int = 0

    def _repr_html_(self) -> str:
        return (
            "<div"
            f' style="display:flex;flex-wrap:wrap;gap:14px">{"".join(map(self._one, self.figures))}</div>'
        )

    def _one(self, figure: Figure) -> str:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144)
        natural = round(figure.get_size_inches()[0] * 96)
        style = (
            f"width:{natural}px;max-width:max(100%,{self.min_width}px);height:auto;display:block"
        )
        picture = (
            f'<img src="{data_uri(buffer.getvalue())}" alt="{escape(self.words, quote=True)}"'
            f' style="{style}">'
        )
        # what scrolls must be reachable by keyboard
        focus = ' tabindex="0" role="group"' if self.min_width else ""
        return f'<div style="overflow-x:auto;max-width:100%"{focus}>{picture}</div>'

    def save(self, path: str | Path) -> Path:
        """Write the first figure as PNG."""
        return write(self.figures[0], path)
