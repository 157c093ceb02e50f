"""How a sweep is dealt out to the workers of an executor, and what is refused before it is. Workers
are threads here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from distributed.scheduler import KilledWorker

import sagviz as sv
from sagviz import CFG, CG
from sagviz.errors import WorkerError
from sagviz.sweeps import begin, dispatch, tasks

AXES: dict[str, Any] = {"prompts": "a fox", "seeds": range(8), "steps": 1, "guidance": CFG(3.0)}
UNSET = dict.fromkeys(("device", "dtype", "config", "variant", "revision"))


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """A worker keeps its model for the next task: each test has a worker of its own."""
    tasks.loaded.clear()
    yield
    tasks.loaded.clear()


class Watched(ThreadPoolExecutor):
    """One thread, and a note of each task and of how many were unfinished when it came."""

    def __init__(self) -> None:
        super().__init__(1)
        self.futures: list[Future[Any]] = []
        self.tasks: list[tasks.Task] = []
        self.waiting: list[int] = []

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        self.waiting.append(sum(not future.done() for future in self.futures))
        self.futures.append(super().submit(call, *given, **named))
        self.tasks.append(given[0])
        return self.futures[-1]


def test_a_task_brings_its_own_cells_and_its_name(model: sv.Model, tmp_path: Path) -> None:
    laid = begin(model, **AXES, store=tmp_path)
    with Watched() as executor:
        assert list(laid.run(model, batch=3, executor=executor)) == list(laid.cells)
    assert [task.cells for task in executor.tasks] == [
        laid.cells[:3],
        laid.cells[3:6],
        laid.cells[6:],
    ]
    assert (
        executor.tasks[0].name
        == f"“a fox”, seed 0, CFG 3 to “a fox”, seed 2, CFG 3, 3 cells, {laid.cells[0].key}"
    )
    alone, *_ = executor.tasks[0].split()
    assert alone.name == f"“a fox”, seed 0, CFG 3, {laid.cells[0].key}"


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [("", "no prompt"), ("a\nfox", "“a fox”"), ("fox " * 20, f"“{'fox ' * 9}fox…”")],
    ids=repr,
)
def test_the_name_of_a_task_is_short(
    model: sv.Model, prompt: str, shown: str, tmp_path: Path
) -> None:
    laid = begin(model, prompt, store=tmp_path)
    task = tasks.empty_task(model, laid.plan, laid.store, ThreadPoolExecutor(1))
    (alone,) = replace(task, cells=laid.cells).split()
    assert alone.name == f"{shown}, seed 0, plain, {laid.cells[0].key}"


@pytest.mark.slow
def test_few_tasks_are_on_the_way_at_one_time(
    model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "IN_FLIGHT", 2)
    with Watched() as executor:
        sv.sweep(model, **AXES, store=tmp_path, batch=1, executor=executor, progress=False)
    assert len(executor.tasks) == 8
    assert max(executor.waiting) <= 1


@pytest.mark.slow
def test_the_model_is_loaded_once(
    model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[dict[str, Any]] = []

    def noted(**given: Any) -> sv.Model:
        loaded.append(given)
        return sv.load(**given)

    monkeypatch.setattr(tasks, "load", noted)
    with ThreadPoolExecutor(4) as executor:
        sv.sweep(model, **AXES, store=tmp_path, batch=1, executor=executor, progress=False)
    assert loaded == [{"source": model.name, "offload": False, **UNSET}]


def test_a_stop_cancels_what_waits(model: sv.Model, tmp_path: Path) -> None:
    laid = begin(model, **AXES, store=tmp_path)
    with Watched() as executor:
        making = laid.run(model, batch=1, executor=executor)
        next(making)
        making.close()
    assert sum(future.cancelled() for future in executor.futures) >= 5
    assert 1 <= len(list(laid)) <= 3


def test_a_store_that_others_filled_is_not_filled_again(
    model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that was lost after its last cell, and so is done again."""
    laid = begin(model, **AXES, store=tmp_path)
    laid.store.begin(laid.plan.to_json())
    with ThreadPoolExecutor(1) as executor:
        task = replace(tasks.empty_task(model, laid.plan, laid.store, executor), cells=laid.cells)
        tasks.perform(task)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        made: list[Any] = []
        monkeypatch.setattr(
            "sagviz.sweeps.workers.make_batch", lambda _model, cells, *_: made.extend(cells)
        )
        tasks.perform(task)
    assert not made
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_an_executor_that_was_shut_down_is_named(model: sv.Model, tmp_path: Path) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(sv.SagvizError, match=r"the executor stopped .* goes on there") as stop:
        sv.sweep(model, **AXES, store=tmp_path, executor=executor, progress=False)
    assert isinstance(stop.value, WorkerError)
    assert len(stop.value.sweep.pending) == 8


