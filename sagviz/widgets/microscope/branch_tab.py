"""A branch from the step under the Microscope to the end, beside the run's own end: compared with
it step by step, and saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import ipywidgets as W

from sagviz import describe
from sagviz.describe import file_stem
from sagviz.errors import SagvizError
from sagviz.html import link
from sagviz.image import preview, to_png
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import Run
from sagviz.sampling.what_if import depart
from sagviz.widgets.common.controls import action_button, progress_bar
from sagviz.widgets.common.layout import close_all, flow, stack, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.common.still import live
from sagviz.widgets.common.worker import Worker
from sagviz.widgets.microscope.settings import StepSettings
from sagviz.widgets.scrubber.scrubber import Scrubber


class BranchTab(W.VBox):
    """The tab of the Microscope that follows its settings to the end of the run.

    Attributes:
        branch: the last branch, `None` before there is one.
    """

    def __init__(self, settings: StepSettings, notice: Notice) -> None:
        self.settings, self.notice, self.worker = settings, notice, Worker()
        self.branch: Trace | None = None
        height, width = settings.grid
        self.own = Picture("The run's own end", 260, ratio=height / width)
        self.end = Picture("The end of the branch", 260, ratio=height / width)
        for picture in (self.own, self.end):
            picture.add_class("sag-end")
        words = "run the remaining steps under these settings"
        self.go = action_button(notice, "Go on from here", words, self.start, "primary")
        words = "stop after this step and keep what is done"
        self.cancel = action_button(notice, "Cancel", words, self.worker.cancel)
        self.go.add_class("sag-go-on")
        self.cancel.add_class("sag-cancel")
        self.cancel.disabled = True
        words = "both runs in a Scrubber, below"
        self.beside = action_button(notice, "Compare step by step", words, self.compare)
        words = "the branch as a file that sv.Trace.load reads, and its end as a picture"
        self.keep = action_button(notice, "Save the branch", words, self.save)
        self.links, self.opened = live(text("sag-branch-files")), stack()
        self.bar = progress_bar()
        self.words = text(
            "sag-branch-words",
            "<p>The steps before stay as they are; those from here on are made anew.</p>",
        )
        settings.observe(lambda _: self._show_own(), "image")
        self._show_own()
        self._offer(None)
        head = (flow(self.go, self.cancel, self.bar), self.words)
        after = flow(self.beside, self.keep, self.links)
        super().__init__([*head, flow(self.own, self.end), after, self.opened])

    def start(self, *, here: bool = False) -> None:
        """Begin the branch, in a thread where there is a kernel, or do all of it here."""
        settings, trace, index = self.settings, self.settings.trace, self.settings.index
        guidance, mask = settings.guidance, settings.applied_mask
        run, first = depart(settings.model, trace, index, guidance, mask)
        before, image = trace.steps[:index], settings.image
        self.worker.start(lambda: self._work(run, first, before, image), here=here)

    def compare(self) -> None:
        """Open a Scrubber on the run and its branch."""
        image = self.settings.image
        runs = [self.settings.trace.of_image(image), self._made.of_image(image)]
        close_all(self.opened.children)
        decoder = self.settings.model if self.settings.decoded else None
        self.opened.children = (Scrubber(runs, decoder, front=1),)

    def save(self) -> None:
        """Links to the branch's files; they are made now, because a large run takes a while."""
        branch = self._made
        stem = f"{file_stem(branch.settings)}-from-{1 + (branch.settings.branched_at or 0)}"
        content = branch.to_bytes()
        words = f"Download run ({len(content) / 1e6:.1f} MB)"
        links = [link(content, "application/octet-stream", f"{stem}.sagtrace", words)]
        links += [
            link(picture, "image/png", f"{stem}.png", "Download picture")
            for picture in branch.pictures[self.settings.image :][:1]
        ]
        self.links.value = " ".join(links)

    @property
    def _made(self) -> Trace:
        if self.branch is None:
            raise SagvizError("there is no branch yet; press Go on from here first")
        return self.branch

    def _offer(self, branch: Trace | None) -> None:
        """A branch, or that there is none yet: nothing of an older one is left."""
        self.branch, self.links.value = branch, ""
        close_all(self.opened.children)
        self.opened.children = ()
        for made in (self.beside, self.keep):
            made.disabled = branch is None

    def _work(self, run: Run, first: Step, before: tuple[Step, ...], image: int) -> None:
        """To the end, or to where it is cancelled."""
        self.go.disabled, self.cancel.disabled = True, False
        self.bar.max, self.bar.value = run.evaluations - first.index, 0
        try:
            with self.worker.turn():
                (made,) = collect([run], firsts=[first], follow=self._follow)
            self._present(replace(made, steps=(*before, *made.steps)), image)
        except Exception as error:
            self.notice.fail(error)
        finally:
            self.go.disabled, self.cancel.disabled = False, True

    def _follow(self, steps: Sequence[Step | None]) -> bool:
        del steps
        self.bar.value += 1
        return not self.worker.stop.is_set()

    def _present(self, branch: Trace, image: int) -> None:
        """Its end; of a branch that was stopped, the prediction that it had reached."""
        self._offer(branch)
        self._show(self.end, branch, image)
        way = describe.of_guidance(branch.settings.guidance)
        stopped = ""
        if not branch.pictures:
            stopped = f", stopped after step {branch[-1].number} of {branch.evaluations}"
        mask = " with the hand-made mask" if branch[-1].hand_mask is not None else ""
        self.words.value = (
            f'<p role="status">From step {1 + (branch.settings.branched_at or 0)} on:'
            f" {way}{mask}{stopped}.</p>"
        )

    def _show_own(self) -> None:
        self._show(self.own, self.settings.trace, self.settings.image)

    def _show(self, picture: Picture, trace: Trace, image: int) -> None:
        words = describe.of_guidance(trace.settings.guidance)
        if trace.pictures:
            picture.show(trace.pictures[image], words)
            return
        rough = preview(trace[-1].x0_guided, self.settings.model.latent_rgb)[image]
        picture.show(to_png(rough), f"{words}, preview of step {trace[-1].number}")
