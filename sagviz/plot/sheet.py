"""A sweep on one sheet: pictures in rows and columns with their settings in words, as a fragment, a
page or a PNG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from sagviz.checks import check_kind
from sagviz.files import save
from sagviz.html import grid, page, write_page
from sagviz.image import to_png
from sagviz.plot.display import FONT
from sagviz.plot.montage import montage
from sagviz.plot.shots import TINY, Shot, measure_words, shoot
from sagviz.sweeps import Sweep
from sagviz.sweeps.layout import Crossing, Square, cross

LIMIT = 400  # pictures on one sheet
WIDEST = 40  # columns
PAGE_STYLE = (
    ":root{color-scheme:light"
    " dark}body{font-family:system-ui,sans-serif;margin:16px;line-height:1.4}h1{font-size:20px}"
)
HEAD = "font-weight:600;font-size:13px;text-align:center;vertical-align:bottom;padding:2px 4px"
SIDE = (
    "font-weight:600;font-size:13px;text-align:left;vertical-align:middle;padding:2px 6px 2px"
    " 0;max-width:140px;min-width:64px;white-space:normal;position:sticky;left:0;"
    "background:var(--jp-layout-color0,Canvas)"
)


@dataclass(frozen=True)
class Window:
    """The rows and columns that are on the sheet, of all that there are."""

    shape: tuple[int, int]
    first: int = 0
    limit: int = LIMIT

    @property
    def columns(self) -> range:
        return range(min(self.shape[1], WIDEST, self.limit))

    @property
    def rows(self) -> range:
        return range(self.first, min(self.shape[0], self.first + self.height))

    @property
    def height(self) -> int:
        """How many rows fit."""
        return max(1, self.limit // len(self.columns))

    @property
    def rest(self) -> str:
        """What is left out, in words; nothing where nothing is."""
        parts = [
            f"{name} {seen.start + 1} to {seen.stop} of {count}"
            for name, seen, count in zip(
                ("rows", "columns"), (self.rows, self.columns), self.shape, strict=True
            )
            if len(seen) < count
        ]
        return f"Here are {' and '.join(parts)}." if parts else ""


@dataclass(frozen=True, eq=False, repr=False)
class Sheet:
    """What `contact_sheet` gives. It looks into the store each time that it is shown or saved.

    Attributes:
        measure: the measure under each picture, "" for none.
        first: the row that the sheet begins with.
        limit: pictures on it at most.

    Example:
        >>> import sagviz as sv
        >>> made = sv.sweep(sv.load(), "a fox", seeds=[1, 2], steps=1, progress=False)
        >>> sv.plot.Sheet(sv.plot.contact_sheet(made).crossing, limit=1)
        <Sheet of 1 x 1 pictures>
    """

    crossing: Crossing
    measure: str = ""
    first: int = 0
    limit: int = LIMIT

    def __repr__(self) -> str:
        return f"<Sheet of {len(self.window.rows)} x {len(self.window.columns)} pictures>"

    @property
    def window(self) -> Window:
        return Window(self.crossing.shape, self.first, self.limit)

    @property
    def caption(self) -> str:
        """What stands where, and what all pictures share."""
        crossing, window = self.crossing, self.window
        ways = [(crossing.columns, "across"), (crossing.rows, "down")]
        titles = [f"{crossing.axes[name].title} {way}" for name, way in ways if name]
        titles += [f"{measure_words(self.measure)} under each picture"] if self.measure else []
        return " ".join(
            filter(None, [f"{'; '.join([*titles, ', '.join(crossing.shared())])}.", window.rest])
        )

    def shots(self) -> list[list[tuple[Square, Shot]]]:
        """Row by row, what is on the sheet."""
        squares = [
            [self.crossing.square(row, column) for column in self.window.columns]
            for row in self.window.rows
        ]
        return [[(square, shoot(self.crossing.sweep, square)) for square in row] for row in squares]

    def _repr_html_(self) -> str:
        shots, window, crossing = self.shots(), self.window, self.crossing
        size = crossing.sweep.plan.size
        columns = crossing.labels(crossing.columns)
        names = crossing.labels(crossing.rows)
        rows = [
            (names[place], [shot.html(square, self.measure, size) for square, shot in row])
            for place, row in zip(window.rows, shots, strict=True)
        ]
        table = grid(
            [columns[place] for place in window.columns],
            rows,
            head_style=HEAD,
            row_style=SIDE,
            cell_style="padding:0;vertical-align:top",
            style="border-collapse:separate;border-spacing:4px;width:auto;margin:0",
        )
        return (
            f'<div style="{FONT}"><p style="margin:0 0 6px">{escape(self.caption)}</p>'
            '<div style="overflow-x:auto;max-width:100%" tabindex="0" role="group"'
            f' aria-label="pictures of the sweep">{table}</div>{_failed(shots)}</div>'
        )

    def html(self) -> str:
        """A page of its own: no script, nothing that is fetched."""
        title = f"Sweep of {len(self.crossing.sweep)} cells"
        return page(title, f"<h1>{title}</h1>{self._repr_html_()}", PAGE_STYLE)

    def picture(self) -> Image.Image:
        """The sheet as one picture: tiny pictures enlarged by a whole factor, large ones at most
        256 pixels wide and high.
        """
        shots, window, crossing = self.shots(), self.window, self.crossing
        rows = [crossing.labels(crossing.rows)[place] for place in window.rows]
        columns = [crossing.labels(crossing.columns)[place] for place in window.columns]
        tiles = [[shot.tile(self.measure) for _, shot in row] for row in shots]
        sizes = [tile.picture.size for row in tiles for tile in row if tile.picture is not None]
        return montage(rows, columns, tiles, max(sizes, default=(TINY, TINY)), self.caption)

    def save(self, path: str | Path) -> Path:
        """Write the sheet as PNG."""
        return save(path, to_png(self.picture()))

    def to_html(self, path: str | Path) -> Path:
        """Write the page."""
        return write_page(path, self.html())


def _failed(shots: Sequence[Sequence[tuple[Square, Shot]]]) -> str:
    """Why cells failed, in a list."""
    reasons = "".join(
        f"<li>{escape(square.words)}: {escape(shot.reason)}</li>"
        for row in shots
        for square, shot in row
        if shot.reason
    )
    return f"<p>Failed:</p><ul>{reasons}</ul>" if reasons else ""


def contact_sheet(
    sweep: Sweep,
    rows: str | None = None,
    columns: str | None = None,
    *,
    measure: str = "",
    **fixed: Any,
) -> Sheet:
    """The pictures of a sweep by two of its settings; a notebook shows it, `save` writes a PNG and
    `to_html` a page.

    Args:
        rows, columns: settings, see `sweeps.layout.cross`.
        measure: a column of `Sweep.table` that stands under each picture, e.g. "sharpness".
        fixed: values of the other settings, e.g. `seed=7`; the first ones where they are not given.

    Raises:
        ArgumentError: no such setting or value.

    Example:
        >>> import sagviz as sv
        >>> made = sv.sweep(sv.load(), "a fox", seeds=[1, 2], steps=1, progress=False)
        >>> sv.plot.contact_sheet(made, columns="seed")
        <Sheet of 1 x 2 pictures>
    """
    check_kind(
        "sweep", sweep, Sweep, "what sv.sweep returned; sv.Sweep.open('runs') opens a stored one"
    )
    return Sheet(cross(sweep, rows, columns, fixed), measure)
