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
from sagviz.guidance import SAG, Guidance
from sagviz.models import Model
from sagviz.models.unfit import network_word
from sagviz.plot.decoder import Decoder
from sagviz.plot.formula import formula
from sagviz.plot.panels import before_guidance
from sagviz.plot.what_if import difference, outcome
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.widgets.common.controls import action_button, control, labelled
from sagviz.widgets.common.layout import column, flow, heading, stack, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.page import copy_button
from sagviz.widgets.common.still import live
from sagviz.widgets.common.view import View
from sagviz.widgets.common.worker import Later
from sagviz.widgets.microscope.attention_tab import AttentionTab
from sagviz.widgets.microscope.branch_tab import BranchTab
from sagviz.widgets.microscope.controls import Controls
from sagviz.widgets.microscope.lit import lit
from sagviz.widgets.microscope.mask_tab import MaskTab, attention_mask
from sagviz.widgets.microscope.settings import StepSettings
from sagviz.widgets.microscope.surface import enlarged
from sagviz.widgets.microscope.tries import Tries

PURPOSE = "One step of a run taken apart: change a setting, and see what it does and what it costs."
TABS = ("Look from a place", "Paint the mask", "Go on from here", "As code")
# panes that give the mask away
OF_THE_MASK = ("attention", "mask", "x0_blurred", "x_degraded", SAG.name)


