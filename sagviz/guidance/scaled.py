"""What every term has: a scale, or a curve of scales, and the part of a run in which it acts."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from sagviz.checks import check_number, plain
from sagviz.checks.classes import NamesArguments
from sagviz.guidance.schedule import Scale, Schedule, as_scale

Own = TypeVar("Own", bound="Scaled")


@dataclass(frozen=True, repr=False)
class Scaled(metaclass=NamesArguments):
    """The fields that all terms share, and the settings of a term as a whole."""

    name: ClassVar[str]

    scale: Scale
    start: float = field(default=0.0, kw_only=True)
    stop: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        for name, value in self.settings().items():
            object.__setattr__(self, name, plain(value))  # NumPy's cannot be written into files
        object.__setattr__(self, "scale", as_scale(self.name, self.scale))
        check_number("start", self.start, 0, 1)
        check_number("stop", self.stop, self.start, 1)

    def __repr__(self) -> str:
        """The code that makes it: the scale, and what differs from the defaults."""
        changed = (f", {name}={value!r}" for name, value in self.changed_settings.items())
        scale = self.scale if isinstance(self.scale, Schedule) else float(self.scale)
        code = f"{type(self).__name__}({scale!r}{''.join(changed)})"
        return runnable(code)

    @property
    def scale_name(self) -> str:
        """What the scale is called as a column, an option or a trait: `sag_scale`."""
        return f"{self.name}_scale"

    @property
    def factor(self) -> float:
        """The scale of a step's term, which is a number."""
        assert not isinstance(self.scale, Schedule), "a curve has a number at each step, see `at`"
        return self.scale

    @property
    def peak(self) -> float:
        """The scale; of a curve its value farthest from 0: what a slider shows and sets."""
        return self.scale.peak if isinstance(self.scale, Schedule) else self.scale

    def with_peak(self: Own, peak: float) -> Own:
        """The same with another scale; a curve is scaled as a whole."""
        scale = self.scale
        return replace(self, scale=scale.with_peak(peak) if isinstance(scale, Schedule) else peak)

    def at(self: Own, progress: float) -> Own:
        """The term of evaluation i of n, `progress` being i / n: its scale is a number."""
        scale = self.scale
        return replace(self, scale=scale.at(progress)) if isinstance(scale, Schedule) else self

    def settings(self) -> dict[str, Any]:
        """All fields, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def to_json(self) -> dict[str, Any]:
        """The same as plain values; a curve as its shape and values."""
        scale = self.scale.to_json() if isinstance(self.scale, Schedule) else self.scale
        return {**self.settings(), "scale": scale}

    @property
    def changed_settings(self) -> dict[str, Any]:
        """The fields beside the scale that differ from their defaults, by name."""
        usual = {
            each.name: each.default_factory() if callable(each.default_factory) else each.default
            for each in fields(self)
            if each.name != "scale"
        }
        return {k: v for k, v in self.settings().items() if k in usual and v != usual[k]}

    @classmethod
    def needed(cls) -> list[str]:
        """The names of what it must be given beside its scale."""
        return [
            each.name
            for each in fields(cls)
            if each.name != "scale"
            and _is_missing(each.default)
            and _is_missing(each.default_factory)
        ]

    @cached_property
    def without_scale(self: Own) -> Own:
        """The term without all that its predictions do not depend on."""
        return replace(self, scale=0.0, start=0.0, stop=1.0)


def _is_missing(default: object) -> bool:
    """Whether a field has none. A class that came from another process has a copy of MISSING."""
    return isinstance(default, type(MISSING))


def runnable(code: str) -> str:
    """Values as Python writes them, with infinities that Python reads."""
    return re.sub(r"(=|: )(-?inf)\b", r"\1float('\2')", code)
