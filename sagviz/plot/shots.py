"""What a sweep has of a place of its grid now: status, picture, measures, and these as HTML or as a
tile of a picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from sagviz.errors import TraceError
from sagviz.guidance import title_of
from sagviz.html import img
from sagviz.image import enlarge, from_file, from_png, to_png, to_webp
from sagviz.plot.montage import Tile
from sagviz.sweeps import Sweep
from sagviz.sweeps.cell_file import measures
from sagviz.sweeps.layout import Square
from sagviz.sweeps.plan import Cell

MARKS = {"pending": "not run yet", "running": "running", "failed": "failed", "absent": "–"}
TINY = 128  # pixels; smaller pictures keep their pixels
LONGEST = 256  # pixels of a picture on the sheet
WIDTH = 128  # CSS pixels of a picture
ROOM = f"width:{WIDTH}px;min-width:{WIDTH}px;border-radius:3px"
PICTURE = f"{ROOM};height:auto;display:block;margin:0"
BLANK = (
    f"{ROOM};display:flex;align-items:center;justify-content:center;box-sizing:border-box;"
    "font-size:12px"
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

    @property
    def mark(self) -> str:
        """What stands in place of a picture that is not there."""
        return ": ".join(filter(None, [MARKS[self.status], self.reason]))

    def tile(self, measure: str) -> Tile:
        """For a sheet that is one picture; tiny pictures are enlarged by a whole factor."""
        if self.status != "done":
            return Tile(None, self.mark)
        picture = enlarge(from_file(io.BytesIO(thumbnail(self.picture))), TINY)
        return Tile(picture, below=number(self.numbers, measure))

    def html(self, square: Square, measure: str, size: tuple[int, int]) -> str:
        """For a sheet that is a table; `size` is (height, width) of a picture in pixels."""
        if self.status != "done":
            return self._blank(square, size)
        small = thumbnail(self.picture)
        picture = img(small, square.words, title=square.words, style=PICTURE)
        words = number(self.numbers, measure)
        below = f'<div style="font-size:12px;text-align:center">{words}</div>' if words else ""
        return f"{picture}{below}"

    def _blank(self, square: Square, size: tuple[int, int]) -> str:
        words = escape(": ".join(filter(None, [square.words, self.mark])), quote=True)
        border = "" if self.status == "absent" else ";border:1px dashed currentColor"
        style = f"{BLANK}{border};aspect-ratio:{size[1]}/{size[0]}"
        return f'<div title="{words}" style="{style}">{MARKS[self.status]}</div>'


def shoot(sweep: Sweep, square: Square) -> Shot:
    """Read a square from the store; a damaged cell counts as failed."""
    if square.cell is None:
        return Shot("absent")
    status, reason = status_of(sweep, square.cell)
    if status != "done":
        return Shot(status, reason)
    try:
        trace = sweep.store.load(square.cell.key)
    except TraceError as error:
        return Shot("failed", str(error))
    return Shot("done", "", trace.pictures[square.image], measures(trace)[square.image])


def status_of(sweep: Sweep, cell: Cell) -> tuple[str, str]:
    """How far a cell is, and why it failed, as far as that is known."""
    status = sweep.status(cell)
    failure = sweep.store.failure(cell.key) if status == "failed" else None
    return status, failure.error if failure else ""


def thumbnail(picture: bytes, longest: int = LONGEST) -> bytes:
    """A small picture for a page: the very pixels of a tiny one, else WebP."""
    image = from_png(picture)
    return to_png(image) if max(image.size) <= TINY else to_webp(image, longest)


def number(numbers: Mapping[str, float], measure: str) -> str:
    """A measure as it stands under a picture; nothing where the run has it not."""
    return f"{numbers[measure]:.3g}" if measure in numbers else ""


def measure_words(name: str) -> str:
    """What a measure is called: "sharpness", "CFG equivalent"; "SAG" is the length of that term."""
    return " ".join(title_of(part) for part in name.split("_"))
