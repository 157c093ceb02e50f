"""A mask painted by hand: guess where SAG will look, see how far the guess overlaps, and let SAG
use it.
"""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as W
import torch
import traitlets
from PIL import Image
from torch import Tensor

from sagviz import measure
from sagviz.guidance import SAG
from sagviz.guidance.sag_mask import attended
from sagviz.image import to_png
from sagviz.plot.marks import overlap
from sagviz.records.step import Step
from sagviz.widgets.common.controls import action_button, checkbox, whole_box
from sagviz.widgets.common.layout import column, flow, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.microscope.settings import StepSettings
from sagviz.widgets.microscope.surface import surface

LEGEND = "orange: only painted; blue: only Mₜ; green: both"


class MaskTab(W.VBox):
    """The tab of the Microscope where a mask is painted, guessed with, and used."""

    def __init__(self, settings: StepSettings, notice: Notice) -> None:
        self.settings, self.notice = settings, notice
        self._step: Step | None = None
        self._compared: Tensor | None = None  # the attention whose mask was revealed
        height, width = settings.grid
        self.surface = surface("paint", height, width)
        self.revealed = Picture("", 260, ratio=height / width, sharp=True)
        words = "<p>Paint where you expect the mask, then reveal it.</p>"
        self.words = text("sag-overlap-words", words)
        self.surface.observe(lambda _: self.forget(), "painted")
        self._make_controls()
        side = column(*self._arranged(), width="260px")
        super().__init__([flow(self.surface, self.revealed, side)])
        self.forget()

    @property
    def cells(self) -> Tensor:
        """What is painted, (H, W) of 0 and 1."""
        cells = torch.tensor([int(cell) for cell in self.surface.painted], device="cpu").float()
        return cells.reshape(self.settings.grid)

    @cells.setter
    def cells(self, cells: Tensor) -> None:
        self.surface.painted = "".join(str(int(cell)) for cell in cells.flatten())

    def show(self, step: Step, clean: Image.Image) -> None:
        """Show the step's prediction under the brush; what was revealed of another step is covered
        again.

        Args:
            clean: the prediction's picture.
        """
        self._step = step
        self.surface.alt = f"prediction x̂₀ at step {step.number} in grey, to paint on"
        # in grey, so that paint is seen on any picture
        self.surface.picture = to_png(clean.convert("L"), quick=True)
        if self._compared is not step.attention:
            self.forget()

    def forget(self) -> None:
        """Cover the overlap: it is no longer that of what is painted."""
        self._compared = None
        self.revealed.clear("press Reveal")

    def reveal(self) -> None:
        """Show map and mask again, and how far the painted cells overlap with the attention's own
        mask.
        """
        own = None if self._step is None else attention_mask(self._step)
        if own is None:
            self.words.value = "<p>There is no mask: let SAG act at this step first.</p>"
            return
        self.settings.hidden = False
        assert self._step is not None, "the mask is the step's"
        self._compared = self._step.attention
        share, both = measure.iou(self.cells, own), overlap(self.cells, own)
        self.revealed.show(to_png(both), f"overlap with Mₜ: {LEGEND}")
        score = f"Intersection over union (IoU) is <b>{share:.2f}</b>"
        if share != share:
            score = "Both are empty"
        self.words.value = f"<p>{score} ({LEGEND}).</p>"

    def _fill(self, value: float) -> None:
        self.cells = torch.full(self.settings.grid, value, device="cpu", dtype=torch.float32)

    def _rectangle(self, value: float) -> None:
        top, left, height, width = (box.value for box in self.boxes)
        cells = self.cells
        cells[top : top + height, left : left + width] = value
        self.cells = cells

    def _use(self, mask: Tensor | None, source: str = "attention") -> None:
        with self.settings.together():
            self.settings.mask, self.settings.mask_source = mask, source

    def _make_controls(self) -> None:
        height, width = self.settings.grid
        ends = {
            "row": (0, height),
            "column": (0, width),
            "rows": (1, height),
            "columns": (1, width),
        }
        self.boxes = [
            whole_box(name, name, low, high, "170px") for name, (low, high) in ends.items()
        ]
        self.brush = whole_box("brush", "side of the brush in cells", 1, 9, "170px")
        self.eraser = checkbox("erase", "take away instead of painting")
        self.hide = checkbox("cover map and mask", "guess first: Reveal uncovers them")
        traitlets.link((self.settings, "hidden"), (self.hide, "value"))
        traitlets.link((self.brush, "value"), (self.surface, "brush"))
        traitlets.link((self.eraser, "value"), (self.surface, "erase"))

    def _arranged(self) -> list[W.Widget]:
        make, use = self._button, self._use
        these, cost = "the cells of these rows and columns", "1 network call"
        reveal = make("Reveal", "uncover the mask and compare", self.reveal, "primary")
        clear = make("Clear", "paint nothing", lambda: self._fill(0))
        paint = make("Paint rectangle", f"paint {these}", lambda: self._rectangle(1))
        erase = make("Erase rectangle", f"erase {these}", lambda: self._rectangle(0))
        words = f"blur these cells; {cost}"
        painted = make("Use what is painted", words, lambda: use(self.cells), "primary")
        words = f"as many cells as Mₜ has; {cost}"
        random = make("Random, equal area", words, lambda: use(None, "random"))
        words = f"as many cells, the least attended; {cost}"
        inverted = make("Inverted, equal area", words, lambda: use(None, "inverted"))
        own = make("Mₜ again", "the attention's own mask", lambda: use(None))
        return [
            flow(self.hide, reveal),
            flow(self.brush, self.eraser, clear),
            flow(*self.boxes),
            flow(paint, erase),
            flow(painted, random, inverted, own),
            self.words,
        ]

    def _button(
        self, label: str, words: str, action: Callable[[], None], look: str = ""
    ) -> W.Button:
        made = action_button(self.notice, label, words, action, look)
        made.add_class(f"sag-{label.split(',')[0].lower().replace(' ', '-')}")
        return made


def attention_mask(step: Step) -> Tensor | None:
    """The attention's own mask at the first image, (H, W), whatever mask the step used."""
    sag, (height, width) = step.guidance.get(SAG), step.x_t.shape[2:]
    if step.attention is None or sag is None:
        return None
    return attended(step.attention, sag.threshold, (height, width))[0, 0]
