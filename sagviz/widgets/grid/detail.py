"""A cell of the Grid, opened: its steps in a Scrubber, or its picture large with its settings in
words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import ipywidgets as W

from sagviz.html import data_uri
from sagviz.models import Model
from sagviz.plot.sheet import MARKS, Shot, measure_words, shoot
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.loop import ended, walk_together
from sagviz.sampling.memory_check import check_memory
from sagviz.sampling.prepare import resume
from sagviz.sweeps.layout import Crossing, Square
from sagviz.sweeps.plan import Cell
from sagviz.widgets.common.parts import Picture, button, close_all, column, flow
from sagviz.widgets.scrubber import Scrubber

LARGE = 384  # CSS pixels of a picture
REMEMBERED = 4  # cells that were run with all their steps


class Opened(W.VBox):
    """What stands below the table.

    Attributes:
        square: the square that is open, or `None`.
        trace: its trace, of this image alone, as far as it is done.
    """

    def __init__(self) -> None:
        self.square: Square | None = None
        self.trace: Trace | None = None
        self.whole: dict[str, Trace] = {}
        self.again = button(
            "Run this cell with all steps",
            "make the cell anew and keep every step, which opens the Scrubber",
        )
        self.again.add_class("sag-whole")
        self.heading, self.body = (
            W.HTML(),
            W.VBox(layout=W.Layout(overflow="visible", width="100%")),
        )
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
        told = (
            ""
            if shot.status == "done"
            else ": ".join(filter(None, [MARKS[shot.status], shot.reason]))
        )
        self.heading.value = (
            f"<h3>{escape(square.words)}</h3>{f'<p>{escape(told)}</p>' if told else ''}"
        )
        if shot.status == "done" and square.cell is not None:
            self.trace = self.whole.get(square.name) or of_image(
                crossing.sweep.store.load(square.cell.key), square.image
            )
            self._present(crossing, square, shot, self.trace)

    def remember(self, square: Square, trace: Trace) -> None:
        """Keep what `run_whole` gave of its cell, in place of the trace in the store."""
        self.whole = {
            **dict(list(self.whole.items())[1 - REMEMBERED :]),
            square.name: of_image(trace, square.image),
        }

    def _present(self, crossing: Crossing, square: Square, shot: Shot, trace: Trace) -> None:
        self.again.layout.display = "none" if len(trace) == trace.evaluations else None
        if len(trace) > 1:
            self._fill(Scrubber(trace))
            return
        height, width = trace.settings.size
        picture = Picture("", LARGE, height / width, sharp=max(height, width) < LARGE / 2)
        picture.show(shot.picture, square.words)
        words = W.HTML(settings_table(crossing, square, shot))
        self._fill(flow(picture, column(words, width="260px")))

    def _fill(self, *children: W.Widget) -> None:
        close_all(self.body.children)
        self.body.children = children


def settings_table(crossing: Crossing, square: Square, shot: Shot) -> str:
    """Settings and measures of a cell, and its picture as a file that carries them."""
    assert square.cell is not None, "only cells that are done have a table"
    shown = crossing.sweep.shown(square.cell)
    rows = {crossing.axes[name].title: value for name, value in shown.items() if value is not None}
    rows |= {measure_words(name): f"{value:.3g}" for name, value in shot.numbers.items()}
    body = "".join(_row(name, value) for name, value in rows.items())
    file = f"sagviz-seed-{square.cell.settings.seed}-{square.cell.key[:8]}.png"
    link = (
        f'<a class="sag-link" download="{file}" href="{data_uri(shot.picture)}">Download'
        " picture</a>"
    )
    return (
        f'<table class="sag-settings"><tbody>{body}</tbody></table><p'
        f' style="margin-top:8px">{link}</p>'
    )


def _row(name: str, value: Any) -> str:
    told = format(value, "g") if isinstance(value, float) else format(value) or "none"
    return (
        '<tr><th scope="row" style="text-align:left;padding:0 16px 0'
        f' 0">{escape(name)}</th><td>{escape(told)}</td></tr>'
    )


def of_image(trace: Trace, image: int) -> Trace:
    """The trace of one image of the batch."""
    steps, pictures = (
        tuple(step.of_image(image) for step in trace),
        trace.pictures[image : image + 1],
    )
    return replace(trace, steps=steps, pictures=pictures)


def run_whole(model: Model, cell: Cell, follow: Callable[[int, int], bool]) -> Trace:
    """Run a cell again and keep all its steps.

    Args:
        follow: told after each step how many are done, of how many; whether to go on. What was done
            is kept.
    """
    run = resume(model, cell.settings)
    check_memory([run], [set(range(run.evaluations))])
    steps: list[Step] = []
    for (step,) in walk_together([run]):
        assert step is not None, "a run of its own ends with its last step"
        steps.append(step)
        if not follow(len(steps), run.evaluations):
            break
    last = steps[-1].x_next
    if len(steps) == run.evaluations and last is not None:
        return ended(run, tuple(steps), last)
    return Trace(run.settings, tuple(steps), run.evaluations, latent_rgb=model.latent_rgb)
