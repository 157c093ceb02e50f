"""A cell of the Grid, opened: its steps in a Scrubber, or its picture large with its settings in
words.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as W

from sagviz.describe import file_stem
from sagviz.html import link, table
from sagviz.plot.shots import Shot, measure_words, shoot
from sagviz.records.trace import Trace
from sagviz.sweeps.layout import Crossing, Square
from sagviz.widgets.common.controls import action_button
from sagviz.widgets.common.layout import close_all, column, flow
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.scrubber.scrubber import Scrubber

LARGE = 384  # CSS pixels of a picture
REMEMBERED = 4  # cells that were run with all their steps


class Detail(W.VBox):
    """What stands below the table.

    Args:
        notice: where errors are shown.
        run_whole: makes the open cell with all its steps.

    Attributes:
        square: the square that is open, or `None`.
        trace: its trace, of this image alone, as far as it is done.
    """

    def __init__(self, notice: Notice, run_whole: Callable[[], None]) -> None:
        self.square: Square | None = None
        self.trace: Trace | None = None
        self.whole: dict[str, Trace] = {}
        self.again = action_button(
            notice,
            "Run this cell with all steps",
            "make the cell anew and keep every step, which opens the Scrubber",
            run_whole,
        )
        self.again.add_class("sag-whole")
        self.heading = W.HTML()
        self.body = W.VBox(layout=W.Layout(overflow="visible", width="100%"))
        super().__init__(
            [self.heading, flow(self.again), self.body],
            layout=W.Layout(overflow="visible", grid_gap="8px"),
        )
        self.add_class("sag-opened")
        self.clear()

    def clear(self) -> None:
        """Nothing is open."""
        self.square = self.trace = None
        self.heading.value, self.again.layout.display = "", "none"
        self._fill()

    def show(self, crossing: Crossing, square: Square) -> None:
        """Open a square."""
        self.clear()
        self.square = square
        shot = shoot(crossing.sweep, square)
        done = shot.status == "done"
        below = "" if done else f"<p>{escape(shot.mark)}</p>"
        self.heading.value = f"<h3>{escape(square.words)}</h3>{below}"
        if done and square.cell is not None:
            stored = crossing.sweep.store.load(square.cell.key).of_image(square.image)
            self.trace = self.whole.get(square.name, stored)
            self._present(crossing, square, shot, self.trace)

    def remember(self, square: Square, trace: Trace) -> None:
        """Keep the whole run of its cell, in place of the trace in the store."""
        newest = list(self.whole.items())[1 - REMEMBERED :]
        self.whole = {**dict(newest), square.name: trace.of_image(square.image)}

    def _present(self, crossing: Crossing, square: Square, shot: Shot, trace: Trace) -> None:
        self.again.layout.display = "none" if len(trace) == trace.evaluations else None
        if len(trace) > 1:
            self._fill(Scrubber(trace))
            return
        height, width = trace.settings.size
        picture = Picture("", LARGE, height / width)
        picture.show(shot.picture, square.words)
        words = W.HTML(settings_table(crossing, square, shot))
        self._fill(flow(picture, column(words, width="260px")))

    def _fill(self, *children: W.Widget) -> None:
        close_all(self.body.children)
        self.body.children = children


def settings_table(crossing: Crossing, square: Square, shot: Shot) -> str:
    """Settings and measures of a cell, and its picture as a file that carries them."""
    assert square.cell is not None, "only cells that are done have a table"
    settings = square.cell.settings.of_image(square.image)
    shown = {**crossing.sweep.shown(square.cell), "seed": settings.seed}
    rows = {
        crossing.axes[name].title: _words(value)
        for name, value in shown.items()
        if value is not None
    }
    rows |= {measure_words(name): f"{value:.3g}" for name, value in shot.numbers.items()}
    file = f"{file_stem(settings)}.png"
    download = link(shot.picture, "image/png", file, "Download picture")
    return f'{table(rows.items(), class_="sag-settings")}<p class="sag-download">{download}</p>'


def _words(value: Any) -> str:
    return format(value, "g") if isinstance(value, float) else format(value) or "none"
