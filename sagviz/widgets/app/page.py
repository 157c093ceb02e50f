"""The widgets of one visitor's page."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as W

from sagviz.records.trace import Trace
from sagviz.widgets.app.classroom import Classroom
from sagviz.widgets.common.layout import close_all, text
from sagviz.widgets.microscope.microscope import Microscope
from sagviz.widgets.playground.examples import examples_of
from sagviz.widgets.playground.playground import Playground
from sagviz.widgets.playground.settings import FormSettings
from sagviz.widgets.preference import Preference

STEP = "Take a step apart"
TITLES = ("Make pictures", STEP, "Vote")


class ClassPage(W.VBox):
    """Playground, Microscope and Preference under tabs; the later two are made when opened.
    The Playground is set to its first example, in no more steps than the class may make. The
    Microscope is on the run with SAG that the Playground shows, anew when that is another; before
    the first one, on one of the pairs to vote on.

    Args:
        classroom: what all visitors share.
        number: of the visitor; decides the sides of the vote's pictures.

    Attributes:
        playground: of the first tab.
        vote: the vote, once it is opened.
    """

    def __init__(self, classroom: Classroom, number: int) -> None:
        self.classroom, self.number = classroom, number
        example = examples_of(classroom.model)[0]
        steps = min(example.get("steps", FormSettings.steps.default_value), classroom.limits.steps)
        self.playground = Playground(classroom.model, **{**example, "steps": steps})
        self.vote: Preference | None = None
        self.under: tuple[Trace, int] = (classroom.pairs[0][1], 0)  # the Microscope: run, image
        self.place = text("sag-place")
        self.makers: dict[int, Callable[[], W.Widget]] = {1: self._microscope, 2: self._vote}
        later = [W.VBox([W.HTML("Opening ...")]) for _ in self.makers]
        self.tabs = W.Tab([W.VBox([self.playground]), *later], selected_index=0)
        for index, title in enumerate(TITLES):
            self.tabs.set_title(index, title)
        self.tabs.observe(lambda change: self._fill(change.new), "selected_index")
        super().__init__([self.place, self.tabs])
        self.add_class("sag-page")

    def tell_place(self, before: int) -> None:
        """Say how many runs come before this visitor's; nothing for 0."""
        words = f"Your run waits for its turn: {before} before it." if before else ""
        self.place.value = f'<p role="status">{words}</p>'

    def _fill(self, index: int) -> None:
        if TITLES[index] == STEP and self.under != (shown := self._shown()):
            self.under, self.makers[index] = shown, self._microscope
        if index in self.makers:
            tab = self.tabs.children[index]
            opening, tab.children = tab.children, (self.makers[index](),)
            close_all(opening)
            del self.makers[index]

    def _shown(self) -> tuple[Trace, int]:
        """What the Playground shows, if it has steps; else what is under the Microscope already."""
        screen = self.playground.screen
        if screen.made is None or not len(screen.made.traces[-1]):
            return self.under
        return screen.made.traces[-1], screen.image

    def _microscope(self) -> Microscope:
        trace, image = self.under
        return Microscope(self.classroom.model, trace, image=image)

    def _vote(self) -> Preference:
        names = ("CFG", "CFG + SAG") if self.classroom.model.reads_text else ("plain", "SAG")
        path = self.classroom.votes_path(self.number)
        self.vote = Preference(self.classroom.pairs, names=names, seed=self.number, path=path)
        return self.vote
