"""`Sweep`: what came of a sweep, and what is still to come."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from sagviz.errors import ArgumentError
from sagviz.guidance import as_guidance
from sagviz.models import Model
from sagviz.records.trace import Trace
from sagviz.sweeps.fsspec_store import store_at
from sagviz.sweeps.plan import Cell, Plan
from sagviz.sweeps.running import run
from sagviz.sweeps.store import Store

AXES = ("prompt", "seed", "steps", "scheduler", "guidance")


@dataclass(frozen=True, eq=False)
class Sweep:
    """The cells of a plan and where they are kept. What it says of them is what the store holds at
    that moment.

    Iterating gives the finished traces, loaded one after the other, in the order of `cells`.
    """

    plan: Plan
    store: Store

    @staticmethod
    def open(store: str | Path) -> Sweep:
        """The sweep that was begun last in this folder, or at this fsspec address. Needs no model.

        Raises:
            ArgumentError: there is none.
        """
        found = store_at(store, make=False)
        return Sweep(Plan.from_json(found.plan()), found)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells: prompts outermost, then seeds, steps, schedulers, and guidance innermost."""
        return self.plan.cells

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Trace]:
        return (self.store.load(cell.key) for cell in self._with("done"))

    def __repr__(self) -> str:
        counts = self._counts()
        return (
            f"<Sweep of {len(self)} cells:"
            f" {', '.join(f'{count} {status}' for status, count in counts.items())}>"
        )

    def status(self, cell: Cell) -> str:
        """ "done", "running" (some process works on it), "failed" or "pending"."""
        return self.store.status(cell.key)

    @property
    def failed(self) -> dict[Cell, str]:
        """The cells that failed, each with the reason. The next sweep of the same settings tries
        them again.
        """
        reasons = {cell: self.store.failure(cell.key) for cell in self._with("failed")}
        return {cell: reason.error for cell, reason in reasons.items() if reason is not None}

    @property
    def pending(self) -> tuple[Cell, ...]:
        """The cells that are neither done nor failed; those that run are among them."""
        return tuple(self._with("pending", "running"))

    def missing(self) -> tuple[Cell, ...]:
        """The cells that are still to be made: pending, failed, or damaged, for which every file is
        read and checked.
        """
        done = self._with("done")
        whole = self.store.whole(cell.key for cell in done)
        there = {cell.key for cell, is_whole in zip(done, whole, strict=True) if is_whole}
        return tuple(cell for cell in self.cells if cell.key not in there)

    def run(
        self, model: Model, *, batch: int | None = None, executor: Executor | None = None
    ) -> Iterator[Cell]:
        """Make what is missing, and yield each cell as soon as it is done or has failed; stop
        whenever you like.

        `batch` and `executor` are those of `sweeps.sweep`.
        """
        return run(model, self.plan, self.store, self.missing(), batch=batch, executor=executor)

    def select(self, **wanted: Any) -> tuple[Cell, ...]:
        """The cells with these settings: `prompt`, `seed`, `steps`, `scheduler`, `guidance`, or a
        column such as `cfg_scale`.

        Raises:
            ArgumentError: the sweep has no such setting, or no cell that value.
        """
        if "guidance" in wanted:
            wanted = wanted | {"guidance": as_guidance(wanted["guidance"])}
        plan = self.plan
        known = dict.fromkeys(name for cell in plan.samples for name in _values(cell))
        for name, value in wanted.items():
            if name not in known:
                raise ArgumentError(
                    f"a sweep has no setting {name!r}; there are {', '.join(known)}"
                )
            fitting = plan.only(name, value)
            if fitting is None:
                raise ArgumentError(
                    f"no cell has {name}={value!r}; there are {_offer(plan.samples, name)}"
                )
            plan = fitting
        return plan.cells if wanted else self.cells

    def trace(self, **wanted: Any) -> Trace:
        """The trace of the one cell with these settings, see `select`. `Trace.image` is its
        picture.

        Raises:
            ArgumentError: more than one cell has them, or the cell is not done.
        """
        found = self.select(**wanted)
        if len(found) > 1:
            open_axes = [name for name in AXES if len({_values(cell)[name] for cell in found}) > 1]
            offers = "; ".join(f"{name}= one of {_offer(found, name)}" for name in open_axes)
            raise ArgumentError(f"{len(found)} cells fit; say also {offers}")
        (cell,) = found
        if self.status(cell) != "done":
            reason = self.failed.get(cell)
            raise ArgumentError(
                f"this cell is {self.status(cell)}{f' ({reason})' if reason else ''}; run the sweep"
                " again"
            )
        return self.store.load(cell.key)

    def table(self) -> Any:
        """Settings and measures of the finished cells as a pandas frame: one row for each cell and
        image.

        Settings: prompt, seed, steps, scheduler, the scales, what else varies, and `image`, the
        number in the batch, where there is more than one. Measures: `measure.of_picture` of the
        picture, and `measure.of_run` of all steps of the run. Of each cell only the few kilobytes
        are read that have them; whether it is whole, `missing` tells.
        """
        import pandas as pd

        done = self._with("done")
        rows = [
            {**self.shown(cell), **({"image": number} if self.plan.images > 1 else {}), **row}
            for cell, found in zip(
                done, self.store.measures(cell.key for cell in done), strict=True
            )
            for number, row in enumerate(found)
        ]
        return pd.DataFrame(rows, columns=None if rows else self._columns)

    def to_html(self, path: str | Path, **options: Any) -> Path:
        """Write one HTML page: a grid of the pictures; a press on one opens its player below, with
        the steps that were kept.

        Args:
            path: an .html file in a folder that exists.
            options: `columns` names the setting that runs from left to right, `max_bytes` bounds
                the stored tensors (7.4 MB).
        """
        from sagviz.player.sweep_page import page

        return page(self, path, **options)

    def shown(self, cell: Cell) -> dict[str, Any]:
        """The settings that the table has of a cell; `None` for those of a term that the cell has
        not.
        """
        columns = cell.columns
        return {name: columns.get(name) for name in self._columns}

    @cached_property
    def _columns(self) -> list[str]:
        """The main settings, the scales, and what varies."""
        every = [cell.columns for cell in self.plan.samples]
        names = dict.fromkeys(name for columns in every for name in columns)
        varies = {
            name for name in names if len({json.dumps(c[name]) for c in every if name in c}) > 1
        }
        return [name for name in names if name in AXES or name.endswith("_scale") or name in varies]

    def _with(self, *statuses: str) -> list[Cell]:
        """The cells with one of these statuses."""
        found = self.store.look()
        return [cell for cell in self.cells if found.get(cell.key, "pending") in statuses]

    def _counts(self) -> dict[str, int]:
        found = self.store.look()
        counts = Counter(found.get(cell.key, "pending") for cell in self.cells)
        return {
            status: counts[status]
            for status in ("done", "failed", "running", "pending")
            if counts[status]
        }

    def _repr_html_(self) -> str:
        rows = {name: _offer(self.plan.samples, name) for name in AXES}
        rows |= {status: str(count) for status, count in self._counts().items()}
        rows |= {
            f"failed: {_offer([cell], 'guidance')}": reason
            for cell, reason in list(self.failed.items())[:5]
        }
        body = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in rows.items()
        )
        return f"<table><caption>Sweep of {len(self)} cells</caption>{body}</table>"


def _values(cell: Cell) -> dict[str, Any]:
    """All that a cell can be selected by."""
    return {**cell.columns, "guidance": cell.settings.guidance}


def _offer(cells: Sequence[Cell], name: str) -> str:
    """The values of a setting among these cells, for people."""
    found = list(
        dict.fromkeys(repr(_values(cell)[name]) for cell in cells if name in _values(cell))
    )
    return ", ".join(found[:8]) + (f" ... ({len(found)} in all)" if len(found) > 8 else "")
