"""A sweep on one sheet: pictures in rows and columns with their settings in words, as a fragment, a
page or a PNG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from sagviz.errors import ArgumentError, TraceError
from sagviz.files import write_whole
from sagviz.guidance import title_of
from sagviz.html import data_uri
from sagviz.image import enlarge, from_png, to_png, to_webp
from sagviz.plot.display import FONT
from sagviz.plot.montage import Tile, montage
from sagviz.sweeps import Sweep
from sagviz.sweeps.cell_file import measures
from sagviz.sweeps.layout import Crossing, Square, cross
from sagviz.sweeps.plan import Cell

MARKS = {"pending": "not run yet", "running": "running", "failed": "failed", "absent": "–"}
TINY = 128  # pixels; smaller pictures keep their pixels, and show them as squares
LONGEST = 256  # pixels of a picture on the sheet
LIMIT = 400  # pictures on one sheet
WIDEST = 40  # columns
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PAGE_STYLE = (
    ":root{color-scheme:light"
    " dark}body{font-family:system-ui,sans-serif;margin:16px;line-height:1.4}h1{font-size:20px}"
)

WIDTH = 128  # CSS pixels of a picture
HEAD = "font-weight:600;font-size:13px;text-align:center;vertical-align:bottom;padding:2px 4px"
SIDE = (
    "font-weight:600;font-size:13px;text-align:left;vertical-align:middle;padding:2px 6px 2px"
    " 0;max-width:140px;min-width:64px;"
    "white-space:normal;position:sticky;left:0;background:var(--jp-layout-color0,Canvas)"
)
CELL = "padding:0;vertical-align:top"
PICTURE = (
    f"width:{WIDTH}px;min-width:{WIDTH}px;height:auto;display:block;border-radius:3px;margin:0;"
)
BLANK = (
    f"width:{WIDTH}px;min-width:{WIDTH}px;display:flex;align-items:center;justify-content:center;box-sizing:border-box;"
    "font-size:12px;border-radius:3px;"
)


@dataclass(frozen=True)
class Shot:
    """What there is of a square now: its status, why it failed, its picture as PNG and its
    measures.
    """

    status: str
    reason: str = ""
    picture: bytes = b""
    numbers: Mapping[str, float] = field(default_factory=dict)


def shoot(sweep: Sweep, square: Square) -> Shot:
    """Read a square from the store; a damaged cell counts as failed."""
    if square.cell is None:
        return Shot("absent")
    status = sweep.status(square.cell)
    if status != "done":
        return Shot(status, reason_of(sweep, square.cell) if status == "failed" else "")
    try:
        trace = sweep.store.load(square.cell.key)
    except TraceError as error:
        return Shot("failed", str(error))
    return Shot("done", "", trace.pictures[square.image], measures(trace)[square.image])


def reason_of(sweep: Sweep, cell: Cell) -> str:
    """Why a cell failed, as far as it is known."""
    failure = sweep.store.failure(cell.key)
    return failure.error if failure else ""


def thumbnail(picture: bytes, longest: int = LONGEST) -> bytes:
    """A small picture for a page: the very pixels of a tiny one, else WebP."""
    image = from_png(picture)
    return to_png(image) if max(image.size) <= TINY else to_webp(image, longest)


def is_tiny(small: bytes) -> bool:
    """Whether a thumbnail's pixels are to be shown as squares."""
    return small[:2] == b"\x89P"


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
        shots = self.shots()
        columns = self.crossing.labels(self.crossing.columns)
        rows = self.crossing.labels(self.crossing.rows)
        head = "".join(
            f'<th scope="col" style="{HEAD}">{escape(columns[place])}</th>'
            for place in self.window.columns
        )
        body = "".join(
            '<tr><th scope="row"'
            f' style="{SIDE}">{escape(rows[place])}</th>{"".join(map(self._place, row))}</tr>'
            for place, row in zip(self.window.rows, shots, strict=True)
        )
        failed = "".join(
            f"<li>{escape(square.words)}: {escape(shot.reason)}</li>"
            for row in shots
            for square, shot in row
            if shot.reason
        )
        reasons = f"<p>Failed:</p><ul>{failed}</ul>" if failed else ""
        return (
            f'<div style="{FONT}"><p style="margin:0 0 6px">{escape(self.caption)}</p>'
            '<div style="overflow-x:auto;max-width:100%" tabindex="0" role="group"'
            ' aria-label="pictures of the sweep">'
            '<table style="border-collapse:separate;border-spacing:4px;width:auto;margin:0">'
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>{reasons}</div>"
        )

    def html(self) -> str:
        """A page of its own: no script, nothing that is fetched."""
        title = f"Sweep of {len(self.crossing.sweep)} cells"
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon"'
            ' href="data:,">'
            f"<title>{title}: sagviz</title><style>{PAGE_STYLE}</style></head>\n"
            f"<body><main><h1>{title}</h1>{self._repr_html_()}</main></body></html>\n"
        )

    def picture(self) -> Image.Image:
        """The sheet as one picture: tiny pictures enlarged by a whole factor, large ones at most
        256 pixels wide and high.
        """
        shots, window, crossing = self.shots(), self.window, self.crossing
        rows = [crossing.labels(crossing.rows)[place] for place in window.rows]
        columns = [crossing.labels(crossing.columns)[place] for place in window.columns]
        tiles = [[self._tile(shot) for _, shot in row] for row in shots]
        sizes = [tile.picture.size for row in tiles for tile in row if tile.picture is not None]
        return montage(rows, columns, tiles, max(sizes, default=(TINY, TINY)), self.caption)

    def save(self, path: str | Path) -> Path:
        """Write the sheet as PNG."""
        return _write(path, to_png(self.picture()))

    def to_html(self, path: str | Path) -> Path:
        """Write the page."""
        return _write(path, self.html().encode())

    def _tile(self, shot: Shot) -> Tile:
        if shot.status != "done":
            return Tile(None, ": ".join(filter(None, [MARKS[shot.status], shot.reason])))
        return Tile(
            enlarge(from_png(thumbnail(shot.picture)), TINY),
            below=number(shot.numbers, self.measure),
        )

    def _place(self, place: tuple[Square, Shot]) -> str:
        square, shot = place
        if shot.status != "done":
            words = escape(
                ": ".join(filter(None, [square.words, MARKS[shot.status], shot.reason])), quote=True
            )
            mark = "" if shot.status == "absent" else "border:1px dashed currentColor;"
            height, width = self.crossing.sweep.plan.size
            style = f"{BLANK}{mark}aspect-ratio:{width}/{height}"
            return (
                f'<td style="{CELL}"><div title="{words}"'
                f' style="{style}">{MARKS[shot.status]}</div></td>'
            )
        small = thumbnail(shot.picture)
        sharp = "image-rendering:pixelated" if is_tiny(small) else ""
        told = number(shot.numbers, self.measure)
        below = (
            f'<div style="font-size:12px;text-align:center">{escape(told)}</div>' if told else ""
        )
        alt = escape(square.words, quote=True)
        return (
            f'<td style="{CELL}"><img src="{data_uri(small)}" alt="{alt}" title="{alt}"'
            f' style="{PICTURE}{sharp}">{below}</td>'
        )


def number(numbers: Mapping[str, float], measure: str) -> str:
    """A measure as it stands under a picture; nothing where the run has it not."""
    return f"{numbers[measure]:.3g}" if measure in numbers else ""


def measure_words(name: str) -> str:
    """What a measure is called: "sharpness", "CFG equivalent"; "SAG" is the length of that term."""
    return " ".join(title_of(part) for part in name.split("_"))


def _write(path: str | Path, content: bytes) -> Path:
    try:
        return write_whole(path, content)
    except OSError as error:
        raise ArgumentError(
            f"cannot write {path}: {error.strerror}; give a folder that exists"
        ) from error


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
        rows, columns: settings, see `crossing.cross`.
        measure: a column of `Sweep.table` that stands under each picture, e.g. "sharpness".
        fixed: values of the other settings, e.g. `seed=7`; the first ones where they are not given.

    Raises:
        ArgumentError: no such setting or value.
    """
    return Sheet(cross(sweep, rows, columns, fixed), measure)
