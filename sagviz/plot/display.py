"""What a plot function returns: pictures with words, shown as HTML that wraps on narrow pages, or
drawn as one figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from sagviz.html import attributes, img
from sagviz.image import to_png
from sagviz.plot.png import png, write

FONT = "font-family:system-ui,sans-serif;color:inherit"
SMALL = "font-size:var(--sagviz-small,13px)"  # of words beside pictures; large widgets set it
GAP = 14  # pixels between panels
BEFORE_NUMBER = re.compile(r" (?=[-+]?\d)")  # a label breaks elsewhere: "CFG 3," above "SAG 0"


def tag(image: Image.Image, alt: str, sharp: bool = True) -> str:
    """An `<img>` that holds its picture, as wide as its place; pixels stay square where it is
    `sharp`, as latents and maps need it.
    """
    style = f"width:100%;height:auto;display:block{';image-rendering:pixelated' * sharp}"
    return img(to_png(image), alt, style=style)


@dataclass(frozen=True)
class Panel:
    """One picture, its title and a sentence, which is its alt text too.

    Attributes:
        image: the picture.
        title: above it.
        words: below it.
        name: of the quantity that it shows, such as "x_t" or a term's name.
        legend: what its colours mean, HTML of `plot.legend`.
        sharp: whether its pixels stay squares: those of latents, maps and masks do.

    Example:
        >>> from PIL import Image
        >>> from sagviz.plot import Panel, Panels
        >>> Panels((Panel(Image.new("RGB", (8, 8)), "black", "nothing at all"),)).figure().axes[0]
        <Axes: title={'center': 'black'}>
    """

    image: Image.Image
    title: str
    words: str = ""
    name: str = ""
    legend: str = ""
    sharp: bool = True

    def _repr_html_(self) -> str:
        """Title, picture and words take the rows of the grid that they stand in: where one title
        needs two lines, the pictures beside it still stand in line.
        """
        figure = (
            "margin:0;display:grid;grid-row:span 3;grid-template-rows:subgrid;gap:4px;min-width:0;"
            "overflow-wrap:anywhere"
        )
        title = f"font-weight:600;{SMALL};align-self:end"
        words = f"{SMALL};line-height:1.35"
        marks = attributes({"style": figure, "data-shows": self.name})
        return (
            f'<figure{marks}><figcaption style="{title}">{escape(self.title)}'
            f"</figcaption>{tag(self.image, f'{self.title}: {self.words}', self.sharp)}"
            f'<div style="{words}">{self.legend}{escape(self.words)}</div></figure>'
        )


@dataclass(frozen=True)
class Panels:
    """Pictures side by side, in as few rows as the page allows and as even ones; none alone in the
    last row, but on the narrowest page. A page that sets `--sagviz-width` in CSS has them as wide.

    Attributes:
        panels: from left to right.
        width: the least pixels of each on a wide page.
        columns: how many stand side by side on the narrowest page.

    Example:
        >>> from PIL import Image
        >>> from sagviz.plot import Panel, Panels
        >>> two = Panels((Panel(Image.new("RGB", (8, 8)), "a"), Panel(Image.new("L", (8, 8)), "b")))
        >>> two._repr_html_().count("<img")
        2
    """

    panels: tuple[Panel, ...]
    width: int = 190
    columns: int = 2

    def _repr_html_(self) -> str:
        columns = f"repeat(auto-fill,minmax(max({','.join(self._least)}),1fr))"
        figures = "".join(panel._repr_html_() for panel in self.panels)
        style = f"display:grid;grid-template-columns:{columns};gap:{GAP}px;{FONT}"
        return f'<div style="{style}">{figures}</div>'

    @property
    def _least(self) -> list[str]:
        """The least widths of a column, in CSS, of which the largest holds: each makes so many
        columns where the page is too narrow for the next larger number.
        """
        count = len(self.panels)
        fewest = min(self.columns, count)
        even = sorted({-(-count // rows) for rows in range(2, count)}, reverse=True)
        fitting = [n for n in even if n > fewest and count % n != 1]
        width = f"var(--sagviz-width,{self.width}px)"
        shares = {n: f"(100% - {GAP * (n - 1)}px)/{n} - .5px" for n in (*fitting, fewest)}
        rooms = [f"{n}*({width} + {GAP}px) - {GAP}px" for n in (count, *fitting)]
        narrow = zip(shares.values(), rooms, strict=True)
        least = [f"min({share},({room} - 100%)*999)" for share, room in narrow]
        return [f"min({width},{shares[fewest]})", *least]

    def figure(self) -> Figure:
        """The same as one matplotlib figure, in a single row."""
        count = len(self.panels)
        figure = Figure(figsize=(2.6 * count, 3.0), layout="constrained")
        for axes, panel in zip(
            figure.subplots(1, count, squeeze=False)[0], self.panels, strict=True
        ):
            axes.set_axis_off()
            axes.imshow(panel.image, interpolation="nearest")
            axes.set_title(panel.title, fontsize=11)
        return figure

    def save(self, path: str | Path) -> Path:
        """Write the figure as PNG."""
        return write(self.figure(), path)


@dataclass(frozen=True)
class Strip:
    """Rows of small pictures over steps; a narrow page scrolls it sideways.

    Attributes:
        columns: the words above them.
        rows: of each its name and its panels, one a column.
        note: a line below them.

    Example:
        >>> from PIL import Image
        >>> from sagviz.plot import Panel, Strip
        >>> grey = Panel(Image.new("L", (8, 8), 128), "grey", "grey at step 1")
        >>> 'alt="grey at step 1"' in Strip(("step 1",), (("x", (grey,)),))._repr_html_()
        True
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    note: str = ""

    def _repr_html_(self) -> str:
        above = "font-size:13px;text-align:center"
        before = (
            "font-size:14px;font-weight:600;align-self:center;position:sticky;left:0;"
            "background:var(--jp-layout-color0,#fff)"
        )
        count = len(self.columns)
        columns = f"92px repeat({count},minmax(72px,220px))"
        style = f"display:grid;grid-template-columns:{columns};gap:4px;min-width:100%"
        cells = [_words(name, above) for name in ("", *self.columns)]
        for name, panels in self.rows:
            cells += [
                _words(BEFORE_NUMBER.sub("\N{NO-BREAK SPACE}", name), before),
                *(tag(panel.image, panel.words, panel.sharp) for panel in panels),
            ]
        note = _words(self.note, f"font-size:13px;{FONT}") if self.note else ""
        return (
            f'<div style="overflow-x:auto;{FONT}" tabindex="0" role="group">'
            f'<div style="{style}">{"".join(cells)}</div></div>{_hint(92 + 76 * count)}{note}'
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


def _words(words: str, style: str) -> str:
    return f'<div style="{style}">{escape(words)}</div>'


def _hint(width: int) -> str:
    """Says that there is more to the right, where the window is narrower than `width` pixels."""
    size = f"font-size:clamp(0px,({width}px - 100vw)*999,13px)"
    return f'<div aria-hidden="true" style="{size};{FONT}">→ more to the right</div>'


@dataclass(frozen=True)
class Drawing:
    """Matplotlib figures side by side with one alt text.

    Attributes:
        figures: matplotlib's own, to be changed as one likes.
        words: what they show, the alt text.
        min_width: on a narrower page, in pixels, they scroll sideways.

    Example:
        >>> import sagviz as sv
        >>> sv.plot.lines([0, 1], {"CFG": [0.5, 0.7]}, "step", "length").words
        'length over step: CFG from 0.5 to 0.7'
    """

    figures: Sequence[Figure]
    words: str
    min_width: int = 0

    def _repr_html_(self) -> str:
        figures = "".join(map(self._one, self.figures))
        return f'<div style="display:flex;flex-wrap:wrap;gap:14px">{figures}</div>'

    def _one(self, figure: Figure) -> str:
        width = f"width:{round(figure.get_size_inches()[0] * 96)}px"
        most = f"max-width:max(100%,{self.min_width}px)"
        style = f"{width};{most};height:auto;display:block"
        picture = img(png(figure, 144), self.words, style=style)
        # what scrolls must be reachable by keyboard
        focus = ' tabindex="0" role="group"' if self.min_width else ""
        hint = _hint(self.min_width) if self.min_width else ""
        scrolled = f'<div style="overflow-x:auto"{focus}>{picture}</div>'
        return f'<div style="max-width:100%">{scrolled}{hint}</div>'

    def save(self, path: str | Path) -> Path:
        """Write the first figure as PNG."""
        return write(self.figures[0], path)
