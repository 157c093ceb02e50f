"""Sweeps beyond one process: process pools and a real Dask cluster, whose workers are killed."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster, WorkerPlugin
from distributed.utils import get_mp_context
from tiny import is_one_sentence

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.cli import main
from sagviz.errors import WorkerError
from sagviz.sweeps import begin, pool
from sagviz.sweeps.dispatch import TRIES
from sagviz.sweeps.executors import gpus

pytestmark = pytest.mark.slow(15)  # each worker has to import torch

SMALL: dict[str, Any] = {
    "prompts": ["a fox", "a cat"],
    "seeds": [0, 1],
    "steps": 2,
    "guidance": [CFG(3.0), CFG(3.0) + SAG(1.0)],
}
HUNDRED: dict[str, Any] = {
    "prompts": ["a fox", "a cat"],
    "seeds": range(10),
    "steps": 2,
    "guidance": [CFG(w) for w in range(5)],
}


def names(store: Path) -> Counter[str]:
    """How many files of each kind a store has."""
    return Counter(path.suffix for path in store.iterdir())


# The processes of this machine


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with pool(2) as executor:
        yield executor


def test_processes_make_what_is_made_here(
    model: sv.Model, workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    store = tmp_path / "apart"
    apart = sv.sweep(
        model, **SMALL, store=f"file://{store}", batch=2, executor=workers, progress=False
    )
    here = sv.sweep(model, **SMALL, batch=2, progress=False)
    assert apart.cells == here.cells
    assert not apart.missing()  # every checksum is right
    # equal batches, equal bits
    assert all(np.array_equal(a.latents, b.latents) for a, b in zip(apart, here, strict=True))
    pd.testing.assert_frame_equal(apart.table(), here.table())
    assert names(store) == {".sagtrace": 8, ".json": 1}


def test_a_damaged_cell_is_made_again_by_a_worker(
    model: sv.Model, workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    made = sv.sweep(model, **SMALL, store=tmp_path, progress=False)
    path = tmp_path / f"{made.cells[3].key}.sagtrace"
    path.write_bytes(path.read_bytes()[:-100])
    seen = list(made.run(model, executor=workers))
    assert seen == [made.cells[3]]
    assert not made.missing()
    assert names(tmp_path) == {".sagtrace": 8, ".json": 1, ".damaged": 1}


def test_a_cell_that_fails_in_a_worker_costs_only_itself(
    model: sv.Model, workers: ProcessPoolExecutor, tmp_path: Path
) -> None:
    guidance = [CFG(3.0), SAG(1.0, layer="nowhere")]
    with pytest.warns(sv.SagvizWarning, match="1 of 2 cells failed"):
        made = sv.sweep(
            model,
            "a fox",
            steps=1,
            guidance=guidance,
            store=tmp_path,
            executor=workers,
            progress=False,
        )
    ((cell, reason),) = made.failed.items()
    assert cell.settings.guidance.terms == (guidance[1],)
    assert "no self-attention layer 'nowhere'" in reason


def test_a_broken_pool_says_how_to_go_on(model: sv.Model, tmp_path: Path) -> None:
    laid = begin(model, **SMALL, store=tmp_path)
    with pool(1) as executor:
        making = laid.run(model, batch=2, executor=executor)
        next(making)
        os.kill(next(iter(executor._processes)), signal.SIGKILL)
        with pytest.raises(
            sv.SagvizError,
            match="what is finished is stored, and the same sweep with a new executor goes on",
        ):
            list(making)
    assert 2 <= len(list(laid)) < 8
    sv.sweep(model, **SMALL, store=tmp_path, progress=False)
    assert not laid.missing()
    assert names(tmp_path) == {".sagtrace": 8, ".json": 1}


@pytest.mark.filterwarnings("ignore:.*cells failed")
def test_the_command_shares_the_work(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # of which every second one does not fit
    blur = ["--blur-sigma", "1", "100", "--seeds", "0", "1"]
    assert (
        main(
            [
                "sweep",
                "--model",
                str(folder),
                "--steps",
                "1",
                *blur,
                "--store",
                str(tmp_path),
                "--workers",
                "2",
            ]
        )
        == 1
    )
    assert (
        sum(line.startswith("sagviz: failed: ") for line in capsys.readouterr().err.splitlines())
        == 2
    )
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2


def test_each_process_has_a_gpu_of_its_own() -> None:
    """The list only: no GPU was here."""
    assert gpus(None, 0) == gpus("", 0) == gpus("0,1", 0) == []
    assert gpus(None, 2) == ["0", "1"]
    assert gpus("3, GPU-8f", 2) == ["3", "GPU-8f"]


# A Dask cluster


LIBRARIES = ["distributed", "sagviz.models", "sagviz.sweeps.workers", "diffusers.pipelines"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers of one thread, each in a process that is replaced when it dies.

    They are forked from a process that has the libraries in memory, so that a death costs no
    import.
    """
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(LIBRARIES)
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            yield client