def test_tasks_that_someone_cancels_stop_the_sweep(model: sv.Model, tmp_path: Path) -> None:
    laid = begin(model, **AXES, store=tmp_path)
    with Watched() as executor:
        making = laid.run(model, batch=1, executor=executor)
        next(making)
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(sv.SagvizError, match="tasks were cancelled"):
            list(making)


class OneWorker(Executor):
    """As a Dask cluster of one worker, which dies of the cells of seed 1: all that waits for it is
    lost with them.
    """

    def __init__(self) -> None:
        self.waiting: list[Future[Any]] = []
        self.thread = ThreadPoolExecutor(1)

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append(future)
        self.thread.submit(self.work, future, call, *given, **named)
        return future

    def work(self, future: Future[Any], call: Callable[..., Any], task: tasks.Task) -> None:
        time.sleep(0.05)  # others come and wait
        if any(cell.settings.seed == 1 for cell in task.cells):
            lost, self.waiting = self.waiting, []
            for each in lost:
                each.set_exception(KilledWorker("cell", None, 0))
        elif future in self.waiting:
            call(task)
            self.waiting.remove(future)
            future.set_result(None)


@pytest.mark.slow
def test_who_waits_beside_a_deadly_cell_is_not_blamed(model: sv.Model, tmp_path: Path) -> None:
    with pytest.warns(sv.SagvizWarning, match="1 of 8 cells failed"):
        made = sv.sweep(
            model, **AXES, store=tmp_path, batch=4, executor=OneWorker(), progress=False
        )
    assert [cell.settings.seed for cell in made.failed] == [1]
    assert not made.pending


def refused(model: sv.Model, executor: object, **store: Any) -> str:
    """The sentence of an ArgumentError."""
    with pytest.raises(ValueError, match="executor") as told:
        sv.sweep(model, **AXES, **store, executor=executor, progress=False)  # type: ignore[arg-type]
    return str(told.value)


def test_what_workers_cannot_do_is_refused(
    model: sv.Model, folder: Path, pipe: StableDiffusionPipeline, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as executor:
        for store in ({}, {"store": "memory://runs"}):
            assert "give store= a folder" in refused(model, executor, **store)
        foreign: Any = lambda *_: None  # noqa: E731
        for unknown in (sv.load(pipe), sv.load(folder, classifier=foreign)):
            assert "save_pretrained(folder) and give sv.load(folder)" in refused(
                unknown, executor, store=tmp_path
            )
    assert "give a concurrent.futures.Executor" in refused(model, 4, store=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_worker_that_has_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    changed = sv.load(folder)
    list(changed.unet.parameters())[-1].add_(1e-3)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(sv.SagvizError, match=r"where a worker is: .* has the fingerprint"),
    ):
        sv.sweep(changed, **AXES, store=tmp_path, executor=executor, progress=False)


def test_a_worker_that_does_not_see_the_store_is_refused(model: sv.Model, tmp_path: Path) -> None:
    laid = begin(model, **AXES, store=tmp_path / "here")
    task = tasks.empty_task(model, laid.plan, laid.store, ThreadPoolExecutor(1))
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(sv.SagvizError, match=r"where a worker is: .*give the"):
            tasks.perform(replace(task, cells=laid.cells, store=str(place)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dtype": torch.bfloat16}, {"dtype": "bfloat16"}),
        (
            {"dtype": "torch.float32", "device": torch.device("cpu")},
            {"dtype": "float32", "device": "cpu"},
        ),
    ],
    ids=str,
)
def test_a_model_knows_how_it_was_loaded(
    folder: Path, given: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    origin = sv.load(folder.name, **given).origin
    assert origin is not None
    assert vars(origin) == {"source": str(folder), "offload": False, **UNSET} | expected


@pytest.mark.slow
def test_a_classifier_is_loaded_with_the_miniature(tmp_path: Path) -> None:
    """It is part of the fingerprint where the guidance has CG."""
    mini = sv.load()
    with ThreadPoolExecutor(1) as executor:
        made = sv.sweep(
            mini,
            steps=1,
            guidance=CG(1.0, "fox"),
            store=tmp_path,
            executor=executor,
            progress=False,
        )
    assert len(list(made)) == 1


def test_any_executor_is_one(model: sv.Model, tmp_path: Path) -> None:
    """Not only those of the standard library."""

    class Here(Executor):
        def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(call(*given, **named))
            return future

    made = sv.sweep(model, **AXES, store=tmp_path, executor=Here(), progress=False)
    assert len(list(made)) == 8
