"""The last runs as small pictures; a click brings one back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sagviz.widgets.common.notice import Notice
from sagviz.widgets.playground.made import Made
from sagviz.widgets.playground.strip import Strip

LENGTH = 8  # runs
MAX_BYTES = 2**30  # of steps in all of them; older runs lose theirs first


class History(Strip):
    """The last runs, newest first.

    Args:
        notice: where errors are shown.
        bring: what to do with the run that is clicked.
    """

    def __init__(self, notice: Notice, bring: Callable[[Made], None]) -> None:
        self.runs: deque[Made] = deque(maxlen=LENGTH)
        words = "show this run and fill the form with its settings"
        super().__init__(notice, "Last runs", words, lambda number: bring(self.runs[number]))
        self.add_class("sag-history")

    def add(self, made: Made) -> None:
        """Put a run first."""
        self.runs.appendleft(made)
        total = 0
        for number, run in enumerate(self.runs):
            total += run.nbytes
            if number and total > MAX_BYTES:
                self.runs[number] = run.thinned
        self.show([(run.small(0), run.names, run.words) for run in self.runs])

    def mark_run(self, made: Made) -> None:
        """Show which of them is seen large."""
        self.mark(next((n for n, run in enumerate(self.runs) if run is made), -1))
