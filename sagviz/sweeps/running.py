"""`run`: settle the cells of a plan, here or in the workers of an executor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

from sagviz.checks import check_whole
from sagviz.errors import ArgumentError
from sagviz.models import Model
from sagviz.sweeps.axes import fingerprint
from sagviz.sweeps.dispatch import spread
from sagviz.sweeps.plan import Cell, Plan
from sagviz.sweeps.store import Store
from sagviz.sweeps.tasks import blank
from sagviz.sweeps.workers import batch_size, settle


def run(
    model: Model,
    plan: Plan,
    store: Store,
    cells: Sequence[Cell],
    *,
    batch: int | None = None,
    executor: Executor | None = None,
) -> Iterator[Cell]:
    """Settle these cells of a plan, and yield each as soon as it is: made here, made or failed in
    another process, or failed.

    Stop whenever you like: what was yielded is stored, and no cell stays claimed. A cell that
    failed before is tried again.

    Raises:
        ArgumentError: the model is not the plan's, `batch` is no number of cells, or workers cannot
            load the model or reach the store.
        WorkerError: the executor broke or was shut down.
    """
    if fingerprint(model, plan.guidance) != plan.weights:
        raise ArgumentError(
            f"the sweep was laid out for other weights, of {plan.model}, than those of"
            f" {model.name}; load them"
        )
    size = batch_size(model, plan) if batch is None else batch
    check_whole("batch", size, 1, 4096)
    if executor is not None:
        task = blank(model, plan, store, executor)
        store.begin(plan.to_json())
        yield from spread(task, cells, store, executor, size)
    else:
        store.begin(plan.to_json())
        failures = {
            key: store.failure(key) for key, status in store.look().items() if status == "failed"
        }
        yield from settle(model, store, cells, failures, batch=size)
