"""A scale as a function of a run's progress: `CFG(schedule("cosine", 1, 7))`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sagviz.checks import check_number, plain, shown
from sagviz.errors import ArgumentError

SHAPES = ("linear", "cosine", "steps")
SAMPLES = 101  # values of a function, one for each hundredth of the run and its end
EXAMPLE = 'schedule("cosine", 1, 7)'


@dataclass(frozen=True)
class Schedule:
    """A curve over the progress of a run, 0 to 1; evaluation i of n is at i / n, as for a term's
    `start` and `stop`. `schedule` makes one.

    Attributes:
        shape: "linear" or "cosine", through the values at equal distances, the first at 0, the last
            at 1; or "steps", each value for an equal part of the run.
        values: one or more.
    """

    shape: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.shape, str) or self.shape not in SHAPES:
            raise ArgumentError(
                f"the shape of a schedule is {shown(self.shape)}; give one of"
                f" {', '.join(map(repr, SHAPES))}, such as {EXAMPLE}"
            )
        numbers = tuple(float(check_number("a value of the schedule", v)) for v in self.values)
        if not numbers:
            raise ArgumentError(f"the schedule has no value; give one or more, such as {EXAMPLE}")
        object.__setattr__(self, "values", numbers)

    def at(self, progress: float) -> float:
        """The scale there. A curve of one value has that very value everywhere."""
        count = len(self.values)
        if self.shape == "steps":  # i / n times n may fall short of i by a rounding
            return self.values[min(int(progress * count + 1e-9), count - 1)]
        place = min(progress, 1.0) * (count - 1)
        before = min(int(place), count - 1)
        start, end = self.values[before], self.values[min(before + 1, count - 1)]
        share = place - before
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return start + share * (end - start)

    @property
    def peak(self) -> float:
        """The value farthest from 0: the number by which a slider scales the whole curve."""
        return max(self.values, key=abs)

    def with_peak(self, peak: float) -> Schedule:
        """The whole curve, scaled so that this is its peak; one of zeros becomes that constant."""
        own = self.peak
        if peak == own:
            return self
        return Schedule(self.shape, tuple(v / own * peak if own else peak for v in self.values))

    def __repr__(self) -> str:
        """The code that makes it."""
        return f"schedule({', '.join(map(repr, (self.shape, *self.values)))})"

    def __format__(self, style: str) -> str:
        """In words, the numbers in this style: "cosine 1 → 7"; of many values some."""
        some = self.values[:: max(1, (len(self.values) - 1) // 4)]
        return f"{self.shape} {' → '.join(format(value, style or 'g') for value in some)}"

    def to_json(self) -> dict[str, Any]:
        return {"shape": self.shape, "values": list(self.values)}


Scale = Any  # a number or a Schedule; a term is also given what `schedule` takes


def schedule(shape: str | Collection[float] | Callable[[float], float], *values: float) -> Schedule:
    """A scale that changes over a run, for any term: `CFG(schedule("cosine", 1, 7))`.

    Args:
        shape: "linear" or "cosine" (slow at both ends), which go through the values; "steps", which
            jumps from one to the next at equal distances; or, instead of shape and values, the
            values of "steps", one for each part of the run, or a function of the progress from 0 to
            1. A function is kept by its values, at each hundredth of the run.
        values: of the scale, one or more, from the run's begin to its end.

    Raises:
        ArgumentError: there is no such shape, no value, or one that is no number.

    Example:
        >>> import sagviz as sv
        >>> sv.CFG(sv.schedule("linear", 1, 7))
        CFG(schedule('linear', 1.0, 7.0))
        >>> guidance = sv.CFG([7, 5, 3, 1]) + sv.SAG(lambda progress: 1 - progress)
        >>> trace = sv.trace(sv.load(), "a fox", steps=4, guidance=guidance, progress=False)
        >>> [str(step.guidance) for step in trace][:2]
        ['CFG(7.0) + SAG(1.0)', 'CFG(5.0) + SAG(0.75)']
    """
    if callable(shape) and not isinstance(shape, type):
        samples = (plain(shape(place / (SAMPLES - 1))) for place in range(SAMPLES))
        return Schedule("linear", tuple(samples))
    if isinstance(shape, str):
        return Schedule(shape, tuple(map(plain, values)))
    if not isinstance(shape, Collection) or getattr(shape, "shape", None) == ():
        raise ArgumentError(f"the schedule is {shown(shape)}; give a shape, such as {EXAMPLE}")
    return Schedule("steps", tuple(map(plain, shape)))


def as_scale(name: str, value: Any) -> Scale:
    """A number or a curve, however it is given: as values, as a function, or as a file has it."""
    if isinstance(value, Mapping) and set(value) == {"shape", "values"}:
        return Schedule(value["shape"], tuple(value["values"]))
    value = plain(value)
    if isinstance(value, Schedule):
        return value
    listed = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    if listed or (callable(value) and not isinstance(value, type)):
        return schedule(value)
    try:
        return check_number(f"the {name} scale", value)
    except ArgumentError as error:
        raise ArgumentError(f"{error}, or a curve such as {EXAMPLE}") from None
