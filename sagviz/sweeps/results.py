"""`Sweep`: what came of a sweep, and what is still to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagviz import html
from sagviz.errors import ArgumentError
from sagviz.models import Model, as_model
from sagviz.records.trace import PAGE_BYTES, Trace
from sagviz.sweeps.dispatch import run
from sagviz.sweeps.fsspec_store import store_at
from sagviz.sweeps.plan import AXES, Cell, Plan, offered
from sagviz.sweeps.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of a plan, its cells, and where they are kept. What it says of them is what the
    store holds at that moment.

    Iterating gives the finished traces, loaded one after the other, in the order of `cells`.

    Example:
        >>> import sagviz as sv
        >>> made = sv.sweep(sv.load(), "a fox", seeds=[0, 1], steps=1, progress=False)
        >>> made, len(made.failed), len(made.pending), len(made.missing())
        (<Sweep of 2 cells: 2 done>, 0, 0, 0)
        >>> [trace.settings.seed for trace in made]
        [0, 1]
        >>> made.status(made.cells[0]), made.shown(made.cells[0])["seed"]
        ('done', 0)
    """

    plan: Plan
    store: Store

    @staticmethod
    def open(store: str | Path) -> Sweep:
        """The sweep that was begun last in this folder, or at this fsspec address. Needs no model.

        Raises:
            ArgumentError: there is none, or another version wrote it.

        Example:
            >>> import tempfile
            >>> import sagviz as sv
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     made = sv.sweep(sv.load(), steps=1, store=folder, progress=False)
            ...     sv.Sweep.open(folder)
            <Sweep of 1 cells: 1 done>
        """
        found = store_at(store, make=False)
        return Sweep(Plan.from_json(found.plan()), found)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All runs: prompts outermost, then seeds, steps, schedulers, and guidance innermost."""
        return self.plan.cells

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Trace]:
        return (self.store.load(cell.key) for cell in self._with("done"))

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self._counts().items())
        return f"<Sweep of {len(self)} cells: {counts}>"

    def status(self, cell: Cell) -> str:
        """ "done", "running" (some process works on it), "failed" or "pending"."""
        return self.store.status(cell.key)

    @property
    def failed(self) -> dict[Cell, str]:
        """The runs that failed, each with the reason. The same sweep tries them again."""
        reasons = {cell: self.store.failure(cell.key) for cell in self._with("failed")}
        return {cell: reason.error for cell, reason in reasons.items() if reason is not None}

    @property
    def pending(self) -> tuple[Cell, ...]:
        """The runs that are neither done nor failed; those that are being made are among them."""
        return tuple(self._with("pending", "running"))

    def missing(self) -> tuple[Cell, ...]:
        """The runs that are still to be made: pending, failed, or damaged, for which every file is
        read and checked.
        """
        done = self._with("done")
        whole = self.store.whole(cell.key for cell in done)
        there = {cell.key for cell, is_whole in zip(done, whole, strict=True) if is_whole}
        return tuple(cell for cell in self.cells if cell.key not in there)

    def run(
        self,
        model: Model,
        *,
        cells: Sequence[Cell] | None = None,
        batch: int | None = None,
        executor: Executor | None = None,
    ) -> Generator[Cell, None, None]:
        """Make what is missing, and yield each run as soon as it is done or has failed, here or in
        another process.

        Stop whenever you like: what was yielded is stored, and no run stays claimed.

        Args:
            model: the one that the sweep was laid out for.
            cells: which runs to make, and in which order; where `None`, all that are `missing`.
            batch, executor: as in `sweep`.

        Raises:
            ArgumentError: it is another model or changed, `batch` is no number of runs, or workers
                cannot load the model or reach the store.
            WorkerError: the executor broke or was shut down.

        Example:
            >>> import sagviz as sv
            >>> from sagviz.sweeps import begin
            >>> model = sv.load()
            >>> laid = begin(model, "a fox", seeds=[0, 1], steps=1)
            >>> for cell in laid.run(model, batch=1):
            ...     print(cell.settings.seed, laid.status(cell))
            0 done
            1 done
        """
        wanted = self.missing() if cells is None else cells
        return run(as_model(model), self.plan, self.store, wanted, batch=batch, executor=executor)

    def select(self, **wanted: object) -> tuple[Cell, ...]:
        """The runs with these settings: `prompt`, `seed`, `steps`, `scheduler`, `guidance`, or a
        column such as `cfg_scale`.

        Raises:
            ArgumentError: the sweep has no such setting, or no run that value.

        Example:
            >>> import sagviz as sv
            >>> from sagviz import CFG, SAG
            >>> from sagviz.sweeps import begin
            >>> sums = [CFG(w) + SAG(s) for w in (3.0, 5.0) for s in (0.5, 1.0)]
            >>> laid = begin(sv.load(), "a fox", guidance=sums)
            >>> [cell.settings.guidance for cell in laid.select(sag_scale=0.5)]
            [CFG(3.0) + SAG(0.5), CFG(5.0) + SAG(0.5)]
        """
        return self.plan.select(wanted).cells if wanted else self.cells

    def trace(self, **wanted: object) -> Trace:
        """The trace of the one run with these settings, see `select`. `Trace.image` is its picture.

        Raises:
            ArgumentError: more than one run has them, or it is not done.

        Example:
            >>> import sagviz as sv
            >>> made = sv.sweep(sv.load(), "a fox", seeds=[0, 1], steps=1, progress=False)
            >>> made.trace(seed=1).image.size
            (64, 64)
        """
        found = self.select(**wanted)
        if len(found) > 1:
            open_axes = [name for name in AXES if len({cell.values[name] for cell in found}) > 1]
            offers = "; ".join(f"{name}= one of {offered(found, name)}" for name in open_axes)
            raise ArgumentError(f"{len(found)} cells fit; say also {offers}")
        (cell,) = found
        if self.status(cell) != "done":
            reason = self.failed.get(cell)
            raise ArgumentError(
                f"this cell is {self.status(cell)}{f' ({reason})' if reason else ''}; run the sweep"
                " again"
            )
        return self.store.load(cell.key)

    def table(self) -> pd.DataFrame:
        """Settings and measures of the finished runs as a pandas frame: one row for each run and
        image.

        Settings: prompt, seed, steps, scheduler, the scales, what else varies, and `image`, the
        number in the batch, where there is more than one. Measures: `measure.of_picture` of the
        picture, and `measure.of_run` of all steps of the run. Of each run only the few kilobytes
        are read that have them; whether it is whole, `missing` checks.

        Example:
            >>> import sagviz as sv
            >>> made = sv.sweep(sv.load(), "a fox", seeds=[0, 1], steps=1, progress=False)
            >>> made.table()[["seed", "steps", "scheduler"]]
               seed  steps scheduler
            0     0      1      DDIM
            1     1      1      DDIM
        """
        import pandas as pd

        done = self._with("done")
        measured = self.store.measures(cell.key for cell in done)
        rows = [
            {**self.shown(cell), **({"image": number} if self.plan.images > 1 else {}), **row}
            for cell, found in zip(done, measured, strict=True)
            for number, row in enumerate(found)
        ]
        return pd.DataFrame(rows, columns=None if rows else self.plan.columns)

    def to_html(
        self, path: str | Path, *, columns: str | None = None, max_bytes: int = PAGE_BYTES
    ) -> Path:
        """Write one HTML page: a grid of the pictures; a press on one opens its player below, with
        the steps that were kept.

        Args:
            path: an .html file in a folder that exists.
            columns: the setting that runs from left to right, such as "seed" or "sag_scale"; the
                last one that varies where `None`.
            max_bytes: bound on the stored tensors of all runs together.

        Raises:
            ArgumentError: the file cannot be written, no run is done, or there is no such setting.

        Example:
            >>> import tempfile
            >>> import sagviz as sv
            >>> made = sv.sweep(sv.load(), "a fox", seeds=[0, 1], steps=1, progress=False)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     made.to_html(f"{folder}/foxes.html", columns="seed").name
            'foxes.html'
        """
        return html.viewer("sweep")(self, path, columns=columns, max_bytes=max_bytes)

    def shown(self, cell: Cell) -> dict[str, Any]:
        """The settings that the table has of a run; `None` for those of a term that it has not."""
        columns = cell.columns
        return {name: columns.get(name) for name in self.plan.columns}

    def _with(self, *statuses: str) -> list[Cell]:
        """The runs with one of these statuses."""
        found = self.store.look()
        return [cell for cell in self.cells if found.get(cell.key, "pending") in statuses]

    def _counts(self) -> dict[str, int]:
        found = self.store.look()
        counts = Counter(found.get(cell.key, "pending") for cell in self.cells)
        statuses = ("done", "failed", "running", "pending")
        return {status: counts[status] for status in statuses if counts[status]}

    def _repr_html_(self) -> str:
        rows = {name: offered(self.plan.samples, name) for name in AXES}
        rows |= {status: str(count) for status, count in self._counts().items()}
        rows |= {
            f"failed: {offered([cell], 'guidance')}": reason
            for cell, reason in list(self.failed.items())[:5]
        }
        return html.table(rows.items(), f"Sweep of {len(self)} cells")
