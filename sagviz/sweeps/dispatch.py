"""`spread`: a sweep through the workers of an executor. Here the work is dealt out; they make and
store the cells.
"""

from __future__ import annotations

import secrets
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import replace
from queue import SimpleQueue

from sagviz.errors import WorkerError
from sagviz.sweeps.plan import Cell
from sagviz.sweeps.store import Store
from sagviz.sweeps.tasks import Task, perform

# tasks that an executor has at one time: two each for 512 workers, and memory for few of 10^6 cells
IN_FLIGHT = 1024
TRIES = 3  # how often a task of one cell may be lost


def spread(
    blank: Task, cells: Sequence[Cell], store: Store, executor: Executor, batch: int
) -> Iterator[Cell]:
    """Have the cells made, `batch` of them in a task, and yield each as soon as it is settled.

    When a task is lost with its worker each of its cells is tried again in a task of its own. Which
    of them killed the worker cannot be told, nor whether it was a task that waited beside it: what
    is lost again is tried last, with nothing else under way, and a cell that is lost three times in
    all counts as failed. So one that kills its worker costs no other. Tasks that nobody has begun
    are cancelled when this stops.

    Raises:
        WorkerError: the executor broke, was shut down, or its tasks were cancelled.
    """
    waiting = (
        replace(blank, cells=tuple(cells[start : start + batch]))
        for start in range(0, len(cells), batch)
    )
    again, suspects, over = deque[Task](), deque[Task](), SimpleQueue[Future[None]]()
    flying = dict[Future[None], Task]()

    def upcoming() -> Task | None:
        """The next task that may set off now."""
        if again:
            return again.popleft()
        return next(waiting, None) or (suspects.popleft() if suspects and not flying else None)

    try:
        while True:
            while len(flying) < IN_FLIGHT and (task := upcoming()):
                future = _submit(executor, task)
                flying[future] = task
                future.add_done_callback(over.put)
            if not flying:
                return
            future = over.get()
            task = flying.pop(future)
            if not _is_lost(future):
                yield from task.cells
            elif len(task.cells) > 1:
                again.extend(task.alone())
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
        for future in flying:
            future.cancel()


def _submit(executor: Executor, task: Task) -> Future[None]:
    """Hand a task over. Dask's dashboard shows its key, which must be another one at each attempt."""
    named = (
        {"key": f"cell-{task.name}-{secrets.token_hex(4)}", "pure": False}
        if _is_dask(executor)
        else {}
    )
    try:
        return executor.submit(perform, task, **named)
    except RuntimeError as error:  # a broken pool, or one that was shut down
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
    """What to say of an executor that takes no more work."""
    said = " ".join(str(error).split()) or "its tasks were cancelled"
    return WorkerError(
        f"the executor stopped ({type(error).__name__}: {said}); what is finished is stored, and"
        " the same sweep with a new executor goes on there; where processes die again and again,"
        " take fewer, or a smaller batch="
    )