class Microscope(View):
    """A step of a trace taken apart, for a class and for a practitioner.

    A trait that is set from Python acts as its control does. Each term of the run has its scale as
    a trait, `cfg_scale`, `sag_scale` and so on, also a term of your own.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG, SAG
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False)
        >>> scope = sv.Microscope(model, trace, index=1)
        >>> scope.cfg_scale = 5.0
        >>> scope.step.guidance, scope.step.forwards
        (CFG(5.0) + SAG(1.0), 0)
        >>> scope.close()

    Args:
        model: what made the trace.
        trace: a run with at least one step.
        options: any of the traits; by default they are the run's own settings.

    Attributes:
        step: the record that is shown, of all images.
        controls, attention_tab, mask_tab, branch_tab, code: the parts that are used by hand.
        words, cost, results, formula, panes: the parts that show.
    """

    settings_type = StepSettings
    settings: StepSettings

    def __init__(self, model: Model, trace: Trace, **options: Any) -> None:
        super().__init__(model, trace, **options)
        settings, notice, self.later = self.settings, self.notice, Later()
        self.model, self.trace = settings.model, settings.trace
        self.tries = Tries(settings)
        self._remembering = Decoder(self.model)
        self._lock = threading.RLock()
        self._drawn: object = None
        self.cost = text("sag-cost")
        self.words, self.results = text("sag-story"), text("sag-results")
        self.formula, self.panes = text("sag-formula"), text("sag-panes")
        self.controls = Controls(settings, notice, self.later)
        self.tabs_notice = Notice()  # under the tabs, far below the controls
        self.attention_tab = AttentionTab(settings, self.tabs_notice, self.later, self._tell)
        self.mask_tab = MaskTab(settings, self.tabs_notice)
        self.branch_tab = BranchTab(settings, self.tabs_notice)
        self._arrange()
        settings.observe(lambda _: self.refresh(), "revision")
        self.refresh()

    @property
    def shown(self) -> Step:
        """The record that is shown, of the chosen image alone."""
        return self.step.of_image(self.settings.image)

    @property
    def attended(self) -> Tensor | None:
        """The attention's own mask at the chosen image, (H, W), whatever was painted."""
        return attention_mask(self.shown)

    @property
    def branched(self) -> Trace | None:
        """The last branch that was followed to its end, or stopped."""
        return self.branch_tab.branch

    @property
    def guidance(self) -> Guidance:
        """The guidance that the controls stand for."""
        return self.settings.guidance

    def reset(self, *names: str) -> None:
        """Set these traits, or all of them, to the run's own values."""
        self.settings.reset(*names)

    def refresh(self) -> None:
        """Compute the step under the present settings, as far as it is not known, and show it."""
        with self._lock, self.notice.guarded():
            began = time.perf_counter()
            self.controls.refresh()
            self.step = self.tries.look()
            self._draw(self.shown)
            self._tell(self.step.forwards, time.perf_counter() - began)

    def close(self) -> None:
        self.later.forget()
        self.branch_tab.worker.cancel()
        super().close()

    def _tell(self, forwards: int, seconds: float) -> None:
        """Say what it took to show this."""
        word = network_word(self.model.NETWORK)
        calls = f"{forwards} {word} call{'s' * (forwards != 1)}"
        self.cost.value = (
            f"<p>What is shown took <b>{calls}</b>, {1000 * seconds:.0f} ms with its pictures.</p>"
        )

    def _draw(self, step: Step) -> None:
        settings = self.settings
        own = self.trace[settings.index].of_image(settings.image)
        before = outcome(self.trace, own, "the run's own guided x̂₀", self._decoder)
        after = outcome(self.trace, step, "under these settings", self._decoder)
        compared = (before, after, difference(own, step))
        self.results.value = plot.Panels(compared, width=200, columns=3)._repr_html_()
        self.formula.value = formula(step)._repr_html_()
        words = describe.of_step(step, self.trace.evaluations, self.trace.settings.strength)
        covered = "Map and mask are covered: paint first."
        self.words.value = f"<p>{escape(covered if settings.hidden else words)}</p>"
        self._write_code()
        drawn = (self.tries.key, settings.image, settings.hidden, settings.decoded)
        if self._drawn != drawn:  # else only a scale has changed
            self._drawn = drawn
            clean = enlarged(self._draw_panes(step))
            self.attention_tab.show(step, clean)
            self.mask_tab.show(step, clean)

    @property
    def _decoder(self) -> Decoder | None:
        """What makes pictures of clean latents; without it they have their previews."""
        return self._remembering if self.settings.decoded else None

    def _draw_panes(self, step: Step) -> plot.Panel:
        """All quantities but the guided prediction, which stands among the results; gives that of
        the prediction.
        """
        trace, decoder = self.trace.of_image(self.settings.image), self._decoder
        panes = before_guidance(trace, step, decoder)
        shown = _covered(panes) if self.settings.hidden else panes
        self.panes.value = plot.Panels(tuple(shown), width=150)._repr_html_()
        return next(panel for panel in panes if panel.name == "x0_hat")

    def _write_code(self) -> None:
        """Only where it is read."""
        if self.tabs.selected_index == TABS.index("As code"):
            image = self.settings.image
            self.code.value = codegen.code(self.model, self.trace, self.step, image=image)

    def _arrange(self) -> None:
        words = "makes these very pictures; select all and copy"
        self.code = labelled(W.Textarea(description="Python", rows=16), words)
        self.code.add_class("sag-code")
        written = stack(*copy_button(self.code), self.code)
        self.tabs = W.Tab([self.attention_tab, self.mask_tab, self.branch_tab, written])
        for place, title in enumerate(TABS):
            self.tabs.set_title(place, title)
        self.tabs.observe(lambda _: self._write_code(), "selected_index")
        left = column(self.controls, width="360px")
        right = column(self.results, self.cost, self.formula, self.words, width="400px")
        right.layout.flex = "2 1 400px"
        right.add_class("sag-outcome")
        shown = (flow(left, right), self.panes, self.tabs, self.tabs_notice)
        lights = live(text("sag-style", f"<style>{lit(self.settings.kinds)}</style>"))
        head = (lights, heading("Microscope", PURPOSE), self._run(), self._top(), self.notice)
        self.fill(*head, *shown, notice=False)
        self.add_class("sag-microscope")

    def _run(self) -> W.Widget:
        """Which run it is."""
        return text("sag-which", f"<p>The run: <b>{escape(describe.of_run(self.trace))}</b>.</p>")

    def _top(self) -> W.Widget:
        """What is looked at: the step, and the image where there are several."""
        whole = self.trace[-1].number == len(self.trace)
        numbers = [self.controls.number("index", "Step" if whole else "Kept step", first=1)]
        if len(self.trace[0].x_t) > 1:
            numbers.append(self.controls.number("image", "Image"))
        for number in numbers:
            number.layout.flex, number.layout.width = "1 1 320px", "auto"
        notice, words = self.notice, "set every control to the run's own value"
        again = action_button(notice, "Reset all", words, self.reset)
        again.add_class("sag-reset-all")
        return flow(*numbers, again, control(self.settings, "decoded", "decode the pictures"))


def _covered(panels: Sequence[plot.Panel]) -> list[plot.Panel]:
    """What gives the mask away, in grey."""
    words = "covered until you reveal it"
    return [
        replace(panel, image=panel.image.convert("RGB").point(lambda _: 128), words=words)
        if panel.name in OF_THE_MASK
        else panel
        for panel in panels
    ]
