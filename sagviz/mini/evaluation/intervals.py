"""Values with 95 % intervals, as the model card prints them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 200


def proportion(hits: Sequence[bool]) -> str:
    """'78.0 % (71.8 to 83.2), n = 200': a Wilson interval."""
    if not len(hits):
        return "none, n = 0"
    interval = binomtest(int(sum(hits)), len(hits)).proportion_ci(method="wilson")
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * float(np.mean(hits)):.1f} % ({low:.1f} to {high:.1f}), n = {len(hits)}"


def bootstrap(values: np.ndarray, statistic: Callable[[np.ndarray], float], digits: int = 2) -> str:
    """'32.41 (32.30 to 32.52), n = 200': the statistic of all rows, and 1.96 standard deviations of
    it over resampled rows.

    A distance between sets grows where rows repeat, so that the quantiles of resampled ones would
    not hold the value itself.
    """
    rng, value = np.random.default_rng(0), statistic(values)
    resampled = [
        statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)
    ]
    reach = 1.96 * float(np.std(resampled))
    return (
        f"{value:.{digits}f} ({value - reach:.{digits}f} to {value + reach:.{digits}f}), n ="
        f" {len(values)}"
    )
