"""How long the Microscope takes from a change to its new pictures, in the kernel: `python
tests/benchmarks/microscope.py`.

The aims are for an idle machine: 60 ms for a scale, which needs no U-Net call, and 250 ms for the
threshold, which needs one.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import torch

import sagviz as sv
from sagviz import CFG, SAG

# milliseconds at the 95th percentile
AIMS = {"cfg_scale": 60.0, "sag_scale": 60.0, "threshold": 250.0}


@dataclass(frozen=True)
class Latency:
    """Milliseconds of wall clock, and of this process alone, which others do not lengthen."""

    name: str
    wall: np.ndarray
    own: np.ndarray

    @property
    def p95(self) -> float:
        return float(np.percentile(self.wall, 95))

    def __str__(self) -> str:
        median, p95, own = np.median(self.wall), self.p95, np.percentile(self.own, 95)
        verdict = "kept" if p95 <= AIMS[self.name] else "missed"
        return (
            f"| {self.name} | {len(self.wall)} | {median:.0f} | {p95:.0f} | {own:.0f} |"
            f" {AIMS[self.name]:.0f} | {verdict} |"
        )


def latency(scope: sv.Microscope, name: str, values: np.ndarray) -> Latency:
    """Set a trait to each of the values, in an order that repeats none, after three changes that do
    not count.
    """
    times = []
    for value in map(float, values):
        before = time.perf_counter(), time.process_time()
        setattr(scope, name, value)
        times.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    wall, own = 1000 * np.array(times[3:]).T
    return Latency(name, wall, own)


def measure(changes: int = 100) -> list[Latency]:
    """Of all three, on the miniature."""
    torch.set_num_threads(1)
    model = sv.load()
    guidance = CFG(3.0) + SAG(1.0)
    trace = sv.trace(
        model, "a fox on a blue background", seed=7, steps=50, guidance=guidance, progress=False
    )
    scope = sv.Microscope(model, trace)
    try:
        ranges = {"cfg_scale": (0, 10), "sag_scale": (-0.5, 2), "threshold": (0.4, 2.5)}
        return [
            latency(scope, name, np.linspace(*ends, changes + 3)) for name, ends in ranges.items()
        ]
    finally:
        scope.close()


def main() -> None:
    print(
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores;"
        " milliseconds\n"
    )
    print(
        "| change | changes | median | p95 | p95 of own CPU time | aim of p95 |"
        " |\n|---|---|---|---|---|---|---|"
    )
    print(*measure(), sep="\n")


if __name__ == "__main__":
    main()
