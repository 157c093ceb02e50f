"""A place in the picture, where it attends to, and which words it reads."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as W

from sagviz.attention.captured import Captured
from sagviz.image import enlarge, preview, to_png
from sagviz.plot.attention import place_map, word_bars
from sagviz.plot.marks import marked
from sagviz.sampling.attend import attend
from sagviz.widgets.common.parts import Picture, column, flow, labelled
from sagviz.widgets.microscope.surface import surface

if TYPE_CHECKING:
    from sagviz.widgets.microscope.microscope import Microscope

SIDE = 128  # least pixels of the picture that is pointed at


class Looking(W.VBox):
    """The tab of the Microscope where a place is chosen, by pointer or by its row and column."""

    def __init__(self, scope: Microscope) -> None:
        self.scope = scope
        self.found: Captured | None = None
        self._asked: object = None
        self._showing = False  # while the boxes follow the place, they do not choose one
        self.height, self.width = scope.trace[0].x_t.shape[2:]
        self.surface = surface("point", self.height, self.width)
        self.map = Picture("", 260, ratio=self.height / self.width, sharp=True)
        self.words, self.bars = W.HTML(), W.HTML()
        self.words.add_class("sag-place-words")
        self.bars.add_class("sag-place-bars")
        self.boxes = tuple(
            labelled(
                W.BoundedIntText(description=name, min=0, max=most - 1),
                f"{name} of the latent cell, from 0",
                "200px",
            )
            for name, most in (("row", self.height), ("column", self.width))
        )
        self.surface.observe(lambda change: self._choose(tuple(change.new)), "place")
        for box in self.boxes:
            box.observe(lambda _: self._choose((self.boxes[0].value, self.boxes[1].value)), "value")
        scope.observe(lambda _: self._show_errors(), "place")
        side = column(flow(*self.boxes), self.words, self.bars, width="260px")
        super().__init__([flow(self.surface, self.map, side)])

    def refresh(self) -> None:
        """Show the step's prediction, and what the place in it attends to, if one is chosen."""
        step, trace, place = self.scope.shown, self.scope.trace, self.scope.place
        assert trace.latent_rgb is not None, "the Microscope sees to it"
        clean = enlarge(preview(step.x0_hat, trace.latent_rgb)[0], SIDE)
        self.surface.alt = f"prediction x̂₀ at step {step.index}"
        self.surface.picture = to_png(clean)
        self.surface.place = list(place)
        if not place:
            self.map.clear("choose a place")
            self.words.value, self.bars.value = (
                "<p>Click a place in the picture, or give its row and column.</p>",
                "",
            )
            return
        self._showing = True
        for box, number in zip(self.boxes, place, strict=True):
            box.value = number
        self._showing = False
        self._ask(place)
        assert self.found is not None, "just asked for"
        panel = place_map(self.found, clean, self.scope.image)
        bars = word_bars(self.found, (self.height, self.width), self.scope.image)
        self.map.show(marked(to_png(panel.image), (self.height, self.width), place), panel.words)
        self.words.value = f'<p role="status">{escape(panel.words)}.</p>'
        self.bars.value = (
            "<p>This layer reads no words.</p>" if bars is None else bars._repr_html_()
        )

    def _ask(self, place: tuple[int, int]) -> None:
        """One U-Net call, unless the place, step and layer are those of the last."""
        scope = self.scope
        asked = (scope.index, place, scope.layer, scope.heads)
        if asked != self._asked:
            began = time.perf_counter()
            self.found = attend(
                scope.model, scope.trace, scope.index, place, layer=scope.layer, heads=scope.heads
            )
            self._asked = asked
            scope.tell(1, time.perf_counter() - began)

    def _show_errors(self) -> None:
        with self.scope.guarded():
            self.refresh()

    def _choose(self, place: tuple[int, ...]) -> None:
        if not self._showing and place != self.scope.place:
            self.scope.controls.later.do(lambda: self._set(place))

    def _set(self, place: tuple[int, ...]) -> None:
        with self.scope.guarded():
            self.scope.place = place
