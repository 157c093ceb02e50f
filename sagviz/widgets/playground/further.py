"""Where a run goes from the Playground: into other widgets below, and into files.

Those that draw are imported when they are opened, so that the first picture need not wait for
Matplotlib.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import ipywidgets as W

from sagviz.codegen import code_of_run
from sagviz.errors import SagvizError
from sagviz.image import from_png
from sagviz.models import Model
from sagviz.sampling.prepare import resume
from sagviz.sweeps import Sweep
from sagviz.widgets.common.controls import action_button, labelled
from sagviz.widgets.common.host import check_limits
from sagviz.widgets.common.layout import close_all, flow, stack
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.page import arrival, copy_button, saver
from sagviz.widgets.common.still import live
from sagviz.widgets.common.time_left import time_left
from sagviz.widgets.playground import save
from sagviz.widgets.playground.history import History
from sagviz.widgets.playground.made import Made
from sagviz.widgets.playground.pictures import COVERED, Screen
from sagviz.widgets.preference import Preference

OPENING, SAVING = "Opening ...", "Saving ..."
Saved = Callable[[Made, int], tuple[str, str, bytes]]


class Further(W.VBox):
    """Buttons under the pictures.

    Attributes:
        buttons: by name.
        place: where the widgets open.
    """

    def __init__(self, model: Model, screen: Screen, history: History, notice: Notice) -> None:
        self.model, self.screen, self.history = model, screen, history
        self.place = W.VBox(layout=W.Layout(overflow="visible"))
        self.saver, self.began = saver(), 0.0
        make = partial(action_button, notice)
        opened = {
            "explain": (
                "Explain this",
                "open the Microscope on the run that is shown",
                self.explain,
            ),
            "steps": ("Step by step", "open both runs in the Scrubber", self.scrub),
            "vote": ("Vote", "vote blindly on the pairs of the last runs", self.vote),
            "code": ("As code", "the Python that makes this run", self.code),
        }
        saved: dict[str, tuple[str, str, Saved]] = {
            "pair": ("Pair, 4 ×", "both pictures side by side as one PNG", save.pair),
            "player": (
                "Player",
                "both runs as one file to send: it opens in any browser, without Python or network",
                partial(save.player, model, self._tell_left),
            ),
            "trace": ("Trace", "the run with SAG and all its steps", save.trace),
        }
        self.buttons = {name: make(*given) for name, given in opened.items()}
        self.buttons["explain"].button_style = "primary"
        first = flow(*self.buttons.values(), name="sag-below")
        files = {
            name: make(label, f"save {words}", partial(self._save, name, write))
            for name, (label, words, write) in saved.items()
        }
        self.buttons |= files
        second = flow(W.HTML("Save"), *files.values(), self.saver, name="sag-save")
        super().__init__([first, live(second)], layout=W.Layout(grid_gap="6px"))
        self.layout.overflow = "visible"

    def explain(self) -> None:
        """Open the Microscope on the seed that is shown."""
        from sagviz.widgets.microscope.microscope import Microscope

        made = save.with_steps(self.screen.made)
        self._open(
            "explain", lambda: Microscope(self.model, made.traces[-1], image=self.screen.image)
        )

    def scrub(self) -> None:
        """Open both runs of the seed that is shown in the Scrubber."""
        from sagviz.widgets.scrubber.scrubber import Scrubber

        made = save.with_steps(self.screen.made)
        self._open("steps", lambda: Scrubber(made.of_image(self.screen.image), self.model))

    def vote(self) -> None:
        """Open a vote on all pairs of the last runs that have the same names as the one shown, on
        equal ones once. The same pictures above, under their names, are covered until it is over.
        """
        shown = self.screen.made
        alike = [
            run for run in self.history.runs if shown and run.whole and run.names == shown.names
        ]
        if shown is None or not alike:
            raise SagvizError("there is no pair to vote on; press Run first")
        pairs = (
            [from_png(content) for content in run.pair(image)]
            for run in alike
            for image in range(run.images)
        )
        # of two equal runs the notes may differ in the files, the pictures do not
        unlike = {tuple(picture.tobytes() for picture in pair): pair for pair in pairs}

        def begin() -> Preference:
            vote = Preference([*unlike.values()], names=shown.names)
            vote.end.observe(lambda change: self.cover(not change["new"]), "value")
            return vote

        self._open("vote", begin)
        self.cover(True)

    def code(self) -> None:
        """Show the Python that makes the run with SAG."""
        made = self.screen.made
        if made is None:
            raise SagvizError("there is no run to write down; press Run first")
        settings = made.traces[-1]
        words = "the Python that makes the run with SAG"
        box = labelled(W.Textarea(description="Python", rows=9), words)
        box.value = code_of_run(self.model, settings)
        box.add_class("sag-code")
        self._open("code", lambda: stack(*copy_button(box), box))

    def cross(self, sweep: Sweep, columns: str, rows: str) -> None:
        """Open a Grid on a sweep that begins now."""
        from sagviz.widgets.grid.grid import Grid

        check_limits([resume(self.model, cell.settings) for cell in sweep.cells])
        grid = Grid(sweep, self.model, columns=columns, rows=rows)
        self._show(grid)
        grid.buttons["run"].click()

    def _open(self, name: str, make: Callable[[], W.Widget]) -> None:
        with self._at_work(name, OPENING):
            self._show(make())

    def cover(self, covered: bool) -> None:
        """Whether the pictures of the runs are not to be made out, while a vote is going on."""
        for each in (self.screen, self.history):
            (each.add_class if covered else each.remove_class)(COVERED)

    def _show(self, widget: W.Widget) -> None:
        self.cover(False)
        close_all(self.place.children)
        self.place.children = (*arrival(), widget)

    def _save(self, name: str, write: Saved) -> None:
        made = self.screen.made
        if made is None:
            raise SagvizError("there is no picture to save; press Run first")
        with self._at_work(name, SAVING):
            self.saver.save(*write(made, self.screen.image))

    def _tell_left(self, done: int, total: int) -> None:
        """How long the player still takes."""
        left = time_left(time.monotonic() - self.began, done, total)
        self.buttons["player"].description = f"{SAVING} {left}"

    @contextmanager
    def _at_work(self, name: str, words: str) -> Iterator[None]:
        """Meanwhile the button says so, and cannot be pressed again."""
        button, self.began = self.buttons[name], time.monotonic()
        label, button.description, button.disabled = button.description, words, True
        try:
            yield
        finally:
            button.description, button.disabled = label, False
