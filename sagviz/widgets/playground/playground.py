"""`Playground`: a prompt, a few sliders, and the same noise under CFG and under CFG + SAG, step by
step as they are computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

import ipywidgets as W
from torch import Tensor

from sagviz import plot
from sagviz.errors import ArgumentError, SagvizError
from sagviz.image import png_texts
from sagviz.models import Model
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.loop import ended, walk_together
from sagviz.sampling.memory_check import check_memory
from sagviz.sampling.prepare import Run
from sagviz.widgets.common.parts import close_all, column, flow, tip
from sagviz.widgets.common.worker import Worker
from sagviz.widgets.playground.form import BEST, Form
from sagviz.widgets.playground.history import History
from sagviz.widgets.playground.pictures import Made, Screen

PURPOSE = (
    "The same prompt and the same noise twice: with text guidance (CFG), and with self-attention"
    " guidance (SAG) added."
)
WITHOUT_TEXT = (
    "The same noise twice: as the model draws it, and with self-attention guidance (SAG)."
)


class Playground(Form):
    """Make pictures: the same prompt and noise with text guidance alone (CFG) and with
    self-attention guidance added.

    Shows each step as it is computed. Cancel works meanwhile and keeps what was done. The last runs
    stay as small pictures; each picture can be downloaded with its settings inside, and loading
    such a file sets the form.

    Args:
        model: from `load`.
        options: any of the settings, e.g. `prompt="a fox", seed=7`.

    Attributes:
        traces: (cfg, cfg_sag) of the run that is shown; of a cancelled run the steps so far.
    """

    def __init__(self, model: Model, **options: Any) -> None:
        super().__init__(model, **options)
        self.traces: tuple[Trace, ...] = ()
        self.worker = Worker()
        self.screen = Screen(model)
        self.history = History(lambda made: self._try(lambda: self.show(made)))
        self.more = W.VBox()
        self.buttons = {
            "run": self._button("Run", "make both pictures", self._launch, "primary"),
            "cancel": self._button(
                "Cancel", "stop after this step and keep what is done", self.worker.cancel
            ),
            "reset": self._button(
                "Reset",
                "all settings to their initial values, and a new seed for each run",
                self.reset,
            ),
            "best": self._button(
                "Article's best", "text guidance 10, SAG scale 1, 200 steps", lambda: self.set(BEST)
            ),
            "explain": self._button(
                "Explain this", "open the Microscope on the run that is shown", self.explain
            ),
        }
        self.upload = W.FileUpload(
            accept=".png", description="Load settings from a PNG", layout=W.Layout(width="auto")
        )
        tip(self.upload, "a picture that was downloaded here, or that sagviz generate made")
        self.upload.observe(
            lambda change: self._try(lambda: self._uploaded(change["new"])), "value"
        )
        self._arrange()
        self._set_running(False)

    def run(self) -> tuple[Trace, ...]:
        """Run with the settings of the form, here and now: (cfg, cfg_sag). The Run button does the
        same beside the notebook.

        Raises:
            ArgumentError: the settings do not go together.
            BaseException: whatever stops the run, Ctrl-C included; the steps so far are in
                `traces`.
        """
        runs = self._ready()
        self.worker.start(lambda: self._run(runs), here=True)
        return self.traces

    def show(self, made: Made) -> None:
        """Bring a run of the history back: its settings, pictures and traces."""
        self._check_idle()
        self._present(made)
        self._restore(made.traces[-1].settings)

    def load(self, content: bytes) -> None:
        """Set the form to the settings inside a PNG that a download button or `sagviz generate`
        made.
        """
        self._restore(read_settings(content))

    def explain(self) -> None:
        """Open the Microscope on the run that is shown, below."""
        self._check_idle()
        if not self.traces or not len(self.traces[-1]):
            raise SagvizError("there are no steps to explain; press Run first")
        from sagviz.widgets.microscope.microscope import Microscope

        close_all(self.more.children)
        self.more.children = (Microscope(self.model, self.traces[-1]),)

    def static_html(self) -> str:
        if self.traces and all(trace.pictures for trace in self.traces):
            return plot.triptych(self.traces)._repr_html_()
        return (
            "<p>A Playground of sagviz. Run this notebook in Jupyter to make pictures with it.</p>"
        )

    def _arrange(self) -> None:
        reads = self.model.reads_text
        main = flow(
            *(
                self.buttons[name]
                for name in ("run", "cancel", "reset", *(["best"] if reads else []))
            )
        )
        after = flow(self.buttons["explain"], self.upload)
        model = escape(repr(self.model).strip("<>"))
        self.fill(
            W.HTML(
                f"<h3>Playground</h3><p>{PURPOSE if reads else WITHOUT_TEXT} <span"
                f" class='sag-quiet'>{model}.</span></p>"
            ),
            flow(
                column(self.controls(), main, self.advanced(), width="320px"),
                column(self.screen, after, width="400px"),
            ),
            self.table(),
            self.history,
            self.more,
        )

    def _set_running(self, running: bool) -> None:
        for name, made in self.buttons.items():
            made.disabled = running != (name == "cancel")

    def _check_idle(self) -> None:
        if self.worker.busy:
            raise SagvizError("a run is under way; wait for its end or cancel it")

    def _ready(self) -> tuple[Run, Run]:
        self._check_idle()
        runs = self.prepare()
        check_memory(runs, [set(range(run.evaluations)) for run in runs])
        return runs

    def _launch(self) -> None:
        runs = self._ready()
        self.worker.start(lambda: self._run_and_show_errors(runs))

    def _run_and_show_errors(self, runs: tuple[Run, Run]) -> None:
        try:
            self._run(runs)
        except Exception as error:
            self.notice.fail(error)

    def _run(self, runs: tuple[Run, Run]) -> None:
        """Walk both runs in lockstep and show them; stopped or not, what was done is kept."""
        self._set_running(True)
        self.screen.clear()
        records: tuple[list[Step], ...] = ([], [])
        try:
            for steps in _pairs(runs):
                for own, step in zip(records, steps, strict=True):
                    own.append(step)
                self.screen.follow(steps, runs[0].evaluations)
                if self.worker.stop.is_set():
                    break
        finally:
            try:
                self._keep(runs, records)
            finally:
                self._set_running(False)

    def _keep(self, runs: tuple[Run, Run], records: tuple[list[Step], ...]) -> None:
        pairs = list(zip(runs, map(tuple, records), strict=True))
        if not records[0]:
            return
        if len(records[0]) == runs[0].evaluations:
            traces = [ended(run, steps, _last(steps)) for run, steps in pairs]
        else:
            traces = [Trace(run.settings, steps, run.evaluations) for run, steps in pairs]
        made = Made.of(traces, self.model)
        self.history.add(made)
        self._present(made)

    def _present(self, made: Made) -> None:
        self.traces = made.traces
        self.screen.present(made)

    def _restore(self, settings: Settings) -> None:
        lost = self.restore(settings)
        if lost:
            self.notice.warn(*lost)
        else:
            self.notice.say("The form has the settings of that picture; Run makes it again.")

    def _uploaded(self, value: Any) -> None:
        """ipywidgets 7 gives a dict of files by name, 8 a tuple."""
        for file in list(value.values() if isinstance(value, dict) else value):
            self.load(bytes(file["content"]))


def _pairs(runs: tuple[Run, Run]) -> Iterator[list[Step]]:
    """The steps of both runs in lockstep. The run with SAG goes first: it bears the cost of what
    they share.
    """
    for pair in walk_together(runs[::-1]):
        yield [step for step in reversed(pair) if step is not None]


def _last(steps: tuple[Step, ...]) -> Tensor:
    assert steps[-1].x_next is not None, "a step that was walked has a next latent"
    return steps[-1].x_next


def read_settings(content: bytes) -> Settings:
    """The settings inside a PNG.

    Raises:
        ArgumentError: it is no picture, or has none.
    """
    try:
        return Settings.from_json(json.loads(png_texts(content)["sagviz"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArgumentError(
            "this file holds no settings of sagviz; give a PNG that was downloaded here or that"
            " sagviz generate made"
        ) from error
