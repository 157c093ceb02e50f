"""`Grid`: the pictures of a sweep by any two of its settings; a click opens a cell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as W

from sagviz.errors import SagvizError
from sagviz.image import to_png
from sagviz.models import Model
from sagviz.plot.sheet import Sheet
from sagviz.plot.shots import MARKS, Shot, shoot
from sagviz.records.trace import Trace
from sagviz.sweeps import Sweep
from sagviz.sweeps.layout import Crossing, Square
from sagviz.widgets.common.controls import action_button
from sagviz.widgets.common.layout import flow, heading, heading_html
from sagviz.widgets.common.still import live
from sagviz.widgets.common.view import View
from sagviz.widgets.grid.detail import Detail
from sagviz.widgets.grid.menus import Menus
from sagviz.widgets.grid.settings import GridSettings
from sagviz.widgets.grid.table import described, picture_table
from sagviz.widgets.grid.work import Work

STATES = {"done": "done", **MARKS}  # of cells, for people


class Grid(View):
    """The pictures of a sweep in rows and columns by any two of its settings, their values in words
    on the axes.

    A click, or Enter on a focused cell, opens it: its steps in a Scrubber where the sweep kept
    them, else its picture with its settings in words. Cells that are missing, that run or that
    failed are marked; with a model they are made here, in a thread.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG, SAG
        >>> model = sv.load()
        >>> guidance = [CFG(3.0) + SAG(s) for s in (0.0, 1.0)]
        >>> sweep = sv.sweep(model, "a fox", steps=2, guidance=guidance, progress=False)
        >>> grid = sv.Grid(sweep, model=model, measure="sharpness", selected=(0, 1))
        >>> grid.columns, grid.opened.trace.settings.guidance
        ('sag_scale', CFG(3.0) + SAG(1.0))
        >>> grid.close()

    Args:
        sweep: of `sv.sweep`, `sv.Sweep.open` or `sagviz.sweeps.begin`; it may still be running in
            another process.
        model: that of the sweep; only to make missing cells, or one with all its steps.
        options: the traits below; without them the two settings with most values are on the axes.

    Attributes:
        rows, columns: `prompt`, `seed`, `steps`, `scheduler`, `guidance` (the whole sum), `image`
            (the number in the batch), or a column of the sweep's table such as `cfg_scale`; "" for
            a single row or column.
        fixed: the values of the other settings, by name (the first ones).
        measure: a measure of the sweep's table that stands under each picture ("").
        page: which part of the rows is shown where not all fit, from 0 (0).
        selected: (row, column) of the cell that is open, from 0, or () (()).
        batch: how many cells run in joint passes (1).
        large: for a projector: text of 18 px, pictures of 480 px (False).
        opened: the cell that is open, its `trace` among its parts.

    Raises:
        ArgumentError: an unknown option, setting or value, or a model with other weights.
    """

    settings_type = GridSettings
    settings: GridSettings

    def __init__(self, sweep: Sweep, model: Model | None = None, **options: Any) -> None:
        super().__init__(sweep, **options)
        self.sweep: Sweep = self.settings.sweep
        self.work = Work(sweep, self.notice)
        self.work.use(model)
        self.worker = self.work.worker
        self._drawn = 0.0
        self._done = False
        self._build()
        self.settings.observe(lambda _: self.refresh(), "revision")
        self.settings.observe(lambda _: self._open(), "selected")
        self.work.observe(lambda change: self._enable() if change.new else self._look(), "busy")
        self.work.observe(lambda change: self._draw_again() if change.new else None, "running")
        self.refresh()
        self._open()

    @property
    def sheet(self) -> Sheet:
        """What is shown, as a contact sheet."""
        return self.settings.sheet

    @property
    def crossing(self) -> Crossing:
        """Which cell stands where."""
        return self.settings.crossing

    def run(self, model: Model | None = None) -> Sweep:
        """Make the missing cells, here and now. The Run button does the same beside the notebook.

        Raises:
            ArgumentError: there is no model, or it has other weights than the sweep's.
        """
        self.work.use(model)
        with self.shown_first():
            self._make(here=True)
        return self.sweep

    def run_whole(self, *, here: bool = True) -> None:
        """Run the open cell with all its steps, here and now, and open the Scrubber on them."""
        square = self.opened.square
        if square is None or square.cell is None:
            raise SagvizError("no cell is open; choose one first")

        def show(trace: Trace) -> None:
            self.opened.remember(square, trace)
            self.opened.show(self.crossing, square)

        self.work.make_whole(square.cell, show, here=here)

    def refresh(self) -> None:
        """Look at the sweep again and show it."""
        self.work.damaged = {}
        self._look()

    def read(self, names: Sequence[str]) -> dict[str, Shot]:
        """The finished pictures among these squares in view, by `Square.name`, as the page asks for
        them; cells that turn out to be damaged are marked.
        """
        wanted, found = set(names), dict[str, Shot]()
        try:
            for square in self._seen():
                if square.name in wanted:
                    shot = shoot(self.sweep, square)
                    if shot.status == "done":
                        found[square.name] = shot
                    elif square.cell is not None:
                        self.work.damaged[square.cell.key] = shot.reason
            if len(found) < len(wanted):
                self._draw()
        # not `guarded`, which clears what is being said: the page asks at any time
        except Exception as error:
            self.notice.fail(error)
        return found

    def to_png(self, path: str | Path) -> Path:
        """Write what is shown as one picture."""
        return self.sheet.save(path)

    def to_html(self, path: str | Path) -> Path:
        """Write what is shown as a page that needs no kernel; `Sweep.to_html` writes all cells with
        their steps.
        """
        return self.sheet.to_html(path)

    def close(self) -> None:
        self.worker.cancel()
        super().close()

    def _build(self) -> None:
        self.menus = Menus(self.settings, self.notice)
        self.table = picture_table(self.read, self._look)
        self.table.observe(lambda change: self._choose(*change.new), "chosen")
        self.opened = Detail(self.notice, lambda: self.run_whole(here=False))
        make = partial(action_button, self.notice)
        missing, stop = "make what is missing, what is in view first", self.worker.cancel
        self.buttons = {
            "run": make("Run missing cells", missing, self._make, "primary"),
            "cancel": make("Cancel", "stop after what is under way; what is done is kept", stop),
            "look": make("Look again", "see what other processes have made", self.refresh),
            "png": make("Download PNG", "the table as one picture", self._save_png),
            "html": make(
                "Download HTML", "the table as a page that needs nothing else", self._save_html
            ),
        }
        self.summary, self.caption = heading("Grid"), live(W.HTML())  # the table's face has it
        buttons = flow(*self.buttons.values())
        head = (self.summary, self.menus, buttons, self.notice, self.work.progress)
        self.fill(*head, self.caption, self.table, self.opened, notice=False)

    def _make(self, *, here: bool = False) -> None:
        seen = [square.cell for square in self._seen()]
        self.work.make(seen, self.settings.batch, here=here)

    def _look(self) -> None:
        self.menus.show()
        found = [self.work.status_of(cell)[0] for cell in self.sweep.cells]
        counts = ", ".join(
            f"{found.count(name)} {words}" for name, words in STATES.items() if name in found
        )
        self.summary.value = heading_html("Grid", f"{len(found)} cells: {counts}.")
        self._done = found.count("done") == len(found)
        self._enable()
        self._draw()

    def _enable(self) -> None:
        """Which buttons can be pressed now."""
        idle = not self.work.busy and self.work.model is not None
        self.buttons["run"].disabled = not idle or self._done
        self.buttons["cancel"].disabled = not self.work.busy
        self.opened.again.disabled = not idle

    def _seen(self) -> list[Square]:
        """The squares in view."""
        window = self.sheet.window
        return [
            self.crossing.square(row, column) for row in window.rows for column in window.columns
        ]

    def _draw(self) -> None:
        """The table as the sweep is now; pictures are read later, when they are looked at."""
        self._drawn = time.monotonic()
        sheet = self.sheet
        self.caption.value = f"<p>{escape(sheet.caption)}</p>"
        self.table.show(sheet, described(sheet, lambda square: self.work.status_of(square.cell)))
        self._mark()

    def _draw_again(self) -> None:
        """Unless the table was drawn a moment ago."""
        if time.monotonic() - self._drawn > self.table.PAUSE:
            self._draw()

    def _choose(self, row: int, column: int) -> None:
        if row >= 0:
            place = (self.sheet.first + row, column)
            self.notice.attempt(lambda: setattr(self.settings, "selected", place))

    def _mark(self) -> None:
        row, column = self.settings.selected or (-1, -1)
        row -= self.sheet.first
        self.table.chosen = [row, column] if row in range(len(self.sheet.window.rows)) else [-1, -1]

    def _open(self) -> None:
        if self.settings.selected:
            with self.notice.guarded():
                self.opened.show(self.crossing, self.crossing.square(*self.settings.selected))
                self._enable()
        self._mark()

    def _save_png(self) -> None:
        self.table.save("sweep.png", "image/png", to_png(self.sheet.picture()))

    def _save_html(self) -> None:
        self.table.save("sweep.html", "text/html", self.sheet.html().encode())
