"""What a sweep is to make: `Plan`, the product of its axes, and `Cell`, one run of it, named by all
that it depends on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product, starmap
from typing import Any

from sagviz.checks import check_fields
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, as_guidance
from sagviz.models.fingerprint import part_for
from sagviz.records.settings import Settings, check_kinds, check_recorded
from sagviz.sweeps.columns import columns_of, is_scale

Keep = str | int | tuple[int, ...] | None  # "last", every k-th, indices, all
FORMAT = "sagviz-cell-3"  # another format is another key
AXES = {  # of a plan, by the column that has its values
    "prompt": "prompts",
    "seed": "seeds",
    "steps": "steps",
    "scheduler": "schedulers",
    "guidance": "guidance",
}
AXIS = {"prompts": str, "seeds": int, "steps": int, "guidance": list}  # values in JSON
SHARED = (
    *("model", "fingerprint", "negative_prompt", "images", "size", "eta"),
    *("clip_skip", "timesteps"),
)
_ABSENT = object()  # equal to no value


@dataclass(frozen=True)
class Cell:
    """One run of the sweep. Cells are equal when their keys are.

    Attributes:
        key: hash of all that the run depends on, see `Plan`.
        settings: those of the run.
        scheduler: the name that the sweep was given for it.
        keep: which steps its trace keeps, see `sweeps.sweep`.
    """

    key: str
    settings: Settings = field(compare=False)
    scheduler: str = field(compare=False)
    keep: Keep = field(compare=False)

    @property
    def columns(self) -> dict[str, Any]:
        """The settings as columns of a table: `prompt`, `seed`, `steps`, `scheduler`, and
        `<term>_<field>` of the guidance.
        """
        run = {name: getattr(self.settings, name) for name in ("prompt", "seed", "steps")}
        return {**run, "scheduler": self.scheduler, **columns_of(self.settings.guidance)}

    @property
    def values(self) -> dict[str, Any]:
        """All that it can be selected by: the columns, and the whole `guidance`."""
        return {**self.columns, "guidance": self.settings.guidance}

    def kept(self, evaluations: int) -> set[int]:
        """Indices of the steps to keep of a run with that many."""
        if self.keep == "last":
            return {evaluations - 1}
        if isinstance(self.keep, tuple):
            return set(self.keep)
        return {*range(0, evaluations, int(self.keep or 1)), evaluations - 1}


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The axes of a sweep and what all its runs share.

    A key is a hash of the settings of a run, the model's fingerprint among them, but not its name,
    and of `keep`. Not in it are the device, the runs that went beside it and the versions of the
    libraries: they change the last digits.

    Attributes:
        prompts, seeds, steps, guidance: the axes, each value once.
        schedulers: the axis of schedulers, name to class and configuration.
        model: the model's name; `fingerprint`: for all of the guidance.
        negative_prompt, images, size, eta, clip_skip, timesteps, keep: see `sweeps.sweep`.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    schedulers: dict[str, dict[str, Any]]
    guidance: tuple[Guidance, ...]
    model: str
    fingerprint: str
    negative_prompt: str
    images: int
    size: tuple[int, int]
    eta: float
    clip_skip: int | None
    timesteps: tuple[int, ...] | None
    keep: Keep

    @property
    def axes(self) -> list[tuple[Any, ...]]:
        """The values of each axis, the outermost first."""
        schedulers = tuple(self.schedulers.items())
        return [self.prompts, self.seeds, self.steps, schedulers, self.guidance]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The product of the axes: prompts outermost, then seeds, steps, schedulers, and guidance
        innermost.

        So the runs that share a first step stand together.
        """
        return tuple(starmap(self._cell, product(*self.axes)))

    def __len__(self) -> int:
        """How many runs there are. No `Cell` is made for it."""
        return math.prod(map(len, self.axes))

    @cached_property
    def samples(self) -> tuple[Cell, ...]:
        """A few runs that have between them every value of every setting, in the order in which
        `cells` has them.
        """
        first = [axis[0] for axis in self.axes]
        others = [
            [*first[:place], value, *first[place + 1 :]]
            for place, axis in enumerate(self.axes)
            for value in axis[1:]
        ]
        return tuple(starmap(self._cell, (first, *others)))

    @cached_property
    def columns(self) -> list[str]:
        """The settings that a table shows: the main ones, the scales, and what varies."""
        values: dict[str, set[str]] = {}
        for cell in self.samples:
            for name, value in cell.columns.items():
                values.setdefault(name, set()).add(repr(value))
        return [
            name
            for name, different in values.items()
            if name in AXES or is_scale(name) or len(different) > 1
        ]

    def select(self, wanted: Mapping[str, object]) -> Plan:
        """The plan of the runs with these settings, by the names of `Cell.values`.

        Raises:
            ArgumentError: there is no such setting, or no run with that value.
        """
        plan, known = self, dict.fromkeys(name for cell in self.samples for name in cell.values)
        for name, value in wanted.items():
            if name not in known:
                raise ArgumentError(
                    f"a sweep has no setting {name!r}; there are {', '.join(known)}"
                )
            value = as_guidance(value) if name == "guidance" else value
            found = plan._only(name, value)
            if found is None:
                raise ArgumentError(
                    f"no cell has {name}={value!r}; there are {offered(plan.samples, name)}"
                )
            plan = found
        return plan

    def _only(self, name: str, value: object) -> Plan | None:
        """The plan of the runs with one setting; `None` without any."""
        axis = AXES.get(name, "guidance")
        values: Any = getattr(self, axis)
        if axis == "schedulers":
            values = {label: config for label, config in values.items() if label == value}
        elif axis == "guidance":
            values = tuple(each for each in values if _values(each).get(name, _ABSENT) == value)
        else:
            values = tuple(each for each in values if each == value)
        return replace(self, **{axis: values}) if values else None

    def _cell(
        self,
        prompt: str,
        seed: int,
        steps: int,
        scheduler: tuple[str, dict[str, Any]],
        guidance: Guidance,
    ) -> Cell:
        label, config = scheduler
        settings = Settings(
            model=self.model,
            fingerprint=part_for(self.fingerprint, guidance),
            prompt=prompt,
            negative_prompt=self.negative_prompt if guidance.reads_negative_prompt else "",
            guidance=guidance,
            steps=steps,
            seed=seed,
            images=self.images,
            size=self.size,
            scheduler=config,
            eta=self.eta,
            clip_skip=self.clip_skip,
            timesteps=self.timesteps,
        )
        content = settings.to_json() | {"model": "", "guidance": _floats(guidance.to_json())}
        text = json.dumps([FORMAT, content, self.keep], sort_keys=True)
        return Cell(hashlib.sha256(text.encode()).hexdigest()[:32], settings, label, self.keep)

    def to_json(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {"guidance": [guidance.to_json() for guidance in self.guidance]}

    @staticmethod
    def from_json(content: Any) -> Plan:
        """The plan that `to_json` gave.

        Raises:
            ArgumentError: another version wrote it, or somebody else.
        """
        check_fields("the plan of the sweep", content, Plan)
        check_kinds(content, SHARED)
        kinds = content["schedulers"] if isinstance(content["schedulers"], dict) else {}
        for scheduler in kinds.values() or (None,):
            check_recorded(scheduler)
        for name, kind in AXIS.items():
            axis = content[name]
            if not axis or not isinstance(axis, list) or not all(isinstance(v, kind) for v in axis):
                raise ArgumentError(f"the axis {name} is {axis!r}; give a store that sagviz wrote")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
        }
        return Plan(**values | {"guidance": tuple(map(Guidance.from_json, content["guidance"]))})


def offered(cells: Sequence[Cell], name: str) -> str:
    """The values that a setting has among these runs, for people."""
    given = (cell.values for cell in cells)
    found = list(dict.fromkeys(repr(values[name]) for values in given if name in values))
    return ", ".join(found[:8]) + (f" ... ({len(found)} in all)" if len(found) > 8 else "")


def _values(guidance: Guidance) -> dict[str, Any]:
    return {**columns_of(guidance), "guidance": guidance}


def _floats(content: Any) -> Any:
    """Numbers as floats throughout, so that the scales 3 and 3.0 are one key."""
    if isinstance(content, dict):
        return {name: _floats(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_floats(value) for value in content]
    return float(content) if isinstance(content, int) and not isinstance(content, bool) else content
