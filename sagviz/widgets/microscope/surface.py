"""A picture that can be pointed at and painted on, cell by cell, where anywidget is installed;
elsewhere it only shows both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets
from PIL import Image

from sagviz.image import enlarge
from sagviz.plot import Panel
from sagviz.plot.marks import marked
from sagviz.widgets.common.optional import anywidget
from sagviz.widgets.common.picture import image_tag

HERE = Path(__file__).parent
HINTS = {
    "point": "Click a place, or move it with the arrow keys.",
    "paint": "Draw with the pointer; with the keyboard, arrow keys move and the space bar paints.",
}
SIDE = 128  # least pixels of the picture that is pointed at
EMPTY = b"\x89PNG"


class Marks(traitlets.HasTraits):
    """What both kinds of surface share: a grid over a picture, a place in it, and cells that are
    painted.
    """

    picture = traitlets.Bytes(EMPTY, help="the encoded picture").tag(sync=True)
    alt = traitlets.Unicode("", help="what is to be seen").tag(sync=True)
    hint = traitlets.Unicode("", help="how it is used").tag(sync=True)
    mode = traitlets.Enum(
        list(HINTS), "point", help="whether the pointer chooses a place or paints"
    ).tag(sync=True)
    rows = traitlets.Int(1, help="cells from top to bottom").tag(sync=True)
    columns = traitlets.Int(1, help="cells from left to right").tag(sync=True)
    place = traitlets.List(
        traitlets.Int(), help="[row, column] of the chosen cell, or nothing"
    ).tag(sync=True)
    painted = traitlets.Unicode("", help="0 and 1 for each cell, row by row").tag(sync=True)
    brush = traitlets.Int(1, help="side of the brush in cells").tag(sync=True)
    erase = traitlets.Bool(False, help="whether the brush takes away").tag(sync=True)

    def static_html(self) -> str:
        """The picture with its marks drawn into it."""
        if self.picture == EMPTY:
            return ""
        size, place = (self.rows, self.columns), tuple(self.place)
        content = marked(self.picture, size, place, self.painted)
        return image_tag(
            content, self.alt, "width:260px;max-width:100%;display:block;image-rendering:pixelated"
        )


class PlainSurface(W.HTML, Marks):
    """The picture with its marks drawn into it, for notebooks without anywidget."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.observe(self._draw, names=["picture", "alt", "place", "painted"])
        self.add_class("sag-surface-plain")

    def _draw(self, _: object) -> None:
        self.value = self.static_html()


if anywidget is not None:

    class Surface(anywidget.AnyWidget, Marks):
        """The picture with a canvas over it."""

        # as text: anywidget watches files, and its watcher keeps the widget in memory
        _esm = (HERE / "surface.js").read_text(encoding="utf-8")
        _css = (HERE / "surface.css").read_text(encoding="utf-8")


def enlarged(panel: Panel) -> Image.Image:
    """Its picture, large enough to be pointed at; a surface keeps pixels square."""
    if panel.sharp:
        return enlarge(panel.image, SIDE)
    factor = max(1, -(-2 * SIDE // min(panel.image.size)))
    size = (panel.image.width * factor, panel.image.height * factor)
    return panel.image.resize(size, Image.Resampling.BICUBIC)


def surface(mode: str, rows: int, columns: int) -> Any:
    """A surface of the kind that works here, in its size on the page."""
    kind = PlainSurface if anywidget is None else Surface
    made = kind(
        mode=mode,
        rows=rows,
        columns=columns,
        hint=HINTS[mode],
        painted="0" * (rows * columns),
        layout=W.Layout(width="260px", max_width="100%", margin="0"),
    )
    made.add_class("sag-pointed")
    return made
