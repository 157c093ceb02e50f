"""Making the cells of a sweep: `settle` goes through many, `work` makes some in joint passes."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from sagviz import image, measure
from sagviz.errors import SagvizError
from sagviz.models import Model
from sagviz.records.trace import Trace
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import Run, resume
from sagviz.sweeps.plan import Cell, Plan
from sagviz.sweeps.store import Failure, Store

# latent cells of the runs in one batch: 4 of Stable Diffusion 1.x at 512 x 512 pixels
BATCH_CELLS = 2**14
MAX_BATCH = 16
POLL = 0.2  # seconds between two looks at cells that other processes have


def settle(
    model: Model,
    store: Store,
    cells: Sequence[Cell],
    before: Mapping[str, Failure | None],
    *,
    batch: int,
) -> Iterator[Cell]:
    """Settle these cells here, and yield each as soon as it is. `before` are the failures, by key,
    that are to be tried again.

    A cell that another process has claimed is left to it, and looked at again after all others.
    """
    waiting = deque(cells)
    while waiting:
        settled, others = _turn(model, store, waiting, before, batch)
        waiting.extend(others)
        yield from settled
        if others and not settled:  # other processes have them all
            time.sleep(POLL)


def batch_size(model: Model, plan: Plan) -> int:
    """How many cells run together: as many as make 2^14 latent cells, counting every image, and 16
    at most.
    """
    latent = plan.images * math.prod(model.latent_shape(plan.size)[1:])
    return max(1, min(MAX_BATCH, BATCH_CELLS // latent))


def _turn(
    model: Model,
    store: Store,
    waiting: deque[Cell],
    before: Mapping[str, Failure | None],
    batch: int,
) -> tuple[list[Cell], list[Cell]]:
    """Take as many cells as run together, and work on them: (those that are settled now, those that
    others have).
    """
    claimed, settled, others = list[Cell](), list[Cell](), list[Cell]()
    with ExitStack() as claims:
        while waiting and len(claimed) < batch:
            cell = waiting.popleft()
            claim = store.claim(cell.key)
            if claim is None:
                others.append(cell)
                continue
            claims.enter_context(claim)
            by_others = store.holds(cell.key) or store.failure(cell.key) not in (
                None,
                before.get(cell.key),
            )
            (settled if by_others else claimed).append(cell)
        work(model, claimed, store)
    return settled + claimed, others


def work(model: Model, cells: Sequence[Cell], store: Store) -> None:
    """Make these cells in joint passes, and write each, or the reason why it failed, to the store.

    When they fail together, each is tried alone: one that asks too much must not cost the others.
    """
    runs = dict[Cell, Run]()
    for cell in cells:
        prepared = _prepared(model, cell)
        if isinstance(prepared, str):
            store.fail(cell.key, prepared)
        else:
            runs[cell] = prepared
    made = _made(runs)
    if isinstance(made, list):
        for cell, trace in zip(runs, made, strict=True):
            store.save(cell.key, trace)
    elif len(runs) == 1:
        store.fail(next(iter(runs)).key, made)
    else:
        for cell in runs:
            work(model, [cell], store)


def _prepared(model: Model, cell: Cell) -> Run | str:
    """The run of a cell, or why there is none."""
    try:
        return resume(model, cell.settings)
    except Exception as error:
        return _sentence(error)


def _made(runs: dict[Cell, Run]) -> list[Trace] | str:
    """The finished cells, or what went wrong. The error itself is let go of, because it holds the
    memory of the runs.
    """
    try:
        traces = collect(list(runs.values())) if runs else []
        return [_finished(cell, trace) for cell, trace in zip(runs, traces, strict=True)]
    except Exception as error:
        return _sentence(error)


def _finished(cell: Cell, trace: Trace) -> Trace:
    """The trace with the steps that the cell keeps, and with settings and measures written into its
    pictures.
    """
    kept = cell.kept(trace.evaluations)
    # A copy of x_t, which else holds the memory of the step before.
    steps = tuple(replace(step, x_t=step.x_t.clone()) for step in trace if step.index in kept)
    numbers, settings = measure.of_run(trace), json.dumps(trace.settings.to_json())
    pictures = [
        image.to_png(
            picture,
            {
                "sagviz": settings,
                "measures": json.dumps({**measure.of_picture(picture), **numbers}),
            },
        )
        for picture in trace.images
    ]
    return replace(trace, steps=steps, pictures=tuple(pictures))


def _sentence(error: Exception) -> str:
    """What went wrong, on one line."""
    said = " ".join(str(error).split())
    return said if isinstance(error, SagvizError) else f"{type(error).__name__}: {said}"
