"""A branch from the step under the Microscope to the end, beside the run's own end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import ipywidgets as W

from sagviz import describe
from sagviz.image import preview, to_png
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.loop import ended, walk_together
from sagviz.sampling.what_if import depart
from sagviz.widgets.common.parts import Picture, button, flow
from sagviz.widgets.common.worker import Worker

if TYPE_CHECKING:
    from sagviz.sampling.prepare import Run
    from sagviz.widgets.microscope.microscope import Microscope


class GoingOn(W.VBox):
    """The tab of the Microscope that follows its settings to the end of the run."""

    def __init__(self, scope: Microscope) -> None:
        self.scope, self.worker = scope, Worker()
        height, width = scope.trace[0].x_t.shape[2:]
        self.own = Picture("The run's own end", 260, ratio=height / width)
        self.end = Picture("The end of the branch", 260, ratio=height / width)
        for picture in (self.own, self.end):
            picture.add_class("sag-end")
        self.go = button(
            "Go on from here", "run the remaining steps under these settings", "primary"
        )
        self.cancel = button("Cancel", "stop after this step and keep what is done")
        self.go.add_class("sag-go-on")
        self.cancel.add_class("sag-cancel")
        self.cancel.disabled = True
        self.go.on_click(lambda _: self.start())
        self.cancel.on_click(lambda _: self.worker.cancel())
        self.bar = W.IntProgress(min=0, max=1, layout=W.Layout(width="200px", height="12px"))
        self.words = W.HTML(
            "<p>The steps before stay as they are; those from here on are made anew.</p>"
        )
        self.words.add_class("sag-branch-words")
        super().__init__(
            [flow(self.go, self.cancel, self.bar), self.words, flow(self.own, self.end)]
        )

    def start(self, *, here: bool = False) -> None:
        """Begin the branch, in a thread where there is a kernel, or do all of it here."""
        with self.scope.guarded():
            scope = self.scope
            run, first = depart(
                scope.model, scope.trace, scope.index, scope.guidance, scope.applied_mask
            )
            before = scope.trace.steps[: scope.index]
            self.worker.start(lambda: self._show_errors(run, first, before, scope.image), here=here)

    def _show_errors(self, run: Run, first: Step, before: tuple[Step, ...], image: int) -> None:
        self.go.disabled, self.cancel.disabled = True, False
        try:
            self._walk(run, first, before, image)
        except Exception as error:
            self.scope.notice.fail(error)
        finally:
            self.go.disabled, self.cancel.disabled = False, True

    def _walk(self, run: Run, first: Step, before: tuple[Step, ...], image: int) -> None:
        """Step by step to the end, or to where it is cancelled."""
        steps: list[Step] = []
        self.bar.max, self.bar.value = run.evaluations - first.index, 0
        for (step,) in walk_together([run], firsts=[first]):
            assert step is not None, "a run of its own ends with its last step"
            steps.append(step)
            self.bar.value = len(steps)
            if self.worker.stop.is_set():
                break
        last = steps[-1].x_next
        assert last is not None, "a step that was walked has a next latent"
        if steps[-1].index + 1 == run.evaluations:
            made = ended(run, tuple(steps), last)
        else:
            made = Trace(run.settings, tuple(steps), run.evaluations)
        self._present(replace(made, steps=(*before, *steps)), image)

    def _present(self, trace: Trace, image: int) -> None:
        """Both ends; of a branch that was stopped, the prediction that it had reached."""
        scope = self.scope
        scope.branched = trace
        self._show(self.own, scope.trace, image)
        self._show(self.end, trace, image)
        way = describe.of_guidance(trace.settings.guidance)
        stopped = (
            ""
            if trace.pictures
            else f", stopped after step {trace[-1].index} of {trace.evaluations}"
        )
        mask = " with the hand-made mask" if trace[-1].hand_mask is not None else ""
        self.words.value = (
            f'<p role="status">From step {trace.settings.branched_at} on: {way}{mask}{stopped}.</p>'
        )

    def _show(self, picture: Picture, trace: Trace, image: int) -> None:
        words = describe.of_guidance(trace.settings.guidance)
        if trace.pictures:
            picture.show(trace.pictures[image], words)
            return
        rough = preview(trace[-1].x0_guided, self.scope.model.latent_rgb)[image]
        picture.show(to_png(rough), f"{words}, preview of step {trace[-1].index}")
