"""`Task`: some runs for one worker, with all that it needs to make them; `perform` makes them."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace

from sagviz.describe import of_guidance, quoted
from sagviz.errors import ArgumentError, SagvizError
from sagviz.guidance import Guidance
from sagviz.models import Model, Origin
from sagviz.models.fingerprint import fingerprint, uses_classifier
from sagviz.models.load import load
from sagviz.sweeps.fsspec_store import store_at
from sagviz.sweeps.plan import Cell, Plan
from sagviz.sweeps.store import Store
from sagviz.sweeps.workers import make

LONGEST = 40  # characters of a prompt in the name of a task
# the model of this process: of its last task, to be used by the next one
loaded: dict[tuple[Origin, str], Model] = {}
_loading = threading.Lock()  # in a worker of several threads one loads it, and the others wait


@dataclass(frozen=True)
class Task:
    """What is sent to a worker: a few kilobytes, whatever the size of the plan.

    Attributes:
        cells: to be made in joint passes.
        origin: of the model; `fingerprint`: which one it is.
        guidance: one with CG where the plan has any, because the classifier is then part of the
            fingerprint.
        store: the address of the store.
        tries: how often a worker died of it before.
    """

    cells: tuple[Cell, ...]
    origin: Origin
    fingerprint: str
    guidance: tuple[Guidance, ...]
    store: str
    tries: int = 0

    @property
    def name(self) -> str:
        """For people: `“a fox”, seed 7, CFG 3 + SAG 1`, up to which run and how many where there
        are more, the first one's key.
        """
        first, last = self.cells[0], self.cells[-1]
        more = f" to {_words(last)}, {len(self.cells)} cells" if last != first else ""
        return f"{_words(first)}{more}, {first.key}"

    def split(self) -> Iterator[Task]:
        """The same work, each run in a task of its own."""
        return (replace(self, cells=(cell,)) for cell in self.cells)


def empty_task(model: Model, plan: Plan, store: Store, executor: object) -> Task:
    """A task of this sweep, still without runs.

    Raises:
        ArgumentError: this is no executor, or its workers could not load the model or reach the
            store.
    """
    if not isinstance(executor, Executor):
        raise ArgumentError(
            f"executor is {executor!r}; give a concurrent.futures.Executor, of Dask"
            " client.get_executor()"
        )
    if store.address is None:
        raise ArgumentError(
            "with executor= each worker writes into the store itself, and it cannot reach one in"
            " the memory of this process; give store= a folder that all of them see, or an fsspec"
            " address such as 's3://bucket/runs'"
        )
    if model.origin is None:
        raise ArgumentError(
            f"with executor= each worker loads the model itself, and {model.name} has parts from"
            " the memory of this process; write it with pipe.save_pretrained(folder) and give"
            " sv.load(folder), without classifier="
        )
    guidance = tuple(filter(uses_classifier, plan.guidance))[:1]
    return Task((), model.origin, plan.fingerprint, guidance, store.address)


def perform(task: Task) -> None:
    """Make the runs of a task in this process, which loads the model for its first task and keeps
    it.

    Raises:
        SagvizError: model or store cannot be opened here; it says where that is.
    """
    try:
        store = store_at(task.store, make=False)
        store.plan()  # the sweep has written it down: here it must be seen
        model = _model(task)
    except SagvizError as error:
        raise type(error)(f"on {platform.node()}, where a worker is: {error}") from error
    before = {cell.key: store.failure(cell.key) for cell in task.cells}
    for _ in make(model, store, task.cells, before, batch=len(task.cells)):
        pass


def _model(task: Task) -> Model:
    wanted = task.origin, task.fingerprint
    with _loading:
        if wanted not in loaded:
            loaded.clear()  # first, because there may not be room for two
            loaded[wanted] = _load(task)
        return loaded[wanted]


def _load(task: Task) -> Model:
    model = load(**asdict(task.origin))
    found = fingerprint(model, task.guidance)
    if found != task.fingerprint:
        raise ArgumentError(
            f"{model.name} on {model.device} has the fingerprint {found}, and the sweep is for"
            f" {task.fingerprint}; have the same files everywhere, say dtype= in sv.load, and"
            " change nothing after it, adapters and tokens included"
        )
    return model


def _words(cell: Cell) -> str:
    run = cell.settings
    prompt = " ".join(run.prompt.split())
    short = prompt if len(prompt) <= LONGEST else prompt[: LONGEST - 1] + "…"
    return f"{quoted(short)}, seed {run.seed}, {of_guidance(run.guidance)}"
