"""The widgets of one visitor's page."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as W

from sagviz.widgets.app.classroom import Classroom
from sagviz.widgets.common.layout import close_all, text
from sagviz.widgets.microscope.microscope import Microscope
from sagviz.widgets.playground.playground import Playground
from sagviz.widgets.preference import Preference

TITLES = ("Make pictures", "Take a step apart", "Vote")


class ClassPage(W.VBox):
    """Playground, Microscope and Preference under tabs; the later two are made when they are
    opened.

    Args:
        classroom: what all visitors share.
        number: of the visitor; decides the sides of the vote's pictures.

    Attributes:
        vote: the vote, once it is opened.
    """

    def __init__(self, classroom: Classroom, number: int) -> None:
        self.classroom, self.number = classroom, number
        self.vote: Preference | None = None
        self.place = text("sag-place")
        makers: list[Callable[[], W.Widget]] = [self._playground, self._microscope, self._vote]
        self.makers = dict(enumerate(makers))
        self.tabs = W.Tab([W.VBox([W.HTML("Opening ...")]) for _ in makers], selected_index=0)
        for index, title in enumerate(TITLES):
            self.tabs.set_title(index, title)
        self.tabs.observe(lambda change: self._fill(change.new), "selected_index")
        self._fill(0)
        super().__init__([self.place, self.tabs])
        self.add_class("sag-page")

    def tell_place(self, before: int) -> None:
        """Say how many runs come before this visitor's; nothing for 0."""
        words = f"Your run waits for its turn: {before} before it." if before else ""
        self.place.value = f'<p role="status">{words}</p>'

    def _fill(self, index: int) -> None:
        if index in self.makers:
            tab = self.tabs.children[index]
            opening, tab.children = tab.children, (self.makers[index](),)
            close_all(opening)
            del self.makers[index]

    def _playground(self) -> Playground:
        return Playground(self.classroom.model)

    def _microscope(self) -> Microscope:
        return Microscope(self.classroom.model, self.classroom.pairs[0][1])

    def _vote(self) -> Preference:
        names = ("CFG", "CFG + SAG") if self.classroom.model.reads_text else ("plain", "SAG")
        path = self.classroom.votes_path(self.number)
        self.vote = Preference(self.classroom.pairs, names=names, seed=self.number, path=path)
        return self.vote
