"""Pairs of small pictures in a row, each of which is a button as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import ipywidgets as W

from sagviz.widgets.common.controls import action_button
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import image_tag

Shown = tuple[tuple[bytes, ...], tuple[str, ...], str]  # small pictures, their names, words
CHOSEN = "sag-chosen"


class Strip(W.VBox):
    """A row of places, made when they are first needed and filled again, because widgets stay in
    memory.

    Args:
        notice: where errors are shown.
        title: above the row.
        words: what a click does.
        pick: does it, given the number of the place.
    """

    def __init__(self, notice: Notice, title: str, words: str, pick: Callable[[int], None]) -> None:
        self.notice, self.words, self.pick = notice, words, pick
        self.places: list[Place] = []
        self.row = W.HBox()
        self.row.add_class("sag-strip")
        super().__init__([W.HTML(f"<h3>{title}</h3>"), self.row])
        self.show([])

    def show(self, shown: Sequence[Shown], chosen: int = -1) -> None:
        """Fill the row; without anything in it, it is hidden."""
        while len(self.places) < len(shown):
            number = len(self.places)
            self.places.append(Place(self.notice, self.words, partial(self.pick, number)))
        self.row.children = tuple(self.places)
        self.layout.display = "flex" if shown else "none"
        for number, place in enumerate(self.places):
            place.layout.display = "flex" if number < len(shown) else "none"
        for place, own in zip(self.places, shown, strict=False):
            place.show(*own)
        self.mark(chosen)

    def enable(self, enabled: bool) -> None:
        """Let them be clicked, or not."""
        for place in self.places:
            place.again.disabled = not enabled

    def mark(self, chosen: int) -> None:
        """Show which of them is seen large."""
        for number, place in enumerate(self.places):
            (place.add_class if number == chosen else place.remove_class)(CHOSEN)


class Place(W.VBox):
    """Two small pictures, and below them the button, which takes the clicks on all of it."""

    def __init__(self, notice: Notice, words: str, pick: Callable[[], None]) -> None:
        self.thumbnails, self.offer = W.HTML(), words
        self.again = action_button(notice, "", words, pick)
        super().__init__([self.thumbnails, self.again])
        self.add_class("sag-run")

    def show(self, pictures: tuple[bytes, ...], names: tuple[str, ...], words: str) -> None:
        """Fill it."""
        pairs = zip(names, pictures, strict=True)
        images = "".join(image_tag(content, f"{name}, {words}") for name, content in pairs)
        self.thumbnails.value = f'<div class="sag-thumbnails">{images}</div>'
        self.again.description = words
        self.again.tooltip = f"{self.offer}: {words}"
