"""`run`: the runs of a sweep are made here, or dispatched to the workers of an executor, which make
and store them.
"""

from __future__ import annotations

import secrets
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import replace
from queue import SimpleQueue

from sagviz.checks import check_whole
from sagviz.errors import ArgumentError, WorkerError, first_sentence
from sagviz.models import Model
from sagviz.models.fingerprint import fingerprint
from sagviz.sweeps.plan import Cell, Plan
from sagviz.sweeps.store import Store
from sagviz.sweeps.tasks import Task, empty_task, perform
from sagviz.sweeps.workers import Told, batch_size, make

# tasks that an executor has at one time: two each for 512 workers, and memory for few of 10^6 runs
IN_FLIGHT = 1024
TRIES = 3  # how often a task of one run may be lost


def run(
    model: Model,
    plan: Plan,
    store: Store,
    cells: Sequence[Cell],
    *,
    batch: int | None = None,
    executor: Executor | None = None,
    told: Told = None,
) -> Generator[Cell, None, None]:
    """Make these runs of a plan, see `Sweep.run`."""
    if fingerprint(model, plan.guidance) != plan.fingerprint:
        raise ArgumentError(
            f"the sweep was laid out for {plan.model} with other weights, adapters, tokens or dtype"
            f" than {model.name} has now; load it as it was"
        )
    if batch is None:
        batch = batch_size(model, plan.size, plan.images)
    size = check_whole("batch", batch, 1, 4096)
    if executor is not None:
        task = empty_task(model, plan, store, executor)
        store.begin(plan.to_json())
        yield from _dispatch(task, cells, store, executor, size)
    else:
        store.begin(plan.to_json())
        found = store.look()
        failed = {key: store.failure(key) for key in found if found[key] == "failed"}
        yield from make(model, store, cells, failed, batch=size, told=told)


def _dispatch(
    empty: Task, cells: Sequence[Cell], store: Store, executor: Executor, batch: int
) -> Iterator[Cell]:
    """Have the runs made, `batch` of them in a task, and yield each as soon as it is done or has
    failed.

    When a task is lost with its worker each of its runs is tried again in a task of its own. Which
    of them killed the worker is not known, nor whether it was a task that waited beside it: what
    is lost again is tried last, with nothing else under way, and a run that is lost three times in
    all counts as failed. So one that kills its worker costs no other. Tasks that nobody has begun
    are cancelled when this stops.

    Args:
        empty: the task of this sweep, without runs.

    Raises:
        WorkerError: the executor broke, was shut down, or its tasks were cancelled.
    """
    starts = range(0, len(cells), batch)
    waiting = (replace(empty, cells=tuple(cells[start : start + batch])) for start in starts)
    retries, suspects, ended = deque[Task](), deque[Task](), SimpleQueue[Future[None]]()
    under_way = dict[Future[None], Task]()

    def upcoming() -> Task | None:
        """The next task that may start now."""
        if retries:
            return retries.popleft()
        return next(waiting, None) or (suspects.popleft() if suspects and not under_way else None)

    try:
        while True:
            while len(under_way) < IN_FLIGHT and (task := upcoming()):
                future = _submit(executor, task)
                under_way[future] = task
                future.add_done_callback(ended.put)
            if not under_way:
                return
            future = ended.get()
            task = under_way.pop(future)
            if not _is_lost(future):
                yield from task.cells
            elif len(task.cells) > 1:
                retries.extend(task.split())
            elif task.tries + 1 < TRIES:
                suspects.append(replace(task, tries=task.tries + 1))
            else:
                (cell,) = task.cells
                store.fail(
                    cell.key,
                    f"its worker died, {TRIES} times, at last with no other cell under way; perhaps"
                    " of too little memory",
                )
                yield cell
    finally:
        for future in under_way:
            future.cancel()


def _submit(executor: Executor, task: Task) -> Future[None]:
    """Hand a task over. Dask's dashboard shows its key, which must differ at each attempt."""
    key = f"cell-{task.name}-{secrets.token_hex(4)}"
    try:
        if _is_dask(executor):
            submit: Callable[..., Future[None]] = executor.submit  # Dask's takes more arguments
            return submit(perform, task, key=key, pure=False)
        return executor.submit(perform, task)
    except Exception as error:  # a broken pool, one that was shut down, a closed client of Dask
        raise _stopped(error) from error


def _is_lost(future: Future[None]) -> bool:
    """Whether the task went down with its worker, in an executor that goes on. What the task itself
    raised is raised here.
    """
    try:
        error = future.exception()
    except CancelledError as cancelled:
        raise _stopped(cancelled) from cancelled
    if isinstance(error, BrokenExecutor):
        raise _stopped(error) from error
    scheduler = sys.modules.get("distributed.scheduler")
    if error is None or (scheduler is not None and isinstance(error, scheduler.KilledWorker)):
        return error is not None
    raise error


def _is_dask(executor: Executor) -> bool:
    """Whether it is what `Client.get_executor()` gives. Nothing of Dask is imported for this."""
    module = sys.modules.get("distributed.cfexecutor")
    return module is not None and isinstance(executor, module.ClientExecutor)


def _stopped(error: BaseException) -> WorkerError:
    """The error for an executor that takes no more work."""
    said = first_sentence(error) if str(error).strip() else "its tasks were cancelled"
    return WorkerError(
        f"the executor stopped ({type(error).__name__}: {said}); what is finished is stored, and"
        " the same sweep with a new executor goes on there; where processes die again and again,"
        " take fewer, or a smaller batch="
    )
