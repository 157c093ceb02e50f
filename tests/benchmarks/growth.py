"""How time and memory grow in steps, pixels, images and cells of a sweep, on the miniature: the
line that fits best, and how well.

Time is the median of some rounds in which the sizes take turns; memory the most that torch held at
once. In the number of pixels time is fitted by a power: attention is quadratic in it, the rest
linear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from benchmarks.bounds import bounded
from benchmarks.engine import repeats, timed
from evidence import Line, record
from instruments import peak_memory
from scipy.stats import linregress

import sagviz as sv
from sagviz import CFG, SAG

STEPS = 10


@dataclass(frozen=True)
class Axis:
    """A setting, its values, and what is run at each."""

    name: str
    values: Sequence[int]
    run: Callable[[int], object]

    def measured(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and bytes at each value."""
        runs = [partial(self.run, value) for value in self.values]
        seconds = [median for median, _ in timed(max(3, repeats() // 2), *runs, warm=True)]
        return np.array(seconds), np.array([peak_memory(run) for run in runs])


def trace(model: sv.Model, **changes: Any) -> sv.Trace:
    guidance = CFG(3.0) + SAG(1.0)
    settings = {"steps": STEPS, "guidance": guidance, "progress": False, **changes}
    return sv.trace(model, "a fox", **settings)


def axes(model: sv.Model) -> list[Axis]:
    sides = (64, 96, 128, 160, 192)
    by_pixels = {side * side: side for side in sides}
    guidance = CFG(3.0) + SAG(1.0)
    return [
        Axis("step", (10, 20, 30, 40, 50), lambda steps: trace(model, steps=steps)),
        Axis("image", (1, 2, 4, 6, 8), lambda images: trace(model, images=images)),
        Axis(
            "cell",
            (4, 8, 12, 16, 20),
            lambda cells: sv.sweep(
                model,
                "a fox",
                seeds=range(cells),
                steps=STEPS,
                guidance=guidance,
                batch=1,
                progress=False,
            ),
        ),
        Axis(
            "pixel",
            tuple(by_pixels),
            lambda pixels: trace(model, size=(by_pixels[pixels], by_pixels[pixels])),
        ),
    ]


def line(axis: Axis, found: np.ndarray, what: str, unit: str, a_unit: float) -> Line:
    """A straight line through a measure, and R² beside its bound."""
    fit = linregress(axis.values, found / a_unit)
    squared = fit.rvalue**2
    return bounded(
        f"{what} is linear in the number of {axis.name}s, R²",
        squared,
        ">= 0.98",
        f"{squared:.4f} ({fit.slope:,.3g} {unit} a {axis.name} + {fit.intercept:,.3g} {unit}, from"
        f" {axis.values[0]:,} to {axis.values[-1]:,})",
    )


def power(axis: Axis, found: np.ndarray) -> Line:
    """The exponent of time, beside that of attention alone."""
    fit = linregress(np.log(axis.values), np.log(found))
    return bounded(
        f"time by the number of {axis.name}s, exponent",
        fit.slope,
        "<= 2",
        f"{fit.slope:.2f} (R² {fit.rvalue**2:.4f}, from {axis.values[0]:,} to"
        f" {axis.values[-1]:,}, {1e3 * found[0]:,.0f} to {1e3 * found[-1]:,.0f} ms)",
    )


def main() -> None:
    torch.set_num_threads(1)
    lines = []
    for axis in axes(sv.load()):
        seconds, held = axis.measured()
        straight = axis.name != "pixel"
        lines.append(line(axis, seconds, "time", "ms", 1e-3) if straight else power(axis, seconds))
        lines.append(line(axis, held, "memory", "KiB", 2**10))
    record("Growth", "make bench TABLES=growth", lines)


if __name__ == "__main__":
    main()
