"""Exercises of notebook 07, does it help?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import binomtest

from sagviz.guidance import CFG, SAG
from sagviz.mini.course.check import close, exercise

PAIRS = 12
BEFORE = np.array([1.0, 0, 1, 1, 0, 0, 1, 1, 0, 1])
AFTER = np.array([1.0, 1, 1, 1, 0, 1, 1, 0, 0, 1])


@exercise("7.1", "Few votes say little: a coin gives 9 of 12 or more to one side often enough.")
def wins_needed(answer: int) -> str | None:
    right = next(
        wins for wins in range(PAIRS // 2, PAIRS + 1) if binomtest(wins, PAIRS).pvalue < 0.05
    )
    if answer == right:
        return None
    if answer != int(answer):
        return "Wins are whole numbers."
    if answer < right:
        chance = binomtest(int(answer), PAIRS).pvalue
        return f"A coin is as uneven in {chance:.0%} of all votes; below 5 % is asked for."
    return "So many would do; fewer do as well."


@exercise("7.2", "The width falls with the root of n: half of it needs four times the pictures.")
def standard_error(answer: Callable[[float, int], float]) -> str | None:
    given = float(answer(0.7, 50))
    if close(given, np.sqrt(0.7 * 0.3 / 50), 1e-4):
        return None
    if close(given, 0.7 * 0.3 / 50, 1e-4):
        return "That is the variance; the standard error is its root."
    if close(given, np.sqrt(0.7 * 0.3), 1e-4):
        return "That is the spread of one picture; the mean of n spreads less."
    return "The root of p (1 - p) / n."


@exercise("7.3", "The noise that both pictures of a pair share goes out of the difference.")
def paired(answer: Callable[[np.ndarray, np.ndarray], float]) -> str | None:
    given = float(answer(BEFORE, AFTER))
    gains, n = AFTER - BEFORE, len(BEFORE)
    if close(given, gains.std() / np.sqrt(n)) or close(given, gains.std(ddof=1) / np.sqrt(n)):
        return None
    if close(given, np.sqrt((BEFORE.var() + AFTER.var()) / n)):
        return "That takes the two for strangers; subtract pair by pair first."
    if close(given, gains.mean()):
        return "That is the gain itself; how far is it uncertain?"
    if close(given, gains.std()):
        return "That is the spread of one pair's gain; the mean of n spreads less."
    return "The standard deviation of the differences, over the root of their number."


@exercise("7.4", "At equal cost CFG alone may take half as many steps again.")
def equal_cost(answer: float) -> str | None:
    rows = 50 * (1 + CFG(3.0).cost[0] + SAG(1.0).cost[0])
    if float(answer) * (1 + CFG(3.0).cost[0]) == rows:
        return None
    if float(answer) == 2 * 50:
        return "That would be right without CFG, where SAG doubles the rows."
    return f"CFG + SAG takes {rows} rows of the U-Net in 50 steps; how many has CFG alone a step?"
