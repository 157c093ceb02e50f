"""What a sweep is to make: `Plan`, the product of its axes, and `Cell`, one run of it, named by all
that it depends on.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from typing import Any

from sagviz.guidance import Guidance
from sagviz.records.settings import Settings

Keep = str | int | tuple[int, ...] | None  # "last", every k-th, indices, all
_ABSENT = object()  # equal to no value
FORMAT = "sagviz-cell-1"  # another format is another cell


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. Cells are equal when their keys are.

    Attributes:
        key: hash of all that the cell depends on, see `Plan`.
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

    def kept(self, evaluations: int) -> set[int]:
        """Indices of the steps to keep of a run with that many."""
        if self.keep == "last":
            return {evaluations - 1}
        if isinstance(self.keep, tuple):
            return set(self.keep)
        return {*range(0, evaluations, int(self.keep or 1)), evaluations - 1}


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The axes of a sweep and what all its cells share.

    A cell's key is a hash of its settings, of the fingerprint of the weights in place of the
    model's name, and of `keep`. Not in it are the device, the cells that ran beside it and the
    versions of the libraries (they change the last digits), the tokenizer, and the strength of an
    adapter that is not part of the weights.

    Attributes:
        prompts, seeds, steps, guidance: the axes, each value once.
        schedulers: the axis of schedulers, name to class and configuration.
        model: the model's name; `weights`: its fingerprint.
        negative_prompt, images, size, eta, keep: see `sweeps.sweep`.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    schedulers: dict[str, dict[str, Any]]
    guidance: tuple[Guidance, ...]
    model: str
    weights: str
    negative_prompt: str
    images: int
    size: tuple[int, int]
    eta: float
    keep: Keep

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The product of the axes: prompts outermost, then seeds, steps, schedulers, and guidance
        innermost.

        So the cells that share a first step stand together.
        """
        return tuple(
            self._cell(*values)
            for values in product(
                self.prompts, self.seeds, self.steps, self.schedulers.items(), self.guidance
            )
        )

    def __len__(self) -> int:
        """How many cells there are. None of them is made for it."""
        return math.prod(
            len(axis)
            for axis in (self.prompts, self.seeds, self.steps, self.schedulers, self.guidance)
        )

    @cached_property
    def samples(self) -> tuple[Cell, ...]:
        """A few cells that have between them every value of every setting, in the order in which
        `cells` has them.
        """
        axes: list[tuple[Any, ...]] = [
            self.prompts,
            self.seeds,
            self.steps,
            tuple(self.schedulers.items()),
            self.guidance,
        ]
        first = [axis[0] for axis in axes]
        others = [
            [*first[:place], value, *first[place + 1 :]]
            for place, axis in enumerate(axes)
            for value in axis[1:]
        ]
        return tuple(self._cell(*values) for values in (first, *others))

    def only(self, name: str, value: Any) -> Plan | None:
        """The plan of the cells in which a setting, one of `Cell.columns` or "guidance", has this
        value; `None` without any.
        """
        if name in ("prompt", "seed", "steps"):
            axis = name if name == "steps" else f"{name}s"
            found: dict[str, Any] = {
                axis: tuple(each for each in getattr(self, axis) if each == value)
            }
        elif name == "scheduler":
            found = {
                "schedulers": {
                    label: config for label, config in self.schedulers.items() if label == value
                }
            }
        else:
            fitting = [
                each
                for each in self.guidance
                if {**columns_of(each), "guidance": each}.get(name, _ABSENT) == value
            ]
            found = {"guidance": tuple(fitting)}
        return replace(self, **found) if all(found.values()) else None

    def _cell(
        self,
        prompt: str,
        seed: int,
        steps: int,
        scheduler: tuple[str, dict[str, Any]],
        guidance: Guidance,
    ) -> Cell:
        settings = Settings(
            model=self.model,
            prompt=prompt,
            negative_prompt=self.negative_prompt if guidance.needs_both_branches else "",
            guidance=guidance,
            steps=steps,
            seed=seed,
            images=self.images,
            size=self.size,
            scheduler=scheduler[1],
            eta=self.eta,
        )
        content = settings.to_json() | {
            "model": self.weights,
            "guidance": _floats(guidance.to_json()),
        }
        text = json.dumps([FORMAT, content, self.keep], sort_keys=True)
        return Cell(
            hashlib.sha256(text.encode()).hexdigest()[:32], settings, scheduler[0], self.keep
        )

    def to_json(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {"guidance": [guidance.to_json() for guidance in self.guidance]}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Plan:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
        }
        return Plan(**values | {"guidance": tuple(map(Guidance.from_json, content["guidance"]))})


def columns_of(guidance: Guidance) -> dict[str, Any]:
    """The settings of a guidance as columns, `<term>_<field>`."""
    return {
        f"{term.name}_{name}": value
        for term in guidance.terms
        for name, value in asdict(term).items()
    }


def _floats(content: Any) -> Any:
    """Numbers as floats throughout, so that the scales 3 and 3.0 are one cell."""
    if isinstance(content, dict):
        return {name: _floats(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_floats(value) for value in content]
    return float(content) if isinstance(content, int) and not isinstance(content, bool) else content
