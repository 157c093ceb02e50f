"""How long the Microscope takes from a change to its new pictures, in the kernel.

The aims are for an idle machine: 60 ms for a scale, which needs no U-Net call, and 250 ms for the
threshold, which needs one. What the networks alone take on this machine, bare, stands beside.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from benchmarks.bounds import bounded
from evidence import Line, record

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
    def line(self) -> Line:
        """The wall clock's 95th percentile beside its aim, and what it is made of."""
        median, own, p95 = (
            float(np.median(self.wall)),
            float(np.median(self.own)),
            float(np.percentile(self.wall, 95)),
        )
        return bounded(
            f"{self.name} in the Microscope, change to pictures, 95th percentile in ms",
            p95,
            f"<= {AIMS[self.name]:g}",
            f"{p95:.0f} (median {median:.0f} of {len(self.wall)}; own CPU time {own:.0f}, the"
            f" networks that it must call {self.bare:.0f})",
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
    record("Speed of the Microscope", "make bench TABLES=microscope", [m.line for m in measure()])


if __name__ == "__main__":
    main()
