"""Marks on a picture: the chosen place, cells painted by hand, and how two masks overlap."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from sagviz.image import from_png, to_png

# Okabe & Ito's orange, sky blue and bluish green: distinct for all readers.
ONLY_FIRST = (230, 159, 0)
ONLY_SECOND = (86, 180, 233)
BOTH = (0, 158, 115)
NEITHER = (235, 235, 235)
SIDE = 512  # pixels of the picture that is drawn on
OPACITY = 153  # of 255


def marked(
    content: bytes, grid: tuple[int, int], place: tuple[int, ...] = (), painted: str = ""
) -> bytes:
    """PNG of an encoded picture with the painted cells in orange and a frame around the place.

    Args:
        content: the encoded picture.
        grid: (rows, columns) of cells over it.
        place: (row, column), or nothing.
        painted: 0 and 1 for each cell, row by row.
    """
    rows, columns = grid
    base = (
        from_png(content)
        .convert("RGBA")
        .resize((SIDE, round(SIDE * rows / columns)), Image.Resampling.NEAREST)
    )
    layer = Image.new("RGBA", base.size)
    draw = ImageDraw.Draw(layer)
    for number, cell in enumerate(painted):
        if cell == "1":
            draw.rectangle(
                _corners(base, grid, divmod(number, columns)), fill=(*ONLY_FIRST, OPACITY)
            )
    if place:
        box = _corners(base, grid, (place[0], place[1]))
        for colour, width in (("black", 5), ("white", 2)):
            draw.rectangle(box, outline=colour, width=width)
    return to_png(Image.alpha_composite(base, layer).convert("RGB"))


def overlap(first: Tensor, second: Tensor) -> Image.Image:
    """Two masks (H, W) of 0 and 1 in one picture: orange is the first alone, blue the second alone,
    green both.
    """
    colours = np.array([NEITHER, ONLY_SECOND, ONLY_FIRST, BOTH], np.uint8)
    return Image.fromarray(colours[(2 * first.bool().int() + second.bool().int()).numpy()])


def _corners(base: Image.Image, grid: tuple[int, int], cell: tuple[int, int]) -> list[float]:
    height, width = base.height / grid[0], base.width / grid[1]
    return [
        cell[1] * width,
        cell[0] * height,
        (cell[1] + 1) * width - 1,
        (cell[0] + 1) * height - 1,
    ]
