"""A mask painted by hand: guess where SAG will look, see how far the guess overlaps, and let SAG
use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets as W
import torch
import traitlets
from torch import Tensor

from sagviz import measure
from sagviz.image import enlarge, preview, to_png
from sagviz.plot.marks import overlap
from sagviz.widgets.common.parts import Picture, button, column, flow, labelled, tip
from sagviz.widgets.microscope.surface import surface

if TYPE_CHECKING:
    from sagviz.widgets.microscope.microscope import Microscope

LEGEND = "orange: only painted; blue: only Mₜ; green: both"


class Painting(W.VBox):
    """The tab of the Microscope where a mask is painted, guessed with, and used."""

    def __init__(self, scope: Microscope) -> None:
        self.scope = scope
        self.height, self.width = scope.trace[0].x_t.shape[2:]
        self.surface = surface("paint", self.height, self.width)
        self.revealed = Picture("", 260, ratio=self.height / self.width, sharp=True)
        self.words = W.HTML("<p>Paint where you expect the mask, then reveal it.</p>")
        self.words.add_class("sag-overlap-words")
        self.surface.observe(lambda _: self.forget(), "painted")
        super().__init__(
            [flow(self.surface, self.revealed, column(*self._controls(), width="260px"))]
        )
        self.forget()

    @property
    def cells(self) -> Tensor:
        """What is painted, (H, W) of 0 and 1."""
        return torch.tensor([float(cell) for cell in self.surface.painted]).reshape(
            self.height, self.width
        )

    @cells.setter
    def cells(self, cells: Tensor) -> None:
        self.surface.painted = "".join(str(int(cell)) for cell in cells.flatten())

    def refresh(self) -> None:
        """Show the step's prediction under the brush; what was revealed of another step is covered
        again.
        """
        step, trace = self.scope.shown, self.scope.trace
        assert trace.latent_rgb is not None, "the Microscope sees to it"
        self.surface.alt = f"prediction x̂₀ at step {step.index} in grey, to paint on"
        # so that paint is seen on any picture
        grey = preview(step.x0_hat, trace.latent_rgb)[0].convert("L")
        self.surface.picture = to_png(enlarge(grey, 128))
        if self._compared is not step.attention:
            self.forget()

    def forget(self) -> None:
        """Cover the overlap: it is no longer that of what is painted."""
        self._compared: Tensor | None = None
        self.revealed.clear("press Reveal")

    def reveal(self) -> None:
        """Show map and mask again, and how far the painted cells overlap with the attention's own
        mask.
        """
        own = self.scope.attended
        if own is None:
            self.words.value = "<p>There is no mask: let SAG act at this step first.</p>"
            return
        self.scope.hidden = False
        self._compared = self.scope.shown.attention
        share, both = measure.iou(self.cells, own), overlap(self.cells, own)
        self.revealed.show(to_png(both), f"overlap with Mₜ: {LEGEND}")
        score = (
            "both are empty"
            if share != share
            else f"intersection over union (IoU) is <b>{share:.2f}</b>"
        )
        self.words.value = f"<p>{score[0].upper()}{score[1:]} ({LEGEND}).</p>"

    def _fill(self, value: float) -> None:
        self.cells = torch.full((self.height, self.width), value)

    def _rectangle(self, value: float) -> None:
        top, left, height, width = (box.value for box in self.boxes)
        cells = self.cells
        cells[top : top + height, left : left + width] = value
        self.cells = cells

    def _use(self, mask: Tensor | None, source: str = "attention") -> None:
        scope = self.scope
        with scope.guarded():
            with scope.held():
                scope.mask, scope.mask_source = mask, source
            scope.refresh()

    def _controls(self) -> list[W.Widget]:
        limits = {
            "row": self.height,
            "column": self.width,
            "rows": self.height,
            "columns": self.width,
        }
        self.boxes = [
            labelled(
                W.BoundedIntText(
                    description=name, value=int(name[-1] == "s"), min=int(name[-1] == "s"), max=most
                ),
                name,
                "170px",
            )
            for name, most in limits.items()
        ]
        self.hide = _checkbox("cover map and mask", "guess first: Reveal uncovers them")
        traitlets.link((self.scope, "hidden"), (self.hide, "value"))
        self.brush = labelled(
            W.BoundedIntText(description="brush", value=1, min=1, max=9),
            "side of the brush in cells",
            "170px",
        )
        self.eraser = _checkbox("erase", "take away instead of painting")
        traitlets.link((self.brush, "value"), (self.surface, "brush"))
        traitlets.link((self.eraser, "value"), (self.surface, "erase"))
        return [
            flow(
                self.hide,
                self._button("Reveal", "uncover the mask and compare", self.reveal, "primary"),
            ),
            flow(
                self.brush,
                self.eraser,
                self._button("Clear", "paint nothing", lambda: self._fill(0)),
            ),
            flow(*self.boxes),
            flow(
                self._button(
                    "Paint rectangle",
                    "paint the cells of these rows and columns",
                    lambda: self._rectangle(1),
                ),
                self._button(
                    "Erase rectangle",
                    "erase the cells of these rows and columns",
                    lambda: self._rectangle(0),
                ),
            ),
            flow(
                self._button(
                    "Use what is painted",
                    "blur these cells; 1 U-Net call",
                    lambda: self._use(self.cells),
                    "primary",
                ),
                self._button(
                    "Random, equal area",
                    "as many cells as Mₜ has; 1 U-Net call",
                    lambda: self._use(None, "random"),
                ),
                self._button(
                    "Inverted, equal area",
                    "as many cells, the least attended; 1 U-Net call",
                    lambda: self._use(None, "inverted"),
                ),
                self._button("Mₜ again", "the attention's own mask", lambda: self._use(None)),
            ),
            self.words,
        ]

    def _button(self, label: str, words: str, deed: Callable[[], None], look: str = "") -> W.Button:
        made = button(label, words, look)
        made.on_click(lambda _: deed())
        made.add_class(f"sag-{label.split(',')[0].lower().replace(' ', '-')}")
        return made


def _checkbox(label: str, words: str) -> W.Checkbox:
    made = tip(W.Checkbox(description=label, indent=False), words)
    made.layout.width, made.layout.margin = "auto", "0"
    return made
