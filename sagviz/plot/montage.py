"""A table of pictures as one picture: each pixel as it is, words around them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

FONT_FILE = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
LETTERS, SMALL = 15, 13  # pixels of the letters
LETTER_WIDTH = 0.58  # of DejaVu Sans, on the average, in heights
LINE = 1.35  # height of a line, in heights of the letters
GAP = 8  # pixels between pictures
SIDE = 160  # pixels for the words before a row, at most
INK, FRAME, PAPER = "#222222", "#b0b0b0", "white"


@dataclass(frozen=True)
class Tile:
    """A picture, or words in its place, and a line below it."""

    picture: Image.Image | None
    instead: str = ""
    below: str = ""


def montage(
    rows: Sequence[str],
    columns: Sequence[str],
    tiles: Sequence[Sequence[Tile]],
    size: tuple[int, int],
    caption: str = "",
) -> Image.Image:
    """Paste tiles into rows and columns.

    Args:
        rows, columns: the words before each row and above each column; all empty for none.
        tiles: row by row, as many as there are columns.
        size: (width, height) in pixels of a tile's picture.
        caption: above everything.
    """
    width, height = size
    longest = max(map(len, rows), default=0)
    side = min(SIDE, round(longest * LETTER_WIDTH * LETTERS) + GAP) if longest else 0
    heads = [_wrapped(words, width, LETTERS) for words in columns]
    room = side + len(columns) * (width + GAP)
    above = _wrapped(caption, room, LETTERS)
    foot = _tall("x", SMALL) if any(tile.below for row in tiles for tile in row) else 0
    top = GAP + _tall(above, LETTERS) + GAP
    begin = top + max(map(_tall, heads), default=0) + (GAP if any(columns) else 0)
    sheet = Image.new(
        "RGB", (room + 2 * GAP, begin + len(tiles) * (height + foot + GAP) + GAP), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    _write(draw, (GAP, GAP), above, "la")
    for column, words in enumerate(heads):
        _write(draw, (GAP + side + column * (width + GAP) + width // 2, begin - GAP), words, "md")
    for row, (words, line) in enumerate(zip(rows, tiles, strict=True)):
        y = begin + row * (height + foot + GAP)
        _write(draw, (GAP, y + height // 2), _wrapped(words, SIDE - GAP, LETTERS), "lm")
        for column, tile in enumerate(line):
            _paste(sheet, draw, tile, (GAP + side + column * (width + GAP), y), size)
    return sheet


def _paste(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    tile: Tile,
    place: tuple[int, int],
    size: tuple[int, int],
) -> None:
    (x, y), (width, height) = place, size
    if tile.picture is not None:
        sheet.paste(tile.picture, place)
    else:
        draw.rectangle((x, y, x + width - 1, y + height - 1), outline=FRAME)
        lines = _wrapped(tile.instead, width - GAP, SMALL).split("\n")
        fitting = max(1, int((height - GAP) / (SMALL * LINE)))
        _write(draw, (x + width // 2, y + height // 2), "\n".join(lines[:fitting]), "mm", SMALL)
    _write(draw, (x + width // 2, y + height + 1), tile.below, "ma", SMALL)


def _wrapped(words: str, width: int, letters: int) -> str:
    return "\n".join(textwrap.wrap(words, max(6, int(width / (LETTER_WIDTH * letters)))))


def _tall(words: str, letters: int = LETTERS) -> int:
    """Pixels that these lines take."""
    return round((words.count("\n") + 1) * letters * LINE) if words else 0


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    words: str,
    anchor: str,
    letters: int = LETTERS,
) -> None:
    font = ImageFont.truetype(str(FONT_FILE), letters)
    align = "left" if anchor[0] == "l" else "center"
    draw.multiline_text(
        place, words, INK, font, anchor, spacing=letters * (LINE - 1.17), align=align
    )
