"""What the settings of a sweep are called, and the values that they have in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sagviz import describe
from sagviz.guidance import Guidance
from sagviz.sweeps.columns import counted, is_scale, term_of, title_of_column
from sagviz.sweeps.plan import Cell
from sagviz.sweeps.results import Sweep

RUN = ("prompt", "seed", "steps", "scheduler")  # settings that are no part of the guidance
UNSET = "unset"  # a field of a term that is left open


@dataclass(frozen=True)
class Axis:
    """A setting and the values that it has in a sweep, in the sweep's order; `None` where a run has
    no such term.
    """

    name: str
    values: tuple[Any, ...]

    @property
    def title(self) -> str:
        """What the setting is called."""
        return title_of_column(self.name)

    def label(self, value: Any) -> str:
        """A value with the name of its setting: "CFG scale 3", "seed 7", "no SAG"; in full where
        another value of the sweep has the same words.
        """
        words = self._words(value)
        if self._counts[words] <= 1:
            return words
        return repr(value) if isinstance(value, Guidance) else f"{self.title} {value!r}"

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(map(self._words, self.values))

    def _words(self, value: Any) -> str:
        kind, _ = term_of(self.name)
        if value is None and kind is not None:
            return f"no {kind.title}"
        if self.name == "prompt":
            return describe.quoted(value)
        if self.name == "steps":
            return counted(value)
        if isinstance(value, Guidance):
            return describe.of_guidance(value)
        return f"{self.title} {value:g}" if isinstance(value, float) else f"{self.title} {value}"


def axes_of(sweep: Sweep) -> dict[str, Axis]:
    """Every setting of a sweep by name, those that do not vary included."""
    every = [values_of(cell) for cell in sweep.plan.samples]
    names = dict.fromkeys(name for own in every for name in own if name != "guidance")
    axes = {
        name: Axis(name, tuple(dict.fromkeys(own.get(name) for own in every)))
        for name in (*names, "guidance")
    }
    return axes | {"image": Axis("image", tuple(range(sweep.plan.images)))}


def varies(axis: Axis) -> bool:
    """Whether there is a choice. That some runs lack a term shows in its scale alone, not in all
    its settings.
    """
    there = [value for value in axis.values if value is not None]
    return len(there) > 1 or (is_scale(axis.name) and len(axis.values) > 1)


def values_of(cell: Cell) -> dict[str, Any]:
    """The settings of a run by name, all of them hashable, and none of them `None`."""
    return {name: UNSET if value is None else value for name, value in cell.values.items()}
