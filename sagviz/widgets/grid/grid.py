"""`Grid`: the pictures of a sweep by any two of its settings; a click opens a cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as W

from sagviz.errors import ArgumentError, SagvizError
from sagviz.image import to_png
from sagviz.models import Model
from sagviz.plot.shots import MARKS, Shot, reason_of, shoot
from sagviz.sweeps import Sweep
from sagviz.sweeps.fingerprint import fingerprint
from sagviz.sweeps.plan import Cell
from sagviz.widgets.common.parts import Whole, flow
from sagviz.widgets.common.worker import Worker
from sagviz.widgets.grid.axes import Crossed
from sagviz.widgets.grid.detail import Opened, run_whole
from sagviz.widgets.grid.table import board, described
from sagviz.widgets.playground.pictures import duration

STATES = {"done": "done", **MARKS}  # of cells, for people
STILL = 60  # pictures where there are no widgets: notebooks carry every output


class Grid(Crossed):
    """The pictures of a sweep in rows and columns by any two of its settings, their values in words
    on the axes.

    A click, or Enter on a focused cell, opens it: its steps in a Scrubber where the sweep kept
    them, else its picture with its settings in words. Cells that are missing, that run or that
    failed are marked; with a model they are made here, in a thread.

    Example:
        grid = sv.Grid(sweep, model=model, rows="prompt", columns="cfg_scale", measure="sharpness")

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

    Raises:
        ArgumentError: an unknown option, setting or value, or a model with other weights.
    """

    batch = Whole(
        1,
        min=1,
        max=4096,
        help="cells in joint passes: 1 shows each as it comes, more are quicker on a GPU (1)",
    )

    def __init__(self, sweep: Sweep, model: Model | None = None, **options: Any) -> None:
        self.worker = Worker()
        super().__init__(sweep, **options)
        self.model: Model | None = None
        self._use(model)
        self._running: frozenset[str] = frozenset()
        self._damaged: dict[str, str] = {}
        self._drawn = self._began = 0.0
        self._busy = self._done = False
        self._build()
        self._held = False
        self.observe(self._open, "selected")
        self.refresh()
        self._open()

    def run(self, model: Model | None = None) -> Sweep:
        """Make the missing cells, here and now. The Run button does the same beside the notebook.

        Raises:
            ArgumentError: there is no model, or it has other weights than the sweep's.
        """
        self._use(model)
        self._start(self._make_missing, here=True)
        return self.sweep

    def run_whole(self) -> None:
        """Run the open cell again with all its steps, here and now, and open them in the Scrubber."""
        self._start(self._make_whole, here=True)

    def refresh(self) -> None:
        """Look at the sweep again and show it."""
        self._damaged = {}
        self._look()

    def _look(self) -> None:
        self.offer_measures()
        found = [self._status(cell)[0] for cell in self.sweep.cells]
        told = ", ".join(
            f"{found.count(name)} {words}" for name, words in STATES.items() if name in found
        )
        self.summary.value = f"<h3>Grid</h3><p>{len(found)} cells: {told}.</p>"
        self._done = found.count("done") == len(found)
        self._enable()
        self._draw()

    def to_png(self, path: str | Path) -> Path:
        """Write what is shown as one picture."""
        return self.sheet.save(path)

    def to_html(self, path: str | Path) -> Path:
        """Write what is shown as a page that needs no kernel; `Sweep.to_html` writes all cells with
        their steps.
        """
        return self.sheet.to_html(path)

    def static_html(self) -> str:
        return replace(self.sheet, limit=STILL)._repr_html_()

    def close(self) -> None:
        self.worker.cancel()
        super().close()

    def _build(self) -> None:
        self.board = board(self._read, self._look)
        self.board.observe(self._chosen, "chosen")
        self.opened = Opened()
        self.opened.again.on_click(lambda _: self._try(lambda: self._start(self._make_whole)))
        self.buttons = {
            "run": self._button(
                "Run missing cells",
                "make what is missing, what is in view first",
                self._launch,
                "primary",
            ),
            "cancel": self._button(
                "Cancel", "stop after what is under way; what is done is kept", self.worker.cancel
            ),
            "look": self._button("Look again", "see what other processes have made", self.refresh),
            "png": self._button(
                "Download PNG", "the table as one picture", lambda: self._save("png")
            ),
            "html": self._button(
                "Download HTML",
                "the table as a page that needs nothing else",
                lambda: self._save("html"),
            ),
        }
        self.summary, self.caption, self.status = W.HTML(), W.HTML(), W.HTML()
        self.status.add_class("sag-status")
        self.bar = W.IntProgress(min=0, max=1, layout=W.Layout(width="200px", height="12px"))
        self.progress = flow(self.bar, self.status)
        self.progress.layout.display = "none"
        buttons = flow(*self.buttons.values())
        self.fill(
            self.summary,
            self.menus(),
            buttons,
            self.progress,
            self.caption,
            self.board,
            self.opened,
        )

    def _enable(self) -> None:
        """Which buttons can be pressed now."""
        busy = self._busy
        self.buttons["run"].disabled = busy or self.model is None or self._done
        self.buttons["cancel"].disabled = not busy
        self.opened.again.disabled = busy or self.model is None

    # The table

    def _draw(self) -> None:
        """The table as the sweep is now; pictures are read later, when they are looked at."""
        self._drawn = time.monotonic()
        sheet = self.sheet
        self.caption.value = f"<p>{escape(sheet.caption)}</p>"
        self.board.show(sheet, described(sheet, lambda square: self._status(square.cell)))
        self._mark()

    def _status(self, cell: Cell | None) -> tuple[str, str]:
        """Of a cell, and why it failed."""
        if cell is None:
            return "absent", ""
        if cell.key in self._running:
            return "running", ""
        if cell.key in self._damaged:
            return "failed", self._damaged[cell.key]
        status = self.sweep.status(cell)
        return status, reason_of(self.sweep, cell) if status == "failed" else ""

    def _read(self, names: Sequence[str]) -> dict[str, Shot]:
        """The pictures that the page asks for; cells that turn out to be damaged are marked."""
        wanted, found = set(names), dict[str, Shot]()
        try:
            window = self.sheet.window
            squares = [
                self.crossing.square(row, column)
                for row in window.rows
                for column in window.columns
            ]
            for square in squares:
                if square.name in wanted:
                    shot = shoot(self.sweep, square)
                    if shot.status == "done":
                        found[square.name] = shot
                    elif square.cell is not None:
                        self._damaged[square.cell.key] = shot.reason
            if len(found) < len(wanted):
                self._draw()
        # not `guarded`, which clears what is being said: the page asks at any time
        except Exception as error:
            self.notice.fail(error)
        return found

    def _chosen(self, change: Any) -> None:
        row, column = change.new
        if row >= 0:
            self._try(lambda: self.set_trait("selected", (self.sheet.first + row, column)))

    def _mark(self) -> None:
        row, column = self.selected or (-1, -1)
        row -= self.sheet.first
        self.board.chosen = [row, column] if row in range(len(self.sheet.window.rows)) else [-1, -1]

    def _open(self, _: object = None) -> None:
        if self.selected and not self._held:
            with self.guarded():
                self.opened.show(self.crossing, self.crossing.square(*self.selected))
                self._enable()
        self._mark()

    def _save(self, ending: str) -> None:
        if ending == "png":
            self.board.save("sweep.png", "image/png", to_png(self.sheet.picture()))
        else:
            self.board.save("sweep.html", "text/html", self.sheet.html().encode())

    # Work

    def _use(self, model: Model | None) -> None:
        if (
            model is not None
            and fingerprint(model, self.sweep.plan.guidance) != self.sweep.plan.weights
        ):
            raise ArgumentError(
                f"{model.name} has other weights than {self.sweep.plan.model}, which this sweep is"
                " of; load those"
            )
        self.model = model or self.model

    def _launch(self) -> None:
        self._start(self._make_missing)

    def _start(self, work: Callable[[Model], None], *, here: bool = False) -> None:
        """Do work that needs the model: here, or in the thread, which shows its errors."""
        model = self.model
        if model is None:
            raise ArgumentError(
                "there is no model to run cells with; give it to Grid(sweep, model=model) or to"
                " grid.run(model)"
            )
        self.worker.start(lambda: self._work(lambda: work(model), here), here=here)

    def _work(self, work: Callable[[], None], here: bool) -> None:
        self._began, self._busy = time.monotonic(), True
        self.progress.layout.display = None
        self._enable()
        try:
            work()
        except Exception as error:
            if here:
                raise
            self.notice.fail(error)
        finally:
            self._busy, self._running = False, frozenset()
            self._look()

    def _make_missing(self, model: Model) -> None:
        """Cell by cell, those in view first."""
        self._damaged = {}
        window = self.sheet.window
        seen = {
            self.crossing.square(row, column).cell
            for row in window.rows
            for column in window.columns
        }
        left = sorted(self.sweep.missing(), key=lambda cell: cell not in seen)
        total = len(left)
        self._await(left)
        self._follow(0, total, "cells")
        for done, cell in enumerate(self.sweep.run(model, cells=tuple(left), batch=self.batch), 1):
            left.remove(cell)
            self._await(left)
            if not self._follow(done, total, "cells"):
                break

    def _await(self, left: Sequence[Cell]) -> None:
        """Mark what is under way, unless the table was drawn a moment ago."""
        self._running = frozenset(cell.key for cell in left[: self.batch])
        if time.monotonic() - self._drawn > self.board.PAUSE:
            self._draw()

    def _make_whole(self, model: Model) -> None:
        square = self.opened.square
        if square is None or square.cell is None:
            raise SagvizError("no cell is open; choose one first")
        trace = run_whole(
            model, square.cell, lambda done, total: self._follow(done, total, "steps")
        )
        self.opened.remember(square, trace)
        self.opened.show(self.crossing, square)

    def _follow(self, done: int, total: int, unit: str) -> bool:
        """Show how far the work is; whether to go on."""
        spent, stopped = time.monotonic() - self._began, self.worker.stop.is_set()
        self.bar.max, self.bar.value = max(1, total), done
        if done == total:
            told = f", {duration(spent)}"
        elif stopped:
            told = ", stopped"
        else:
            told = f", {duration(spent / done * (total - done))} left" if done else ""
        self.status.value = f'<span role="status">{done} of {total} {unit}{told}</span>'
        return not stopped
