"""One step of a run taken apart: every quantity in a picture, every setting under a control, and
what each change costs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import ipywidgets as W
from torch import Tensor

from sagviz import codegen, describe, plot
from sagviz.guidance import SAG
from sagviz.guidance.sag_mask import attended
from sagviz.models import Model
from sagviz.plot.formula import formula
from sagviz.plot.what_if import trial
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.what_if import what_if
from sagviz.widgets.common.parts import button, column, flow, labelled
from sagviz.widgets.microscope.attention_tab import Looking
from sagviz.widgets.microscope.branch_tab import GoingOn
from sagviz.widgets.microscope.controls import Controls
from sagviz.widgets.microscope.mask_tab import Painting
from sagviz.widgets.microscope.settings import Dials

REMEMBERED = 64  # steps under settings that were tried
TABS = ("Look from a place", "Paint the mask", "Go on from here", "As code")


class Microscope(Dials):
    """A step of a trace taken apart, for a class and for a practitioner.

    Setting a trait from Python does what its control does. `step` is the record that is shown,
    `branched` the last branch.

    Example:
        scope = sv.Microscope(model, trace)
        scope.threshold = 1.3

    Args:
        model: what made the trace.
        trace: a run with at least one step.
        options: any of the traits; by default they are the run's own settings.
    """

    def __init__(self, model: Model, trace: Trace, **options: Any) -> None:
        super().__init__(model, trace, **options)
        self.branched: Trace | None = None
        self._lock = threading.RLock()
        self._known: dict[Any, Step] = {}
        self._drawn: object = None
        self._build()
        self._held = 0
        self.observe(self._changed, names=[name for name in self.options() if name != "place"])
        self.refresh()

    @property
    def _decoder(self) -> Model | None:
        return self.model if self.decoded else None

    @property
    def shown(self) -> Step:
        """The record that is shown, of the chosen image alone."""
        return self._one(self.step)

    @property
    def attended(self) -> Tensor | None:
        """The attention's own mask at the chosen image, (H, W), whatever was painted."""
        step, size = self.shown, self.trace[0].x_t.shape[2:]
        if step.attention is None or step.guidance.get(SAG) is None:
            return None
        return attended(step.attention, step.guidance.get(SAG).threshold, (size[0], size[1]))[0, 0]

    def refresh(self) -> None:
        """Compute the step under the present settings, as far as it is not known, and show it."""
        if self._held:
            return
        with self._lock, self.guarded():
            began = time.perf_counter()
            self.controls.refresh()
            self.step = self._look()
            self._draw()
            self.tell(self.step.forwards, time.perf_counter() - began)

    def tell(self, forwards: int, seconds: float) -> None:
        """Say what the last change cost."""
        calls = f"{forwards} U-Net call{'s' * (forwards != 1)}"
        self._cost.value = (
            f"<p>The last change cost <b>{calls}</b>, {1000 * seconds:.0f} ms with its"
            " pictures.</p>"
        )

    def static_html(self) -> str:
        words = escape(describe.of_step(self._one(self.step), self.trace.evaluations))
        return f"<div><p>{words}</p>{self._results.value}{self._formula.value}<hr>{self._panes.value}</div>"

    def close(self) -> None:
        self.controls.later.forget()
        self.going_on.worker.cancel()
        super().close()

    def _look(self) -> Step:
        """The step under the present settings, from what is known of it: the trace's own record, or
        an earlier try.
        """
        guidance, mask = self.guidance, self.applied_mask
        own = self.trace[self.index]
        # predictions do not depend on scales
        blind = tuple(replace(term, scale=0.0) for term in guidance.terms)
        key = (self.index, blind, None if mask is None else mask.numpy().tobytes())
        self._predicted = key
        steps = list(self.trace)
        steps[self.index] = self._known.get(key, own)
        step = what_if(
            self.model,
            replace(self.trace, steps=tuple(steps)),
            self.index,
            guidance=guidance,
            mask=mask,
        )
        self._known = {**dict(list(self._known.items())[-REMEMBERED:]), key: step}
        return step

    def _one(self, step: Step) -> Step:
        """The record of the chosen image alone."""
        return step.of_image(self.image)

    def _draw(self) -> None:
        step = self.shown
        self._results.value = trial(
            self.trace, self._one(self.trace[self.index]), step, self._decoder
        )._repr_html_()
        self._formula.value = formula(step)._repr_html_()
        words = describe.of_step(step, self.trace.evaluations)
        self._story.value = f"<p>{escape(words) if not self.hidden else 'Map and mask are covered: paint first.'}</p>"
        self._write_code()
        # else only a scale has changed
        if self._drawn != (self._predicted, self.image, self.hidden):
            self._drawn = (self._predicted, self.image, self.hidden)
            view = replace(self.trace, steps=tuple(map(self._one, self.trace)))
            panes = plot.step_panel(view, step).panels[:-1]  # the last one stands among the results
            self._panes.value = plot.Panels(
                _covered(panes) if self.hidden else panes, width=150
            )._repr_html_()
            self.looking.refresh()
            self.painting.refresh()

    def _write_code(self, _: object = None) -> None:
        """Only where it is read."""
        if self._tabs.selected_index == TABS.index("As code"):
            self._code.value = codegen.code(self.model, self.trace, self.step, image=self.image)

    def _changed(self, change: Any) -> None:
        if change.name == "index" and not self._held:
            self._follow(change.old)
        self.refresh()

    def _build(self) -> None:
        self._story, self._results, self._panes, self._formula, self._cost = (
            W.HTML() for _ in range(5)
        )
        for name in ("story", "results", "panes", "formula", "cost"):
            getattr(self, f"_{name}").add_class(f"sag-{name}")
        self.controls = Controls(self)
        self.looking, self.painting, self.going_on = Looking(self), Painting(self), GoingOn(self)
        self._code = labelled(
            W.Textarea(description="Python", rows=16),
            "makes these very pictures; select all and copy",
        )
        self._code.add_class("sag-code")
        self._tabs = W.Tab([self.looking, self.painting, self.going_on, self._code])
        for place, title in enumerate(TABS):
            self._tabs.set_title(place, title)
        self._tabs.observe(self._write_code, "selected_index")
        left = column(self.controls, self._cost, self._story, width="360px")
        self.fill(
            self._top(),
            flow(left, column(self._results, width="400px")),
            self._formula,
            self._panes,
            self._tabs,
        )

    def _top(self) -> W.Widget:
        """What is looked at: the step, and the image where there are several."""
        images = len(self.trace[0].x_t)
        numbers = [self.controls.number("index", 0, len(self.trace) - 1)]
        numbers += [self.controls.number("image", 0, images - 1)] if images > 1 else []
        for number in numbers:
            number.layout.flex, number.layout.width = "1 1 320px", "auto"
        again = button("Reset all", "set every control to the run's own value")
        again.on_click(lambda _: self.reset())
        again.add_class("sag-reset-all")
        return flow(*numbers, again, self.control("decoded", "decode the result"))


def _covered(panels: Sequence[plot.Panel]) -> tuple[plot.Panel, ...]:
    """What gives the mask away, covered."""
    telling = ("attention", "mask", "blurred", "degraded", "SAG")
    grey = {panel.title: panel.image.convert("RGB").point(lambda _: 128) for panel in panels}
    return tuple(
        (
            plot.Panel(grey[panel.title], panel.title, "covered until you reveal it")
            if panel.title.startswith(telling)
            else panel
        )
        for panel in panels
    )
