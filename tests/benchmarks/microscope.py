"""How long the Microscope takes from a change to its new pictures, in the kernel: `python
tests/benchmarks/microscope.py`.

The aims are for an idle machine: 60 ms for a scale, which needs no U-Net call, and 250 ms for the
threshold, which needs one. What the networks alone take on this machine, bare, stands beside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import sagviz as sv
from sagviz import CFG, SAG

# milliseconds at the 95th percentile
AIMS = {"cfg_scale": 60.0, "sag_scale": 60.0, "threshold": 250.0}


@dataclass(frozen=True)
class Latency:
    """Milliseconds of wall clock, and of this process alone, which others do not lengthen; and of
    the networks that such a change must call, called bare.
    """

    name: str
    wall: np.ndarray
    own: np.ndarray
    bare: float

    @property
    def ratio(self) -> float:
        """Of medians: what a change costs, over what its networks cost."""
        return float(np.median(self.own)) / self.bare

    @property
    def p95(self) -> float:
        return float(np.percentile(self.wall, 95))

    def __str__(self) -> str:
        median, p95, own = np.median(self.wall), self.p95, np.percentile(self.own, 95)
        verdict = "kept" if p95 <= AIMS[self.name] else "missed"
        return (
            f"| {self.name} | {len(self.wall)} | {median:.0f} | {p95:.0f} | {own:.0f} |"
            f" {AIMS[self.name]:.0f} | {verdict} | {self.ratio:.1f} |"
        )


def latency(scope: sv.Microscope, name: str, values: np.ndarray, bare: float) -> Latency:
    """Set a trait to each of the values, in an order that repeats none, after three changes that do
    not count.
    """
    times = []
    for value in map(float, values):
        before = time.perf_counter(), time.process_time()
        setattr(scope, name, value)
        times.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    wall, own = 1000 * np.array(times[3:]).T
    return Latency(name, wall, own, bare)


def bare(call: Callable[[], object]) -> float:
    """Median milliseconds of this process for a network's call, after one that does not count."""
    call()
    times = []
    for _ in range(15):
        before = time.process_time()
        call()
        times.append(time.process_time() - before)
    return 1000 * float(np.median(times))


def measure(changes: int = 100) -> list[Latency]:
    """Of all three, on the miniature."""
    torch.set_num_threads(1)
    model = sv.load()
    guidance = CFG(3.0) + SAG(1.0)
    trace = sv.trace(
        model, "a fox on a blue background", seed=7, steps=50, guidance=guidance, progress=False
    )
    x, text = trace[25].x_t, model.blank(model.network.config, 16)
    with torch.no_grad():
        decoding = bare(lambda: model.decode(x))
        calling = bare(lambda: model.predict(x, torch.tensor(trace[25].t), text))
    least = {"cfg_scale": decoding, "sag_scale": decoding, "threshold": decoding + calling}
    scope = sv.Microscope(model, trace)
    try:
        ranges = {"cfg_scale": (0, 10), "sag_scale": (-0.5, 2), "threshold": (0.4, 2.5)}
        return [
            latency(scope, name, np.linspace(*ends, changes + 3), least[name])
            for name, ends in ranges.items()
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
        " | over the bare networks |\n|---|---|---|---|---|---|---|---|"
    )
    print(*measure(), sep="\n")


if __name__ == "__main__":
    main()
