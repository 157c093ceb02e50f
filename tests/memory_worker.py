"""How much the memory of one process climbs: `python tests/memory_worker.py runs MODEL` or `...
leak` prints MiB.

A process of its own, because what an older one has freed before would hide a leak.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from scipy.stats import theilslopes

import sagviz as sv
from sagviz import CFG, SAG

WARM_UP, RUNS, EVERY = 40, 120, 5


def resident() -> float:
    """Memory of this process in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def climb(work: Callable[[int], object]) -> float:
    """Growth over 120 runs after 40 to warm up, MiB, from a slope that single jumps do not move."""
    sizes = []
    for number in range(WARM_UP + RUNS):
        work(number)
        if number >= WARM_UP and number % EVERY == 0:
            sizes.append(resident())
    return float(theilslopes(sizes).slope) * len(sizes)


def all_day(model: sv.Model, number: int) -> None:
    """What a notebook does again and again: compare, ask what if, go on from there."""
    _, with_sag = sv.compare(model, "a fox", seed=number, steps=2, progress=False)
    sv.what_if(model, with_sag, 1, guidance=CFG(5.0) + SAG(1.0, threshold=1.01))
    sv.branch(model, with_sag, 1, guidance=CFG(1.0), progress=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    kept: list[torch.Tensor] = []
    if sys.argv[1] == "leak":  # a latent of 16 KiB a run
        print(climb(lambda _: kept.append(torch.ones(64, 64))))
    else:
        model = sv.load(sys.argv[2])
        print(climb(lambda number: all_day(model, number)))
