"""What a large sweep takes, for docs/howto/scale.md: bytes, seconds and memory, on the CPU, with
the miniature and copies of its cells.

.venv/bin/python tests/benchmarks/scale.py [--stored 100000] [--planned 1000000] [--tasks 1000]
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from distributed import Client, LocalCluster

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.sweeps import begin, pool
from sagviz.sweeps.memory_store import Memory
from sagviz.sweeps.plan import Cell
from sagviz.sweeps.tasks import empty_task

PROMPTS = ["a fox on a blue background", "a cat", "an owl", "a tree"]
SUMS = [CFG(1 + w / 10) + SAG(s / 10) for w in range(10) for s in range(10)]


class Full(Memory):
    """A store that has every cell already."""

    def holds(self, key: str) -> bool:
        del key
        return True


def planned(model: sv.Model, count: int, store: Path | None = None, steps: int = 50) -> sv.Sweep:
    """A sweep of that many cells, a multiple of 400."""
    return begin(model, PROMPTS, seeds=range(count // 400), steps=steps, guidance=SUMS, store=store)


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def row(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def memory() -> int:
    """Bytes of this process that are in memory."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


def of_a_cell(model: sv.Model, folder: Path) -> Path:
    """How large a cell is and how long it takes; one of their files."""
    for keep in ("last", None):
        made = sv.sweep(
            model,
            PROMPTS[0],
            seeds=range(16),
            guidance=SUMS[-1],
            store=folder / str(keep),
            keep=keep,
            progress=False,
        )
        sizes = [path.stat().st_size for path in (folder / str(keep)).glob("*.sagtrace")]
        row(f"bytes a cell, 50 steps of CFG + SAG, keep={keep!r}", f"{sum(sizes) / len(made):,.0f}")
    large = sv.sweep(
        model,
        PROMPTS[0],
        steps=1,
        guidance=SUMS[-1],
        size=(256, 256),
        store=folder / "large",
        progress=False,
    )
    shape = " x ".join(map(str, model.latent_shape((256, 256))))
    size = sum(path.stat().st_size for path in (folder / "large").glob("*.sagtrace"))
    row(
        f"the same without the picture, latent of {shape}, keep='last'",
        f"{size - len(large.trace().pictures[0]):,}",
    )
    for batch in (1, 16):
        spent = seconds(
            partial(
                sv.sweep,
                model,
                PROMPTS[0],
                seeds=range(16),
                guidance=SUMS[-1],
                batch=batch,
                progress=False,
            )
        )
        row(
            f"seconds a cell, 50 steps of CFG + SAG, batch={batch}, one thread", f"{spent / 16:.2f}"
        )
    return next((folder / "last").glob("*.sagtrace"))


def of_a_plan(model: sv.Model, count: int) -> None:
    before = memory()
    laid = planned(model, count)
    row(f"plan of {count:,} cells: all keys", f"{seconds(lambda: laid.cells):.1f} s")
    row(f"plan of {count:,} cells: memory", f"{(memory() - before) / count:,.0f} bytes a cell")
    row(
        f"plan of {count:,} cells: select of 4 cells",
        f"{seconds(lambda: laid.select(seed=3, cfg_scale=1, sag_scale=0)):.3f} s",
    )


def of_a_store(model: sv.Model, one: Path, count: int, folder: Path) -> None:
    """Of copies of one cell under the names of others."""
    laid, content = planned(model, count, folder), one.read_bytes()
    for cell in laid.cells:
        (folder / f"{cell.key}.sagtrace").write_bytes(content)
    row(f"{count:,} stored cells: a look at what is there", f"{seconds(laid.store.look):.2f} s")
    row(f"{count:,} stored cells: the table", f"{seconds(laid.table):.1f} s")
    row(
        f"{count:,} stored cells: every checksum, as at the start of a sweep",
        f"{seconds(laid.missing):.1f} s",
    )


def of_a_task(model: sv.Model, one: Path, count: int, folder: Path) -> None:
    """Of tasks whose one cell is there, so that a worker reads it and does no more."""
    laid, content = planned(model, max(400, count // 400 * 400), folder), one.read_bytes()
    for cell in laid.cells:
        (folder / f"{cell.key}.sagtrace").write_bytes(content)
    with pool(2) as executor, dask_workers() as other:
        task = empty_task(model, laid.plan, laid.store, executor)
        for size in (1, 16):
            sent = pickle.dumps(replace(task, cells=laid.cells[:size]))
            row(f"bytes of a task, batch={size}", f"{len(sent):,}")
        for name, engine in (("process pool of two", executor), ("Dask, two workers", other)):
            through(engine, model, laid, laid.cells[:40])  # they load the model
            spent = seconds(partial(through, engine, model, laid, laid.cells))
            row(f"a task beside its cells, {name}", f"{1e3 * spent / len(laid):.1f} ms")


@contextmanager
def dask_workers() -> Iterator[Executor]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


def through(executor: Executor, model: sv.Model, laid: sv.Sweep, cells: tuple[Cell, ...]) -> None:
    for _ in laid.run(model, cells=cells, batch=1, executor=executor):
        pass


def of_a_driver(model: sv.Model, count: int) -> None:
    """Without an executor, of cells that cost nothing because each is already there."""

    class Full(Memory):
        def holds(self, key: str) -> bool:
            del key
            return True

    laid = sv.Sweep(planned(model, count).plan, Full())
    cells = laid.cells
    spent = seconds(lambda: list(laid.run(model, cells=cells, batch=16)))
    row(f"going through {count:,} cells, beside the cells", f"{1e6 * spent / count:.1f} µs a cell")


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag, default in (("--stored", 100_000), ("--planned", 1_000_000), ("--tasks", 1000)):
        parser.add_argument(flag, type=int, default=default)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    model = sv.load()
    print("| what | measured |\n|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        one = of_a_cell(model, folder)
        of_a_plan(model, wanted.planned)
        of_a_driver(model, wanted.stored)
        of_a_task(model, one, wanted.tasks, folder / "tasks")
        of_a_store(model, one, wanted.stored, folder / "stored")


if __name__ == "__main__":
    main()
