"""Executors for sweeps: `pool`, the processes of this machine, and `cluster`, the workers of a Dask
scheduler.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING

import torch

from sagviz.checks import check_whole
from sagviz.errors import ArgumentError, WorkerError

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue


def pool(workers: int | None = None) -> ProcessPoolExecutor:
    """Processes of this machine. Each has a GPU of its own, where there are enough, or else its
    share of the cores.

    When one of them dies the pool is broken: Python's pools replace nobody. Use it as `with pool()
    as executor:`; in a script below `if __name__ == "__main__":`, because the processes are started
    afresh and import it.

    Args:
        workers: how many; as many as there are GPUs, or one where `None` and there is none.

    Raises:
        ArgumentError: `workers` is no number of processes.

    Example:
        >>> import sagviz as sv
        >>> from sagviz.sweeps import pool
        >>> with pool(2) as executor:
        ...     executor.submit(abs, -3).result()
        3
    """
    places = gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())
    count = workers if workers is not None else len(places) or 1
    check_whole("workers", count, 1, 1024)
    fresh = get_context("spawn")  # a forked process cannot use a GPU that its parent used
    turns = fresh.SimpleQueue()
    for number in range(count):
        turns.put(places[number % len(places)] if places else None)
    threads = max(1, (os.cpu_count() or 1) // count)
    return ProcessPoolExecutor(
        count, mp_context=fresh, initializer=_take_device, initargs=(turns, threads)
    )


def gpus(visible: str | None, count: int) -> list[str]:
    """What CUDA calls the GPUs that may be used: those that `CUDA_VISIBLE_DEVICES` names, or the
    first `count`.
    """
    named = [name.strip() for name in (visible or "").split(",") if name.strip()]
    return (named or [str(number) for number in range(count)])[:count]


def _take_device(turns: SimpleQueue[str | None], threads: int) -> None:
    """In a new process, before it does anything else: take a GPU, or a share of the cores."""
    place = turns.get()
    if place is None:
        torch.set_num_threads(threads)
    else:
        # torch looks at it when the first tensor goes there
        os.environ["CUDA_VISIBLE_DEVICES"] = place


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler, for as long as the block lasts.

    Args:
        address: such as "tcp://10.0.0.1:8786".

    Raises:
        ArgumentError: Dask is not installed.
        WorkerError: no scheduler answers there.

    Example:
        >>> import sagviz as sv
        >>> from sagviz.sweeps import cluster
        >>> with cluster("tcp://10.0.0.1:8786") as executor:  # doctest: +SKIP
        ...     sv.sweep(sv.load(), seeds=range(100), store="runs", executor=executor)
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ArgumentError(
            "a Dask cluster needs distributed; try pip install 'sagviz[cluster]'"
        ) from error
    try:
        client = Client(address)
    except (OSError, ValueError) as error:  # Dask's own time limit is an OSError
        raise WorkerError(
            f"no Dask scheduler answers at {address} ({error}); give such as tcp://10.0.0.1:8786"
        ) from error
    with client:
        yield client.get_executor()
