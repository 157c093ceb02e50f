"""Exercises that are checked where they stand: `course.check("3.2", answer)`.

What is right is computed when it is asked, from the same model and formulas that the notebook uses;
nothing is stored that a later version could make wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

Hint = Callable[[Any], "str | None"]


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        number: of the notebook and in it, "3.2".
        why: what the right answer shows, said when it is given.
        hint: what is said to an answer; `None` where it is right.
    """

    number: str
    why: str
    hint: Hint


@dataclass(frozen=True)
class Verdict:
    """What `check` says, shown as a line.

    Example:
        >>> from sagviz import course
        >>> course.check("2.1", None)
        2.1: not yet. Put your answer in place of None.
    """

    number: str
    right: bool
    words: str

    def __repr__(self) -> str:
        return f"{self.number}: {'right' if self.right else 'not yet'}. {self.words}"

    def _repr_html_(self) -> str:
        colour, mark = ("#1a7f37", "✓") if self.right else ("#9a6700", "…")
        style = f"border-left:4px solid {colour};padding:4px 10px;font-size:15px"
        return f'<div style="{style}" role="status"><b>{mark}</b> {escape(repr(self))}</div>'


EXERCISES: dict[str, Exercise] = {}


def exercise(number: str, why: str) -> Callable[[Hint], Hint]:
    """Make a function the hint of an exercise.

    Args:
        number: such as "3.2".
        why: what is said to a right answer.
    """

    def register(hint: Hint) -> Hint:
        EXERCISES[number] = Exercise(number, why, hint)
        return hint

    return register


def check(number: str, answer: object) -> Verdict:
    """Say whether an answer is right, and if not, what to look at. It raises nothing, whatever the
    answer is.

    Args:
        number: of the exercise, such as "3.2".
        answer: a number, a tensor, a choice or a function, as the exercise says; `None` is no
            answer yet.

    Example:
        >>> from sagviz import course
        >>> course.check("1.2", lambda x_0, noise, bar: bar * x_0 + (1 - bar) * noise)
        1.2: not yet. The variance must stay 1: both factors are roots.
    """
    found = EXERCISES.get(number)
    if found is None:
        return Verdict(number, False, f"There is no such exercise; there are {_numbers()}.")
    if answer is None:
        return Verdict(number, False, "Put your answer in place of None.")
    try:
        hint = found.hint(answer)
    except Exception as error:  # whatever a student's function or object does
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return Verdict(number, False, f"Your answer could not be tried ({said}).")
    return Verdict(number, hint is None, found.why if hint is None else hint)


def _numbers() -> str:
    return ", ".join(sorted(EXERCISES, key=lambda number: [int(n) for n in number.split(".")]))


def close(answer: Any, right: Any, tolerance: float = 1e-3) -> bool:
    """Whether numbers, or tensors of one shape, agree within `tolerance` of the largest value."""
    given, wanted = np.asarray(answer, dtype=float), np.asarray(right, dtype=float)
    if given.shape != wanted.shape:
        return False
    return bool(np.abs(given - wanted).max() <= tolerance * max(1.0, np.abs(wanted).max()))
