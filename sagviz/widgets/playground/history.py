"""The last runs as small pictures; a click brings one back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from html import escape

import ipywidgets as W

from sagviz.widgets.common.controls import action_button
from sagviz.widgets.common.layout import flow
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import image_tag
from sagviz.widgets.playground.pictures import Made

LENGTH = 8  # runs
MAX_BYTES = 2**30  # of steps in all of them; older runs lose theirs first


class History(W.VBox):
    """The last runs, newest first. Its places are made once and filled again, because widgets stay
    in memory.

    Args:
        notice: where errors are shown.
        pick: what to do with the run that is clicked.
    """

    def __init__(self, notice: Notice, pick: Callable[[Made], None]) -> None:
        self.runs: deque[Made] = deque(maxlen=LENGTH)
        self.places = [_Place(notice, partial(self._pick, number)) for number in range(LENGTH)]
        self.pick = pick
        super().__init__([W.HTML("<h3>Last runs</h3>"), flow(*self.places, name="sag-history")])
        self._show()

    def add(self, made: Made) -> None:
        """Put a run first."""
        self.runs.appendleft(made)
        total = 0
        for number, run in enumerate(self.runs):
            total += run.nbytes
            if number and total > MAX_BYTES:
                self.runs[number] = run.thinned
        self._show()

    def _pick(self, number: int) -> None:
        self.pick(self.runs[number])

    def _show(self) -> None:
        self.layout.display = "flex" if self.runs else "none"
        for number, place in enumerate(self.places):
            place.layout.display = "flex" if number < len(self.runs) else "none"
            if number < len(self.runs):
                place.show(self.runs[number])


class _Place(W.VBox):
    """Two small pictures and a button, which is as large as all of it for the pointer."""

    def __init__(self, notice: Notice, pick: Callable[[], None]) -> None:
        self.thumbnails = W.HTML()
        words = "show this run and fill the form with its settings"
        self.again = action_button(notice, "Show again", words, pick)
        super().__init__([self.thumbnails, self.again])
        self.add_class("sag-run")

    def show(self, made: Made) -> None:
        pairs = zip(made.names, made.thumbnails, strict=True)
        images = "".join(image_tag(content, f"{name}, {made.words}") for name, content in pairs)
        words = escape(made.words, quote=True)
        self.thumbnails.value = f'{images}<div class="sag-words" title="{words}">{words}</div>'
        self.again.tooltip = f"show this run and fill the form with its settings: {made.words}"
