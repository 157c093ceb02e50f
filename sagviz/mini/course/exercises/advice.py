"""Exercises of notebook 06, advice and failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sagviz.guidance import CFG, SAG
from sagviz.mini.course.check import close, exercise
from sagviz.models.load import load

COUNTS = (10, 25, 50, 200, 750)
RISING = (0.50, 0.77, 0.91, 0.97, 1.00)
CROSSING = (0.96, 1.30, 1.25, 1.05, 1.00)  # it comes near its last value, and leaves it again


@exercise("6.2", "One picture in another's units: only so do the eight prompts have one axis.")
def relative(answer: Callable[[np.ndarray, np.ndarray], float]) -> str | None:
    with_sag, without = np.array([3.0, 1.0, 8.0]), np.array([4.0, 1.0, 5.0])
    given = float(answer(with_sag, without))
    if close(given, (with_sag / without).mean()):
        return None
    if close(given, with_sag.mean() / without.mean()):
        return "That is the ratio of the means: the sharpest picture decides it. Divide first."
    if close(given, (without / with_sag).mean()):
        return "The other way round: above 1 must mean that SAG made the pictures sharper."
    if close(given, (with_sag - without).mean()):
        return "A difference has a unit; divide each picture's sharpness by that of its partner."
    return "For each pair the sharpness with SAG over that without; then the mean of these."


@exercise("6.3", "What comes after is paid for and not seen.")
def until_settled(answer: Callable[[Sequence[int], Sequence[float]], int]) -> str | None:
    given, near = [], []
    for values in (RISING, CROSSING):
        given.append(answer(COUNTS, values))
        near.append([abs(value - values[-1]) <= 0.1 * values[-1] for value in values])
    settled = [[all(row[i:]) for i in range(len(row))] for row in near]
    if given == [*map(_first, settled)]:
        return None
    if given == [COUNTS[-1]] * 2:
        return "That is the last one; how early is a value already within 10 % of it?"
    if given == [*map(_first, near)]:
        return "A curve may come near its last value and leave it again: look at all that follow."
    return "The first count from which on every value is within 10 % of the last one."


def _first(holds: list[bool]) -> int:
    return next(count for count, held in zip(COUNTS, holds, strict=True) if held)


@exercise("6.1", "Guidance is paid in rows: CFG adds one to a step, SAG another.")
def rows(answer: float) -> str | None:
    steps = 200
    each = 1 + CFG(10.0).cost[0] + SAG(1.0).cost[0]
    if float(answer) == steps * each:
        return None
    if float(answer) == steps * (1 + SAG(1.0).cost[1]):
        return "That counts the calls; a call with CFG has two rows."
    return "How many predictions does one step of CFG + SAG need? Notebook 05 made each of them."


@exercise("6.4", "Two places are for the marks of start and end; what is cut was never read.")
def cut(answer: Callable[[list[int], int], list[int]]) -> str | None:
    tokenizer = load().tokenizer
    room = tokenizer.model_max_length
    tokens = list(range(room + 6))
    given = list(answer(tokens, room))
    if given == tokens[room - 2 :]:
        return None
    if given == tokens[room:]:
        return "The marks of start and end take two of the places."
    if given == tokens[: room - 2]:
        return "That is what is kept; give what is lost."
    return "Of the words' tokens the first `length - 2` are kept; give the rest."
