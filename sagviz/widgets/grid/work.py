"""Cells of a sweep made with a model, beside the notebook, and how far that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.errors import ArgumentError
from sagviz.models import Model, as_model
from sagviz.models.fingerprint import fingerprint
from sagviz.plot.shots import status_of
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import resume
from sagviz.sweeps import Sweep
from sagviz.sweeps.plan import Cell
from sagviz.widgets.common.controls import progress_bar
from sagviz.widgets.common.layout import flow, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.time_left import duration, time_left
from sagviz.widgets.common.worker import Worker


class Work(traitlets.HasTraits):
    """What is done about the cells of a sweep, one piece of work at a time.

    Attributes:
        model: makes the cells; `None` where there is none.
        damaged: why a cell that is in the store cannot be read, by its key.
        progress: bar and words, to be shown.
    """

    busy = traitlets.Bool(False, help="whether something is under way")
    running: Any = traitlets.Any(frozenset(), help="the keys of the cells that are under way")

    def __init__(self, sweep: Sweep, notice: Notice) -> None:
        super().__init__()
        self.sweep, self.notice, self.worker = sweep, notice, Worker()
        self.model: Model | None = None
        self.damaged: dict[str, str] = {}
        self.bar, self.status = progress_bar(), text("sag-status")
        self.progress: W.Box = flow(self.bar, self.status)
        self.progress.layout.display = "none"
        self._began = 0.0

    def use(self, model: Model | None) -> None:
        """Take this model, if it is one.

        Raises:
            ArgumentError: it is another one than the sweep's.
        """
        plan, model = self.sweep.plan, None if model is None else as_model(model)
        if model is not None and fingerprint(model, plan.guidance) != plan.fingerprint:
            raise ArgumentError(
                f"{model.name} has other weights, adapters, tokens or dtype than {plan.model},"
                " which this sweep is of; load that as it was"
            )
        self.model = model or self.model

    def status_of(self, cell: Cell | None) -> tuple[str, str]:
        """How far a cell is, and why it failed."""
        if cell is None:
            return "absent", ""
        if cell.key in self.running:
            return "running", ""
        if cell.key in self.damaged:
            return "failed", self.damaged[cell.key]
        return status_of(self.sweep, cell)

    def make(self, seen: Sequence[Cell | None], batch: int, *, here: bool = False) -> None:
        """Make all missing cells, `batch` at a time, those that are seen first."""
        self._start(lambda model: self._make(model, seen, batch), here)

    def make_whole(self, cell: Cell, use: Callable[[Trace], None], *, here: bool = False) -> None:
        """Make a cell anew with all its steps, and give them to `use`."""
        self._start(lambda model: use(self._run_whole(model, cell)), here)

    def _make(self, model: Model, seen: Sequence[Cell | None], batch: int) -> None:
        self.damaged = {}
        left = sorted(self.sweep.missing(), key=lambda cell: cell not in seen)
        total = len(left)
        self._mark(left[:batch])
        self._follow(0, total, "cells")
        for done, cell in enumerate(self.sweep.run(model, cells=tuple(left), batch=batch), 1):
            left.remove(cell)
            self._mark(left[:batch])
            if not self._follow(done, total, "cells"):
                break

    def _mark(self, cells: Sequence[Cell]) -> None:
        self.running = frozenset(cell.key for cell in cells)

    def _run_whole(self, model: Model, cell: Cell) -> Trace:
        """All steps of a cell; where it is stopped, those that were done."""
        self.use(model)  # it may have been changed since
        whole = resume(model, cell.settings)

        def follow(steps: Sequence[Step | None]) -> bool:
            done = sum(step.index + 1 for step in steps if step)
            return self._follow(done, whole.evaluations, "steps")

        (trace,) = collect([whole], follow=follow)
        return trace

    def _start(self, work: Callable[[Model], None], here: bool) -> None:
        """Do work that needs the model: here, or in the thread, which shows its errors."""
        model = self.model
        if model is None:
            raise ArgumentError(
                "there is no model to run cells with; give it to Grid(sweep, model=model) or to"
                " grid.run(model)"
            )
        self.worker.start(lambda: self._work(lambda: work(model), here), here=here)

    def _work(self, work: Callable[[], None], here: bool) -> None:
        self._began = time.monotonic()
        self.progress.layout.display = None
        self.busy = True
        try:
            with self.worker.turn():
                work()
        except Exception as error:
            if here:
                raise
            self.notice.fail(error)
        finally:
            self._mark([])
            self.busy = False

    def _follow(self, done: int, total: int, unit: str) -> bool:
        """Show how far the work is; whether to go on."""
        self.bar.max, self.bar.value = max(1, total), done
        spent, stopped = time.monotonic() - self._began, self.worker.stop.is_set()
        if done == total:
            words = f", {duration(spent)}"
        elif stopped:
            words = ", stopped"
        else:
            words = f", {time_left(spent, done, total)}" if done else ""
        self.status.value = f'<span role="status">{done} of {total} {unit}{words}</span>'
        return not stopped
