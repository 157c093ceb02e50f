"""A table of pictures to choose from: with anywidget each is a button, and sent when it is looked
at; else a plain table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.html import data_uri, link
from sagviz.plot.sheet import Sheet
from sagviz.plot.shots import MARKS, Shot, number, thumbnail
from sagviz.sweeps.layout import Square
from sagviz.widgets.common.controls import button, labelled
from sagviz.widgets.common.layout import flow
from sagviz.widgets.common.optional import anywidget

HERE = Path(__file__).parent
SIDES = ((3, 192), (6, 128), (10**6, 96))  # pixels of a picture, for so many columns at the most
STILL = 60  # pictures where there are no widgets: notebooks carry every output


class TableTraits(traitlets.HasTraits):
    """What both kinds of table share."""

    shown: Sheet | None = None  # the table that is shown

    table = traitlets.Dict(help="labels and squares, without their pictures").tag(sync=True)
    chosen = traitlets.List(
        traitlets.Int(), [-1, -1], help="row and column that were chosen, on this table"
    ).tag(sync=True)
    measure = traitlets.Unicode("", help="the measure under each picture").tag(sync=True)

    def static_html(self) -> str:
        return "" if self.shown is None else replace(self.shown, limit=STILL)._repr_html_()


def described(sheet: Sheet, status: Callable[[Square], tuple[str, str]]) -> dict[str, Any]:
    """A sheet for the page: labels, and of each square its words and how far it is. No picture is
    read for it.
    """
    crossing, window = sheet.crossing, sheet.window
    rows, columns = crossing.labels(crossing.rows), crossing.labels(crossing.columns)
    squares = [crossing.square(row, column) for row in window.rows for column in window.columns]
    height, width = crossing.sweep.plan.size
    return {
        "rows": [rows[row] for row in window.rows],
        "columns": [columns[column] for column in window.columns],
        "ratio": f"{width} / {height}",
        "side": f"{next(side for most, side in SIDES if len(window.columns) <= most)}px",
        "squares": [_described(square, *status(square)) for square in squares],
    }


def _described(square: Square, status: str, reason: str) -> dict[str, str]:
    return {
        "id": square.name,
        "words": square.words,
        "status": status,
        "reason": reason,
        "mark": MARKS.get(status, ""),
    }


class PlainTable(W.VBox, TableTraits):
    """The table as it is exported, and two menus to choose from it, for notebooks without
    anywidget.
    """

    PAUSE = 2.0  # seconds between two looks at a sweep that runs: all pictures are sent anew

    def __init__(
        self, read: Callable[[Sequence[str]], dict[str, Shot]], look: Callable[[], None]
    ) -> None:
        del read, look  # the sheet reads for itself, and cannot ask
        self.sheet, self.link = W.HTML(), W.HTML()
        self.menus = [
            labelled(W.Dropdown(description=name), f"{name} of the cell to open", "300px")
            for name in ("Row", "Column")
        ]
        self.go = button("Open this cell", "show its steps below")
        self.go.on_click(lambda _: self._choose())
        super().__init__([self.sheet, flow(*self.menus, self.go), self.link])

    def show(self, sheet: Sheet, table: dict[str, Any]) -> None:
        """Draw the table."""
        self.shown, self.sheet.value = sheet, sheet._repr_html_()
        for menu, labels in zip(self.menus, (table["rows"], table["columns"]), strict=True):
            if [label for label, _ in menu.options] != labels:
                menu.options = [(label, place) for place, label in enumerate(labels)]
        self.table = table

    def save(self, name: str, kind: str, content: bytes) -> None:
        """Offer a file behind a link."""
        self.link.value = link(content, kind, name, f"Download {name}")

    def _choose(self) -> None:
        self.chosen = [menu.value for menu in self.menus]


if anywidget is not None:

    class Table(anywidget.AnyWidget, TableTraits):
        """A table of buttons, each with its picture, which the page asks for when it comes into
        view.
        """

        PAUSE = 0.25

        # as text: anywidget watches files, and its watcher keeps the widget in memory
        _esm = (HERE / "table.js").read_text(encoding="utf-8")
        _css = (HERE / "table.css").read_text(encoding="utf-8")

        def __init__(
            self, read: Callable[[Sequence[str]], dict[str, Shot]], look: Callable[[], None]
        ) -> None:
            super().__init__()
            self._read, self._look = read, look
            self.on_msg(self._hear)

        def show(self, sheet: Sheet, table: dict[str, Any]) -> None:
            """Draw the table."""
            self.shown, self.measure, self.table = sheet, sheet.measure, table

        def save(self, name: str, kind: str, content: bytes) -> None:
            """Let the page save a file."""
            self.send({"save": name, "type": kind}, [content])

        def _hear(self, _: object, message: dict[str, Any], __: object) -> None:
            """The page asks for pictures, or for another look at cells that run elsewhere."""
            if message.get("look"):
                self._look()
            elif message.get("want"):
                found = self._read(message["want"])
                self.send({"pictures": {name: _sent(shot) for name, shot in found.items()}})


def _sent(shot: Shot) -> dict[str, Any]:
    small = thumbnail(shot.picture)
    numbers = {name: number(shot.numbers, name) for name in shot.numbers}
    return {"address": data_uri(small), "numbers": numbers}


def picture_table(
    read: Callable[[Sequence[str]], dict[str, Shot]], look: Callable[[], None]
) -> Any:
    """A table of the kind that works here.

    Args:
        read: the finished squares among these, by `Square.name`.
        look: looks at the sweep again.
    """
    return (PlainTable if anywidget is None else Table)(read, look)
