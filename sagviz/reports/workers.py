"""Several warm kernels at work on the reports of a batch."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from sagviz.checks import check_whole
from sagviz.mini import NAME, THREADS
from sagviz.reports.kernel import WarmKernel
from sagviz.sweeps.executors import gpus

MEMORY = 2**30  # bytes of a kernel with the miniature, and some to spare
Made = TypeVar("Made")


class Workers:
    """Warm kernels, for each of which a thread here waits. Left early, they stop at once.

    Args:
        count: how many. Each has a GPU of its own, where there are enough, or else its share of the
            cores.
    """

    def __init__(self, count: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sagviz-")
        places = [Path(self._folder.name, str(i)) for i in range(count)]
        for place in places:
            place.mkdir()
        self._kernels = list(map(WarmKernel, places, _shares(count)))
        self._here = threading.local()
        free = iter(self._kernels)
        self._threads = ThreadPoolExecutor(count, initializer=lambda: self._take(next(free)))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for kernel in self._kernels:
            kernel.stop()
        self._threads.shutdown()
        for kernel in self._kernels:
            kernel.close()
        self._folder.cleanup()

    def submit(self, make: Callable[[WarmKernel], Made]) -> Future[Made]:
        """Have something made in the next kernel that is idle."""
        return self._threads.submit(lambda: make(self._here.kernel))

    def _take(self, kernel: WarmKernel) -> None:
        self._here.kernel = kernel


def how_many(wanted: int | None, models: Sequence[str]) -> int:
    """How many kernels share reports of these models: what is wanted; where that is `None`, one for
    each core and GiB of memory that nobody uses now, if all are the miniature, which computes on
    one core. Others have all cores, or a GPU, and would be held several times.

    Raises:
        ArgumentError: that is no number of kernels.
    """
    if wanted is not None:
        return check_whole("workers", wanted, 1, 1024)
    if set(models) - {NAME, ""}:
        return 1
    return max(1, min(len(models), _idle() // THREADS))


def _idle() -> int:
    """How many cores and GiB of memory nobody uses now, the lesser of them."""
    import psutil

    idle = 1 - psutil.cpu_percent(interval=0.5) / 100
    cores = round(idle * (psutil.cpu_count() or 1))
    return min(cores, psutil.virtual_memory().available // MEMORY)


def _shares(count: int) -> list[dict[str, str]]:
    """What each of so many kernels finds in its environment."""
    places = gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())
    if places:
        return [{"CUDA_VISIBLE_DEVICES": places[i % len(places)]} for i in range(count)]
    threads = max(1, torch.get_num_threads() // count)
    return [{"OMP_NUM_THREADS": str(threads)}] * count