def dashboard(client: Client) -> str:
    """What the pages of the workers show now."""
    root = client.dashboard_link.removesuffix("/status")
    pages = [
        f"{root}/info/worker/{urllib.parse.quote(address, safe='')}.html"
        for address in client.nthreads()
    ]
    return "".join(urllib.request.urlopen(page).read().decode() for page in pages)


def attempts(client: Client) -> Counter[str]:
    """How often each task was given to a worker."""

    def looked(dask_scheduler: Any) -> list[str]:
        return [key for key, _, state, *_ in dask_scheduler.transition_log if state == "processing"]

    return Counter(client.run_on_scheduler(looked))


def test_a_worker_killed_in_the_middle_of_a_hundred_cells(
    model: sv.Model, client: Client, tmp_path: Path
) -> None:
    laid, seen, shown = begin(model, **HUNDRED, store=tmp_path), [], ""
    before = client.run(os.getpid)
    for cell in laid.run(model, batch=4, executor=client.get_executor()):
        seen.append(cell)
        if len(seen) < 30:
            shown += dashboard(client)
        if len(seen) == 30:
            os.kill(next(iter(before.values())), signal.SIGKILL)
    assert set(client.run(os.getpid).values()) != set(before.values())
    # a task was lost and given to another worker
    assert [count for count in attempts(client).values() if count > 1]
    assert len(seen) == len(set(seen)) == len(laid) == 100
    assert not laid.missing()  # every checksum is right
    # as the next sweep does, which clears what was written half when the kill came
    laid.store.begin(laid.plan.to_json())
    assert names(tmp_path) == {".sagtrace": 100, ".json": 1}
    table = laid.table()
    assert len(table) == len(table.drop_duplicates(["prompt", "seed", "cfg_scale"])) == 100
    told = re.findall(
        r"cell-(“a fox”, seed \d, CFG \d) to (“a fox”, seed \d, CFG \d), 4 cells, ([0-9a-f]{32})-",
        shown,
    )
    assert told
    firsts = {cell.key: cell.values for cell in laid.cells[::4]}
    assert all(
        f"seed {firsts[key]['seed']}, CFG {firsts[key]['cfg_scale']:g}" in first
        for first, _, key in told
    )


def test_a_closed_client_is_one_sentence(model: sv.Model, client: Client, tmp_path: Path) -> None:
    with Client(client.scheduler.address) as other:
        executor = other.get_executor()
    with pytest.raises(WorkerError, match="the executor stopped") as error:
        sv.sweep(model, **SMALL, store=tmp_path, executor=executor, progress=False)
    assert is_one_sentence(error.value)
    assert len(error.value.sweep.pending) == 8


def test_the_command_takes_a_scheduler(folder: Path, client: Client, tmp_path: Path) -> None:
    assert client.scheduler is not None
    place = ["--store", str(tmp_path), "--dask", str(client.scheduler.address)]
    flags = ["--seeds", "0", "1", "--steps", "1", *place]
    assert main(["sweep", "--model", str(folder), *flags]) == 0
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2


@pytest.mark.filterwarnings("ignore:.*cells failed")
def test_a_cell_that_kills_its_worker_ends_as_failed(
    model: sv.Model, client: Client, tmp_path: Path
) -> None:
    class Deadly(WorkerPlugin):
        """The cells of seed 1 end the process that makes them."""

        def setup(self, worker: Any) -> None:
            del worker
            from sagviz.sweeps import workers

            resume = workers.resume

            def deadly(model: Any, settings: Any) -> Any:
                if settings.seed == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                return resume(model, settings)

            workers.resume = deadly  # type: ignore[assignment]

    def once(dask_scheduler: Any) -> None:
        # else Dask itself gives a lost task to three more workers
        dask_scheduler.allowed_failures = 0

    client.run_on_scheduler(once)
    client.register_plugin(Deadly())
    before = sum(attempts(client).values())
    sweep: dict[str, Any] = {
        "prompts": "a fox",
        "seeds": [0, 1, 2, 3],
        "steps": 1,
        "guidance": CFG(3.0),
        "store": tmp_path,
    }
    made = sv.sweep(model, **sweep, executor=client.get_executor(), batch=4, progress=False)
    assert [cell.settings.seed for cell in made.failed] == [1]
    assert f"died, {TRIES} times" in "".join(made.failed.values())
    assert sorted(made.table()["seed"]) == [0, 2, 3]
    # together, each alone, and this one again
    assert sum(attempts(client).values()) - before >= 1 + 4 + TRIES - 1
    again = sv.sweep(model, **sweep, progress=False)  # the same call, where nothing kills it
    assert not again.failed


def test_a_scheduler_that_does_not_answer_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}):
        assert (
            main(
                [
                    "sweep",
                    "--model",
                    str(folder),
                    "--store",
                    str(tmp_path),
                    "--dask",
                    "tcp://127.0.0.1:1",
                ]
            )
            == 2
        )
    assert "sagviz: no Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err
