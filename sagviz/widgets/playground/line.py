"""The runs that wait while another is under way."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as W

from sagviz.checks import shortened
from sagviz.errors import SagvizError
from sagviz.sampling.prepare import Run
from sagviz.widgets.common.controls import action_button
from sagviz.widgets.common.layout import flow
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.still import live

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 8  # that wait
LONGEST = 40  # letters of a prompt


@dataclass(frozen=True, eq=False)
class Asked:
    """Two runs that were asked for, (cfg, cfg_sag), the picture that they start from, and what
    there is to warn of, such as words that the model was not taught.
    """

    runs: tuple[Run, Run]
    start: Image | None
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """In a few words."""
        settings = self.runs[0].settings
        prompt = shortened(settings.caption, LONGEST) or "no prompt"
        return f"{prompt}, seed {settings.seed}, {settings.steps} steps"


class Line(W.VBox):
    """The runs that wait, in their order, each a button that takes it out. Its places are made once
    and filled again, because widgets stay in memory.
    """

    def __init__(self, notice: Notice) -> None:
        self.waiting: list[Asked] = []
        self._served = False  # whether somebody takes them
        self._lock = threading.Lock()
        words = "take this run out of the line"
        self.places = [
            action_button(notice, "", words, partial(self.drop, number)) for number in range(MOST)
        ]
        for place in self.places:
            place.add_class("sag-chip")
        self.title = W.HTML()
        super().__init__([self.title, flow(*self.places)])
        live(self).add_class("sag-line")
        self._show()

    def add(self, asked: Asked) -> bool:
        """Put a run last; whether nobody takes them yet, so that somebody has to begin.

        Raises:
            SagvizError: too many wait.
        """
        with self._lock:
            if len(self.waiting) >= MOST:
                raise SagvizError(f"{MOST} runs wait already; take one out of the line, or wait")
            self.waiting.append(asked)
            begins, self._served = not self._served, True
        if not begins:
            self._show()
        return begins

    def take(self) -> Asked | None:
        """The first of the line; `None` where nobody waits, and then nobody takes them any more."""
        with self._lock:
            self._served = bool(self.waiting)
            first = self.waiting.pop(0) if self.waiting else None
        self._show()
        return first

    def drop(self, number: int) -> None:
        """Take a run out of the line."""
        with self._lock:
            del self.waiting[number : number + 1]
        self._show()

    def clear(self) -> None:
        """Nobody waits, and nobody takes them."""
        with self._lock:
            self.waiting, self._served = [], False
        self._show()

    def _show(self) -> None:
        waiting = list(self.waiting)
        self.layout.display = "flex" if waiting else "none"
        count = "1 run waits" if len(waiting) == 1 else f"{len(waiting)} runs wait"
        self.title.value = f'<span role="status">{count}; a click takes one out:</span>'
        for number, place in enumerate(self.places):
            place.layout.display = None if number < len(waiting) else "none"
            if number < len(waiting):
                place.description = f"{number + 1}. {waiting[number].words} ✕"
