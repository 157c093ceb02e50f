"""Values with 95 % intervals, as the model card prints them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 200
Statistic = Callable[[np.ndarray], float]


def proportion(hits: Sequence[bool]) -> str:
    """'78.0 % (71.8 to 83.2), n = 200': a Wilson interval."""
    if not len(hits):
        return "none, n = 0"
    interval = binomtest(int(sum(hits)), len(hits)).proportion_ci(method="wilson")
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * float(np.mean(hits)):.1f} % ({low:.1f} to {high:.1f}), n = {len(hits)}"


def bootstrap(values: np.ndarray, statistic: Statistic, digits: int = 2) -> str:
    """'32.41 (32.30 to 32.52), n = 200': the statistic of all rows, and its `reach`."""
    value, far = statistic(values), reach(resampled(values, statistic))
    return (
        f"{value:.{digits}f} ({value - far:.{digits}f} to {value + far:.{digits}f}), n ="
        f" {len(values)}"
    )


def reach(statistics: np.ndarray) -> float:
    """How far a 95 % interval reaches to each side: 1.96 standard deviations of a statistic of
    resampled rows.

    A distance between sets grows where rows repeat, so that the quantiles of resampled ones would
    not hold the value itself.
    """
    return 1.96 * float(np.std(statistics))


def resampled(values: np.ndarray, statistic: Statistic, *, halves: bool = False) -> np.ndarray:
    """The statistic of rows that are drawn anew, (RESAMPLES,): always the same ones of as many.

    Where repeated rows spoil even the spread, as they do that of distances to the nearest
    neighbours, `halves` takes half of the rows without repetition: the delete-half jackknife (Shao
    & Wu 1989, Annals of Statistics 17, 1176), which has the spread of all rows.
    """
    rng, count = np.random.default_rng(0), len(values)
    chosen = (
        rng.permutation(count)[: count // 2] if halves else rng.integers(count, size=count)
        for _ in range(RESAMPLES)
    )
    return np.array([statistic(values[rows]) for rows in chosen])
