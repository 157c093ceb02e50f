"""Making the runs of a sweep: `make` goes through many, `make_batch` makes some in joint passes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import starmap

from PIL.Image import Image

from sagviz import image, measure
from sagviz.errors import RunError, SagvizError
from sagviz.measure.steps import averaged
from sagviz.models import Model
from sagviz.records import strict
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.collect import Follow, collect
from sagviz.sampling.prepare import Run, resume
from sagviz.sweeps.cell_file import Failure
from sagviz.sweeps.plan import Cell
from sagviz.sweeps.store import Store

# latent cells of the runs in one batch: 4 of Stable Diffusion 1.x at 512 x 512 pixels
LATENT_CELLS = 2**14
MAX_BATCH = 16
Told = Callable[[float], object] | None
Rows = list[list[dict[str, float]]]  # of each image the measures of its steps
POLL = 0.2  # seconds between two looks at runs that other processes make


def make(
    model: Model,
    store: Store,
    cells: Sequence[Cell],
    before: Mapping[str, Failure | None],
    *,
    batch: int,
    told: Told = None,
) -> Iterator[Cell]:
    """Make these runs here, `batch` of them in joint passes, and yield each as soon as it is done
    or has failed. `before` are the failures, by key, that are to be tried again; `told` hears after
    each joint step how many runs' worth it was.

    A run that another process has claimed is left to it, and looked at again after all others.
    """
    waiting = deque(cells)
    while waiting:
        ended, others = _make_some(model, store, waiting, before, batch, told)
        waiting.extend(others)
        yield from ended
        if others and not ended:  # other processes have them all
            time.sleep(POLL)


def batch_size(model: Model, size: tuple[int, int], images: int = 1) -> int:
    """How many runs go together: as many as have 2^14 latent cells between them, counting every
    image, and 16 at most.

    Args:
        size: (height, width) in pixels; `images`: of one run.
    """
    latent = images * math.prod(model.latent_shape(size)[1:])
    return max(1, min(MAX_BATCH, LATENT_CELLS // latent))


def _make_some(
    model: Model,
    store: Store,
    waiting: deque[Cell],
    before: Mapping[str, Failure | None],
    batch: int,
    told: Told,
) -> tuple[list[Cell], list[Cell]]:
    """Take as many runs as go together, and make them: (those that have ended now, those that other
    processes make).
    """
    claimed, ended, others = list[Cell](), list[Cell](), list[Cell]()
    with ExitStack() as claims:
        while waiting and len(claimed) < batch:
            cell = waiting.popleft()
            claim = store.claim(cell.key)
            if claim is None:
                others.append(cell)
                continue
            claims.enter_context(claim)
            failure = store.failure(cell.key)
            by_others = store.holds(cell.key) or failure not in (None, before.get(cell.key))
            (ended if by_others else claimed).append(cell)
        make_batch(model, claimed, store, told)
    return ended + claimed, others


def make_batch(model: Model, cells: Sequence[Cell], store: Store, told: Told = None) -> None:
    """Make these runs in joint passes, and write each, or the reason why it failed, to the store.

    When they fail together, each is tried alone: one that asks too much must not cost the others.
    """
    runs = dict[Cell, Run]()
    for cell in cells:
        try:
            runs[cell] = resume(model, cell.settings)
        except Exception as error:
            store.fail(cell.key, _sentence(error))
    if not runs:
        return
    try:
        going = list(runs.values())
        rows: list[Rows] = [[[] for _ in range(run.settings.images)] for run in going]
        traces = collect(going, keep=cells[0].kept, follow=_measuring(going, rows, told))
        made = [_finished(*each) for each in zip(traces, rows, strict=True)]
    except Exception as error:  # let go of at once, because it holds the memory of the runs
        reason = _sentence(error)
    else:
        for cell, trace in zip(runs, made, strict=True):
            store.save(cell.key, trace)
        return
    if len(runs) == 1:
        store.fail(next(iter(runs)).key, reason)
    else:
        for cell in runs:
            make_batch(model, [cell], store, told)


def _measuring(runs: Sequence[Run], rows: Sequence[Rows], told: Told) -> Follow:
    """Measures joint steps, of which few are kept, and has `told` hear of them."""

    def follow(steps: Sequence[Step | None]) -> bool:
        made = 0.0
        for run, own, step in zip(runs, rows, steps, strict=True):
            if step is not None:
                for image, row in enumerate(own):
                    row.append(measure.of_step(step.of_image(image)))
                made += 1 / run.evaluations
        if told is not None:
            told(made)
        return True

    return follow


def _finished(trace: Trace, rows: Rows) -> Trace:
    """The trace with settings and the means of measures written into its pictures."""

    def with_texts(number: int, picture: Image) -> bytes:
        measured = strict.dumps(measure.of_picture(picture) | averaged(rows[number]))
        note = trace.settings.of_image(number).note()
        return image.to_png(picture, {**note, "measures": measured})

    return replace(trace, pictures=tuple(starmap(with_texts, enumerate(trace.images))))


def _sentence(error: BaseException) -> str:
    """What went wrong, on one line."""
    if isinstance(error, RunError) and error.__cause__ is not None:
        return _sentence(error.__cause__)
    said = " ".join(str(error).split())
    return said if isinstance(error, SagvizError) else f"{type(error).__name__}: {said}"
