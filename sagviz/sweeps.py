"""`sweep`: many runs, the product of settings, made once and kept; and `Sweep`, what came of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from sagviz.errors import ArgumentError, SagvizWarning
from sagviz.guidance import as_guidance
from sagviz.models import Model
from sagviz.plans import Cell, Plan, lay_out
from sagviz.store import Folder, Memory, Store
from sagviz.traces import Trace
from sagviz.workers import measures, run

AXES = ("prompt", "seed", "steps", "scheduler", "guidance")


@dataclass(frozen=True, eq=False)
class Sweep:
    """The cells of a plan and where they are kept. What it says of them is what the store holds at that moment.

    Iterating gives the finished traces, loaded one after the other, in the order of `cells`.
    """

    plan: Plan
    store: Store

    @staticmethod
    def open(store: str | Path) -> Sweep:
        """The sweep that was begun last in this folder. Needs no model.

        Raises:
            ArgumentError: there is none.
        """
        if not Path(store).is_dir():
            raise ArgumentError(f"no folder {store}; give the one that sweep(store=) wrote to")
        folder = Folder(store)
        return Sweep(Plan.from_json(folder.plan()), folder)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells: prompts outermost, then seeds, steps, schedulers, and guidance innermost."""
        return self.plan.cells

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[Trace]:
        return (self.store.load(cell.key) for cell in self.cells if self.status(cell) == "done")

    def __repr__(self) -> str:
        counts = self._counts()
        return f"<Sweep of {len(self)} cells: {', '.join(f'{count} {status}' for status, count in counts.items())}>"

    def status(self, cell: Cell) -> str:
        """ "done", "running" (some process works on it), "failed" or "pending"."""
        return self.store.status(cell.key)

    @property
    def failed(self) -> dict[Cell, str]:
        """The cells that failed, each with the reason. The next sweep of the same settings tries them again."""
        reasons = {cell: self.store.failure(cell.key) for cell in self.cells if self.status(cell) == "failed"}
        return {cell: reason.error for cell, reason in reasons.items() if reason is not None}

    @property
    def pending(self) -> tuple[Cell, ...]:
        """The cells that are neither done nor failed; those that run are among them."""
        return tuple(cell for cell in self.cells if self.status(cell) in ("pending", "running"))

    def missing(self) -> tuple[Cell, ...]:
        """The cells that are still to be made: pending, failed, or damaged, for which every file is read and checked."""
        return tuple(cell for cell in self.cells if not self.store.holds(cell.key))

    def run(self, model: Model, *, batch: int | None = None) -> Iterator[Cell]:
        """Make what is missing, and yield each cell as soon as it is done or has failed; stop whenever you like."""
        return run(model, self.plan, self.store, self.missing(), batch=batch)

    def select(self, **wanted: Any) -> tuple[Cell, ...]:
        """The cells with these settings: `prompt`, `seed`, `steps`, `scheduler`, `guidance`, or a column such as `cfg_scale`.

        Raises:
            ArgumentError: the sweep has no such setting, or no cell that value.
        """
        if "guidance" in wanted:
            wanted = wanted | {"guidance": as_guidance(wanted["guidance"])}
        known = dict.fromkeys(name for cell in self.cells for name in _values(cell))
        found = self.cells
        for name, value in wanted.items():
            if name not in known:
                raise ArgumentError(f"a sweep has no setting {name!r}; there are {', '.join(known)}")
            fitting = tuple(cell for cell in found if name in _values(cell) and _values(cell)[name] == value)
            if not fitting:
                raise ArgumentError(f"no cell has {name}={value!r}; there are {_offer(found, name)}")
            found = fitting
        return found

    def trace(self, **wanted: Any) -> Trace:
        """The trace of the one cell with these settings, see `select`. `Trace.image` is its picture.

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
            raise ArgumentError(f"this cell is {self.status(cell)}{f' ({reason})' if reason else ''}; run the sweep again")
        return self.store.load(cell.key)

    def table(self) -> Any:
        """Settings and measures of the finished cells as a pandas frame: one row for each cell and image.

        Settings: prompt, seed, steps, scheduler, the scales, what else varies, and `image`, the number in the batch, where there
        is more than one. Measures: `measure.of_picture` of the picture, and `measure.of_run` of all steps of the run.
        """
        import pandas as pd

        rows = [
            {**self.shown(cell), **({"image": number} if self.plan.images > 1 else {}), **row}
            for cell in self.cells
            if self.status(cell) == "done"
            for number, row in enumerate(measures(self.store.load(cell.key)))
        ]
        return pd.DataFrame(rows, columns=None if rows else self._columns)

    def shown(self, cell: Cell) -> dict[str, Any]:
        """The settings that the table has of a cell; `None` for those of a term that the cell has not."""
        return {name: cell.columns.get(name) for name in self._columns}

    @cached_property
    def _columns(self) -> list[str]:
        """The main settings, the scales, and what varies."""
        every = [cell.columns for cell in self.cells]
        names = dict.fromkeys(name for columns in every for name in columns)
        varies = {name for name in names if len({json.dumps(c[name]) for c in every if name in c}) > 1}
        return [name for name in names if name in AXES or name.endswith("_scale") or name in varies]

    def _counts(self) -> dict[str, int]:
        found = [self.status(cell) for cell in self.cells]
        return {status: found.count(status) for status in ("done", "failed", "running", "pending") if status in found}

    def _repr_html_(self) -> str:
        rows = {name: _offer(self.cells, name) for name in AXES}
        rows |= {status: str(count) for status, count in self._counts().items()}
        rows |= {f"failed: {_offer([cell], 'guidance')}": reason for cell, reason in list(self.failed.items())[:5]}
        body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows.items())
        return f"<table><caption>Sweep of {len(self)} cells</caption>{body}</table>"


def sweep(
    model: Model,
    prompts: object = "",
    seeds: object = 0,
    steps: object = 50,
    guidance: object = None,
    schedulers: object = None,
    *,
    negative_prompt: str = "",
    images: int = 1,
    size: tuple[int, int] | None = None,
    eta: float = 0.0,
    store: str | Path | None = None,
    keep: str | int | Collection[int] | None = "last",
    batch: int | None = None,
    progress: bool = True,
) -> Sweep:
    """Make every combination of the axes, once. Each axis is one value or a list of them.

    With a `store` the same call goes on where it was stopped, however it was stopped: what is there is not made again, a
    damaged cell is found and made again, a failed one is tried again, and a changed setting is a new cell. Several processes
    may work on one store: they share the cells between them. A cell that fails costs only itself.

    Args:
        prompts, seeds, steps, guidance, schedulers: the axes; what a value may be is what `trace` takes, but a seed is a number.
        negative_prompt, images, size, eta: as in `trace`, for all cells; cells without CFG have no negative prompt.
        store: a folder, made where it is missing; in memory where `None`.
        keep: the steps that each trace keeps: the last ("last"), all (`None`), every k-th and the last (a number), or these
            indices. The measures of the table are taken over all steps in any case.
        batch: how many cells run in joint passes; where `None`, as many as make 16,384 latent cells (4 at 512 x 512 pixels of
            Stable Diffusion 1.x, counting every image), 16 at most. More share more, and need more memory.
        progress: whether to show a progress bar with the remaining time.

    Raises:
        ArgumentError: before anything runs.
        BaseException: whatever stops the sweep, Ctrl-C included, carries it as its attribute `sweep`.
    """
    laid = begin(
        model, prompts, seeds, steps, guidance, schedulers, negative_prompt=negative_prompt, images=images, size=size, eta=eta,
        store=store, keep=keep,
    )  # fmt: skip
    missing = laid.missing()
    there = len(laid) - len(missing)  # they count as done, but not in the time that a cell takes
    bar = tqdm(total=len(laid), initial=there, unit="cell", smoothing=0, disable=not progress)
    try:
        for _ in run(model, laid.plan, laid.store, missing, batch=batch):
            bar.update()
    except BaseException as stopped:
        stopped.sweep = laid  # type: ignore[attr-defined]
        raise
    finally:
        bar.close()
    if laid.failed:
        text = f"{len(laid.failed)} of {len(laid)} cells failed; sweep.failed says why, and the same call tries them again"
        warnings.warn(text, SagvizWarning, stacklevel=2)
    return laid


def begin(
    model: Model,
    prompts: object = "",
    seeds: object = 0,
    steps: object = 50,
    guidance: object = None,
    schedulers: object = None,
    *,
    store: str | Path | None = None,
    **shared: Any,
) -> Sweep:
    """The sweep that `sweep` would make, of which nothing is made yet: `Sweep.run` makes it, and tells of each cell."""
    plan = lay_out(
        model, prompts=prompts, seeds=seeds, steps=steps, guidance=guidance, schedulers=schedulers, **shared
    )  # fmt: skip
    return Sweep(plan, Memory() if store is None else Folder(store))


def _values(cell: Cell) -> dict[str, Any]:
    """All that a cell can be selected by."""
    return {**cell.columns, "guidance": cell.settings.guidance}


def _offer(cells: Sequence[Cell], name: str) -> str:
    """The values of a setting among these cells, for people."""
    found = list(dict.fromkeys(repr(_values(cell)[name]) for cell in cells if name in _values(cell)))
    return ", ".join(found[:8]) + (f" ... ({len(found)} in all)" if len(found) > 8 else "")
