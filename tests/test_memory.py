"""A process that works all day: its memory does not climb from run to run."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.stats import theilslopes

import sagviz as sv
from sagviz import CFG, SAG

WARM_UP, RUNS = 50, 300
BOUND = 2.0  # MiB over all runs: a single kept latent of each would already be beyond it


def resident() -> float:
    """Memory of this process in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def climb(work: Callable[[int], object]) -> float:
    """How much memory grows over 300 runs after 50 to warm up, MiB: a slope that single jumps do not move."""
    sizes = []
    for number in range(WARM_UP + RUNS):
        work(number)
        if number >= WARM_UP and number % 10 == 0:
            sizes.append(resident())
    return float(theilslopes(sizes).slope) * len(sizes)


def all_day(model: sv.Model, number: int) -> None:
    """What a notebook does again and again: compare, ask what if, go on from there."""
    _, with_sag = sv.compare(model, "a fox", seed=number, steps=2, progress=False)
    sv.what_if(model, with_sag, 1, guidance=CFG(5.0) + SAG(1.0, threshold=1.01))
    sv.branch(model, with_sag, 1, guidance=CFG(1.0), progress=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_has_no_slope_over_300_runs(model: sv.Model) -> None:
    assert climb(lambda number: all_day(model, number)) < BOUND


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_leak_of_a_latent_a_run_would_be_seen() -> None:
    """The measure itself, on a leak of 16 KiB a run."""
    kept: list[torch.Tensor] = []
    assert climb(lambda _: kept.append(torch.ones(64, 64))) > BOUND
