"""A place in the picture, where it attends to, and which words it reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape

import ipywidgets as W
from PIL import Image

from sagviz.attention.captured import Captured
from sagviz.image import to_png
from sagviz.plot.attention import place_map, word_bars
from sagviz.plot.marks import marked
from sagviz.records.step import Step
from sagviz.sampling.attend import attend
from sagviz.widgets.common.controls import whole_box
from sagviz.widgets.common.layout import column, flow, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.common.worker import Later
from sagviz.widgets.microscope.settings import StepSettings
from sagviz.widgets.microscope.surface import surface


class AttentionTab(W.VBox):
    """The tab of the Microscope where a place is chosen, by pointer or by its row and column.

    Args:
        settings: of the Microscope; `place` is what is chosen.
        notice: where errors are shown.
        later: does what the pointer sets off.
        tell: says how many U-Net calls a change cost, and how many seconds.

    Attributes:
        found: what the chosen place attends to.
    """

    def __init__(
        self,
        settings: StepSettings,
        notice: Notice,
        later: Later,
        tell: Callable[[int, float], None],
    ) -> None:
        self.settings, self.notice, self.later, self.tell = settings, notice, later, tell
        self.found: Captured | None = None
        self._step: Step | None = None
        self._clean: Image.Image | None = None
        self._read: object = None  # what `found` is of
        self._showing = False  # while the boxes follow the place, they do not choose one
        height, width = settings.grid
        self.surface = surface("point", height, width)
        self.map = Picture("", 260, ratio=height / width, sharp=True)
        self.words, self.bars = text("sag-place-words"), text("sag-place-bars")
        self.boxes = tuple(
            whole_box(name, f"{name} of the latent cell, from 0", 0, most - 1, "200px")
            for name, most in (("row", height), ("column", width))
        )
        self.surface.observe(lambda change: self._choose(tuple(change.new)), "place")
        for box in self.boxes:
            box.observe(lambda _: self._choose((self.boxes[0].value, self.boxes[1].value)), "value")
        settings.observe(lambda _: notice.attempt(self._draw), "place")
        side = column(flow(*self.boxes), self.words, self.bars, width="260px")
        super().__init__([flow(self.surface, self.map, side)])

    def show(self, step: Step, clean: Image.Image) -> None:
        """Show a step's prediction, and what the place in it attends to, if one is chosen.

        Args:
            clean: the prediction's picture.
        """
        self._step, self._clean = step, clean
        self._draw()

    def _draw(self) -> None:
        settings, step, clean = self.settings, self._step, self._clean
        if step is None or clean is None:
            return
        place, size = settings.place, settings.grid
        self.surface.alt = f"prediction x̂₀ at step {step.number}"
        self.surface.picture = to_png(clean, quick=True)
        self.surface.place = list(place)
        if not place:
            self.map.clear("choose a place")
            self.words.value = "<p>Click a place in the picture, or give its row and column.</p>"
            self.bars.value = ""
            return
        self._showing = True
        for box, number in zip(self.boxes, place, strict=True):
            box.value = number
        self._showing = False
        found = self._attend(place)
        panel = place_map(found, clean, settings.image)
        bars = word_bars(found, size, settings.image)
        self.map.show(marked(to_png(panel.image), size, place), panel.words)
        self.words.value = f'<p role="status">{escape(panel.words)}.</p>'
        self.bars.value = (
            "<p>This layer reads no words.</p>" if bars is None else bars._repr_html_()
        )

    def _attend(self, place: tuple[int, int]) -> Captured:
        """One U-Net call, unless the place, step and layer are those of the last."""
        settings = self.settings
        wanted = (settings.index, place, settings.layer, settings.heads)
        if self.found is None or wanted != self._read:
            began = time.perf_counter()
            model, trace, index = settings.model, settings.trace, settings.index
            read = {"layer": settings.layer, "heads": settings.heads}
            self.found = attend(model, trace, index, place, **read)
            self._read = wanted
            self.tell(1, time.perf_counter() - began)
        return self.found

    def _choose(self, place: tuple[int, ...]) -> None:
        if not self._showing and place != self.settings.place:
            self.later.do(lambda: self.notice.attempt(lambda: self._set(place)))

    def _set(self, place: tuple[int, ...]) -> None:
        self.settings.place = place
