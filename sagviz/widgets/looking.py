"""A place in the picture, where it attends to, and which words it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as W

from sagviz.image import enlarge, preview, to_png
from sagviz.widgets.parts import Picture, column, flow, labelled
from sagviz.widgets.surface import surface

if TYPE_CHECKING:
    from sagviz.widgets.microscope import Microscope


class Looking(W.VBox):
    """The tab of the Microscope where a place is chosen, by pointer or by its row and column."""

    def __init__(self, scope: Microscope) -> None:
        self.scope = scope
        height, width = scope.trace[0].x_t.shape[2:]
        self.surface = surface("point", height, width)
        self.map = Picture("Where it attends to", 260, ratio=height / width)
        self.words = W.HTML()
        self.words.add_class("sag-place-words")
        self.boxes = tuple(
            labelled(W.BoundedIntText(description=name, min=0, max=most - 1), f"{name} of the latent cell, from 0", "170px")
            for name, most in (("row", height), ("column", width))
        )
        self.surface.observe(lambda change: self._choose(tuple(change.new)), "place")
        for box in self.boxes:
            box.observe(lambda _: self._choose((self.boxes[0].value, self.boxes[1].value)), "value")
        scope.observe(lambda _: self.refresh(), "place")
        super().__init__([flow(self.surface, self.map, column(flow(*self.boxes), self.words, width="240px"))])

    def refresh(self) -> None:
        """Show the step's prediction, and what the place in it attends to, if one is chosen."""
        step, trace, place = self.scope.shown, self.scope.trace, self.scope.place
        assert trace.latent_rgb is not None, "the Microscope sees to it"
        self.surface.alt = f"prediction x̂₀ at step {step.index}"
        self.surface.picture = to_png(enlarge(preview(step.x0_hat, trace.latent_rgb)[0], 128))
        self.surface.place = list(place)
        if not place:
            self.map.clear("choose a place")
            self.words.value = "<p>Click a place in the picture, or give its row and column.</p>"

    def _choose(self, place: tuple[int, ...]) -> None:
        with self.scope.guarded():
            self.scope.place = place
