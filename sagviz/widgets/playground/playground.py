"""`Playground`: a prompt, a few sliders, and the same noise under CFG and under CFG + SAG, step by
step as they are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sagviz.errors import SagvizError, Unfinished, collected, warn
from sagviz.models import Model
from sagviz.models.load import load
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import Run
from sagviz.widgets.common.controls import action_button
from sagviz.widgets.common.host import check_limits
from sagviz.widgets.common.layout import column, flow, stack, text
from sagviz.widgets.common.still import live
from sagviz.widgets.common.view import View
from sagviz.widgets.common.worker import Worker
from sagviz.widgets.playground import form
from sagviz.widgets.playground.examples import BEST, Example
from sagviz.widgets.playground.further import Further
from sagviz.widgets.playground.history import History
from sagviz.widgets.playground.line import Asked, Line
from sagviz.widgets.playground.made import Made
from sagviz.widgets.playground.pictures import Screen
from sagviz.widgets.playground.restore import read_settings
from sagviz.widgets.playground.settings import FormSettings
from sagviz.widgets.playground.start import contents, uploader
from sagviz.widgets.playground.words import near_words

STYLE = (Path(__file__).parent / "playground.css").read_text(encoding="utf-8")


class Playground(View):
    """Make pictures: the same prompt and noise with text guidance alone (CFG) and with
    self-attention guidance added.

    Shows each step as it is computed. Run while a run is under way puts the next one in line;
    Cancel stops the one that is under way and keeps what was done. The last runs stay as small
    pictures; each picture can be downloaded with its settings inside, and loading such a file sets
    the form. A run goes on into the Microscope, the Scrubber, a vote, or a grid of any two
    settings.

    Example:
        >>> import sagviz as sv
        >>> playground = sv.Playground(sv.load(), prompt="a fox", steps=2)
        >>> playground.sag_scale = 0.5
        >>> cfg, cfg_sag = playground.run()
        >>> cfg_sag.settings.guidance
        CFG(3.0) + SAG(0.5)
        >>> playground.close()

    Args:
        model: from `load`; the miniature where `None`.
        options: any of the settings, e.g. `prompt="a fox", seed=7`; each term of guidance that the
            model takes has its scale among them, e.g. `pag_scale=2`.

    Attributes:
        traces: (cfg, cfg_sag) of the run that is shown; of a cancelled run the steps so far.
    """

    settings_type = FormSettings
    settings: FormSettings

    def __init__(self, model: Model | None = None, **options: Any) -> None:
        super().__init__(load() if model is None else model, **options)
        self.model = self.settings.model
        self.traces: tuple[Trace, ...] = ()
        self.worker = Worker()
        sums = self.settings.guidance(self.settings.values())
        self.screen = Screen(self.model, sums, self.notice)
        self.history = History(self.notice, self.show)
        self.line = Line(self.notice)
        self.further = Further(self.model, self.screen, self.history, self.notice)
        self.more = self.further.place
        make = partial(action_button, self.notice)
        run = "make both pictures, now or after the run that is under way"
        stop = "stop after this step and keep what is done"
        again = "all settings to their initial values, and a new seed for each run"
        best = "text guidance 10, SAG scale 1, 200 steps"
        self.buttons = {
            "run": make("Run", run, self._launch, "primary"),
            "cancel": make("Cancel", stop, self.worker.cancel),
            "reset": make("Reset", again, self.reset),
            "best": make("Article's best", best, lambda: self.set(BEST)),
            **self.further.buttons,
        }
        words = "a picture that was downloaded here, or that sagviz generate made"
        load_png = (".png", "Load settings from a PNG", words, self.load_files)
        self.upload = uploader(self.notice, *load_png)
        self._arrange()
        self._set_running(False)

    def set(self, values: Example) -> None:
        """Set several settings."""
        self.settings.set(values)

    def reset(self) -> None:
        """All settings to their initial values, and from now on a new seed for each run."""
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
            BaseException: whatever stops it, Ctrl-C included; `traces` has the steps so far.
        """
        self._check_idle()
        asked = self._asked()
        for words in asked.warnings:
            warn(words)
        with self.shown_first():
            self.worker.start(lambda: self._run(asked), here=True)
        return self.traces

    def show(self, made: Made) -> None:
        """Bring a run of the history back: its settings, pictures and traces."""
        self._check_idle()
        self._present(made)
        self._restore(made.traces[-1].settings, made)

    def load(self, png: bytes | str | Path) -> None:
        """Set the form to the settings inside a PNG that this or `sagviz generate` made: the file,
        or its content.
        """
        self._restore(read_settings(png))

    def load_files(self, value: Any) -> None:
        """Load what an upload button holds."""
        for content in contents(value):
            self.load(content)

    def explain(self) -> None:
        """Open the Microscope on the run that is shown, below the pictures."""
        self._check_idle()
        self.further.explain()

    def close(self) -> None:
        self.line.clear()
        self.worker.cancel()
        super().close()

    def _arrange(self) -> None:
        reads, settings, notice = self.model.reads_text, self.settings, self.notice
        names = ("run", "cancel", "reset", *(["best"] if reads else []))
        launch = partial(notice.attempt, self._launch)
        beside = form.beside(settings, notice, self.further.cross)
        settings_column = column(beside, live(self.upload), width="300px")
        shown = (self.screen, *near_words(settings), self.further, self.history)
        pictures = column(*shown, width="560px")
        pictures.layout.flex = "2 1 560px"
        self.fill(
            form.heading(self.model),
            live(text("sag-style", f"<style>{STYLE}</style>")),
            stack(
                form.texts(settings, notice, launch),
                flow(*(self.buttons[name] for name in names), self.line),
                notice,
            ),
            flow(pictures, settings_column),
            self.more,
            notice=False,
        )

    def _set_running(self, running: bool) -> None:
        self.buttons["cancel"].disabled = not running
        for name in self.further.buttons:
            self.buttons[name].disabled = running

    def _check_idle(self) -> None:
        if self.worker.busy:
            raise SagvizError("a run is under way; wait for its end or cancel it")

    def _asked(self) -> Asked:
        with collected() as words:
            runs = self.prepare()
        check_limits(runs)
        return Asked(runs, self.settings.image, tuple(words))

    def _launch(self) -> None:
        """Put the form's run in line, and begin where nobody is at it."""
        if not self.line.add(self._asked()):
            return
        self.worker.wait()  # for one that has found the line empty a moment ago
        try:
            self.worker.start(self._serve)
        except SagvizError:
            self.line.clear()
            raise

    def _serve(self) -> None:
        """One run after the other, until nobody waits."""
        try:
            while (asked := self.line.take()) is not None:
                try:
                    self._run(asked)
                except Exception as error:
                    self.notice.fail(error)
                self.worker.stop.clear()
        except BaseException:
            self.line.clear()
            raise

    def _run(self, asked: Asked) -> None:
        """Both runs in lockstep; stopped or not, what was done is kept. The run with SAG goes
        first: it bears the cost of what they share.
        """
        runs = asked.runs

        def follow(steps: Sequence[Step | None]) -> bool:
            self.screen.follow([step for step in reversed(steps) if step], runs[0].evaluations)
            return not self.worker.stop.is_set()

        self._set_running(True)
        self.screen.clear([run.settings for run in runs], asked.warnings)
        try:
            with self.worker.turn():
                made = collect(runs[::-1], follow=follow)
            self._keep(made[::-1], asked)
        except BaseException as error:
            if isinstance(error, Unfinished):
                self._keep(error.traces[::-1], asked)
            raise
        finally:
            self.screen.end()
            self._set_running(False)

    def _keep(self, traces: Sequence[Trace], asked: Asked) -> None:
        if traces and len(traces[0]):
            made = Made.of(traces, self.model, asked.start, asked.warnings)
            self.history.add(made)
            self._present(made)

    def _present(self, made: Made) -> None:
        self.traces = made.traces
        self.screen.present(made)
        self.history.mark_run(made)

    def _restore(self, settings: Settings, made: Made | None = None) -> None:
        lost = self.settings.restore(settings, made.start if made else None)
        if lost:
            self.notice.warn(*lost)
        else:
            self.notice.say("The form has the settings of that picture; Run makes it again.")
