"""`Playground`: a prompt, a few sliders, and the same noise under CFG and under CFG + SAG, step by
step as they are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import ipywidgets as W

from sagviz.errors import SagvizError, Unfinished
from sagviz.models import Model
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import Run
from sagviz.widgets.common.controls import action_button, tip
from sagviz.widgets.common.host import check_limits
from sagviz.widgets.common.layout import close_all, column, flow
from sagviz.widgets.common.page import arrival
from sagviz.widgets.common.view import View
from sagviz.widgets.common.worker import Worker
from sagviz.widgets.microscope.microscope import Microscope
from sagviz.widgets.playground import form
from sagviz.widgets.playground.history import History
from sagviz.widgets.playground.pictures import Made, Screen, read_settings
from sagviz.widgets.playground.settings import BEST, Example, FormSettings

PURPOSE = (
    "The same prompt and the same noise twice: with text guidance (CFG), and with self-attention"
    " guidance (SAG) added."
)
WITHOUT_TEXT = (
    "The same noise twice: as the model draws it, and with self-attention guidance (SAG)."
)


class Playground(View):
    """Make pictures: the same prompt and noise with text guidance alone (CFG) and with
    self-attention guidance added.

    Shows each step as it is computed. Cancel works meanwhile and keeps what was done. The last runs
    stay as small pictures; each picture can be downloaded with its settings inside, and loading
    such a file sets the form.

    Example:
        >>> import sagviz as sv
        >>> playground = sv.Playground(sv.load(), prompt="a fox", steps=2)
        >>> playground.sag_scale = 0.5
        >>> cfg, cfg_sag = playground.run()
        >>> cfg_sag.settings.guidance
        CFG(3.0) + SAG(0.5)
        >>> playground.close()

    Args:
        model: from `load`.
        options: any of the settings, e.g. `prompt="a fox", seed=7`.

    Attributes:
        traces: (cfg, cfg_sag) of the run that is shown; of a cancelled run the steps so far.
    """

    settings_type = FormSettings
    settings: FormSettings

    def __init__(self, model: Model, **options: Any) -> None:
        super().__init__(model, **options)
        self.model = model = self.settings.model
        self.traces: tuple[Trace, ...] = ()
        self.worker = Worker()
        self.screen = Screen(model)
        self.history = History(self.notice, self.show)
        self.more = W.VBox()
        make = partial(action_button, self.notice)
        stop = "stop after this step and keep what is done"
        again = "all settings to their initial values, and a new seed for each run"
        best = "text guidance 10, SAG scale 1, 200 steps"
        look = "open the Microscope on the run that is shown"
        self.buttons = {
            "run": make("Run", "make both pictures", self._launch, "primary"),
            "cancel": make("Cancel", stop, self.worker.cancel),
            "reset": make("Reset", again, self.reset),
            "best": make("Article's best", best, lambda: self.set(BEST)),
            "explain": make("Explain this", look, self.explain),
        }
        # the style sheet writes its label, in place of one with a count of files
        self.upload = W.FileUpload(accept=".png", description="", layout=W.Layout(width="auto"))
        self.upload.add_class("sag-upload")
        tip(self.upload, "a picture that was downloaded here, or that sagviz generate made")
        self.upload.observe(lambda change: self._uploaded(change.new), "value")
        self._arrange()
        self._set_running(False)

    def set(self, values: Example) -> None:
        """Set several settings."""
        self.settings.set(values)

    def reset(self) -> None:
        """All settings to their initial values, but for the seed, which is drawn for each run from
        now on.
        """
        self.settings.reset()

    def prepare(self) -> tuple[Run, Run]:
        """The two runs, (cfg, cfg_sag), ready to start; draws the seed where it is not fixed, and
        shows it. A model that reads no prompt has (plain, sag).
        """
        return self.settings.prepare()

    def run(self) -> tuple[Trace, ...]:
        """Run with the settings of the form, here and now: (cfg, cfg_sag). The Run button does the
        same beside the notebook. A Playground that was not shown yet is shown first, so that its
        steps are seen.

        Raises:
            ArgumentError: the settings do not go together.
            BaseException: whatever stops the run, Ctrl-C included; the steps so far are in
                `traces`.
        """
        runs = self._ready()
        with self.shown_first():
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

    def load_files(self, value: Any) -> None:
        """Load what an upload button holds: ipywidgets 7 has a dict of files by name, 8 a tuple."""
        for file in list(value.values() if isinstance(value, dict) else value):
            self.load(bytes(file["content"]))

    def explain(self) -> None:
        """Open the Microscope on the run that is shown, below the pictures."""
        self._check_idle()
        if not self.traces or not len(self.traces[-1]):
            raise SagvizError("there are no steps to explain; press Run first")
        button = self.buttons["explain"]
        words, button.description, button.disabled = button.description, "Opening ...", True
        try:
            close_all(self.more.children)
            self.more.children = (*arrival(), Microscope(self.model, self.traces[-1]))
        finally:
            button.description, button.disabled = words, False

    def _arrange(self) -> None:
        reads = self.model.reads_text
        names = ("run", "cancel", "reset", *(["best"] if reads else []))
        main = flow(*(self.buttons[name] for name in names))
        after = flow(self.buttons["explain"], self.upload)
        launch = partial(self.notice.attempt, self._launch)
        asked = form.controls(self.settings, self.notice, launch)
        folded = form.advanced(self.settings)
        model = escape(repr(self.model).strip("<>"))
        self.fill(
            W.HTML(
                f"<h3>Playground</h3><p>{PURPOSE if reads else WITHOUT_TEXT} <span"
                f" class='sag-quiet'>{model}.</span></p>"
            ),
            flow(
                column(asked, main, self.notice, folded, width="320px"),
                column(self.screen, after, width="400px"),
            ),
            self.more,
            form.examples(self.settings, self.notice),
            self.history,
            notice=False,
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
        check_limits(runs)
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
        """Both runs in lockstep; stopped or not, what was done is kept. The run with SAG goes
        first: it bears the cost of what they share.
        """

        def follow(steps: Sequence[Step | None]) -> bool:
            self.screen.follow([step for step in reversed(steps) if step], runs[0].evaluations)
            return not self.worker.stop.is_set()

        self._set_running(True)
        self.screen.clear()
        try:
            with self.worker.turn():
                made = collect(runs[::-1], follow=follow)
            self._keep(made[::-1])
        except BaseException as error:
            if isinstance(error, Unfinished):
                self._keep(error.traces[::-1])
            raise
        finally:
            self._set_running(False)

    def _keep(self, traces: Sequence[Trace]) -> None:
        if traces and len(traces[0]):
            made = Made.of(traces, self.model)
            self.history.add(made)
            self._present(made)

    def _present(self, made: Made) -> None:
        self.traces = made.traces
        self.screen.present(made)

    def _uploaded(self, value: Any) -> None:
        """Load it, and hold nothing, so that the same file can come again."""
        if value:
            self.notice.attempt(lambda: self.load_files(value))
            self.upload.set_trait("value", type(value)())

    def _restore(self, settings: Settings) -> None:
        lost = self.settings.restore(settings)
        if lost:
            self.notice.warn(*lost)
        else:
            self.notice.say("The form has the settings of that picture; Run makes it again.")
