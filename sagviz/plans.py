"""What a sweep is to make: `Plan`, the checked product of its axes, and `Cell`, one run, named by all that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

import numpy as np
import torch

from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, Guidance, as_guidance
from sagviz.models import Model
from sagviz.records import Settings
from sagviz.runs import check_steps, check_whole, prepare

Value = TypeVar("Value", bound=Hashable)
Keep = str | int | tuple[int, ...] | None
FORMAT = "sagviz-cell-1"  # another format is another cell
PROBES = 16  # numbers of each weight tensor that the fingerprint looks at


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
        """The settings as columns of a table: `prompt`, `seed`, `steps`, `scheduler`, and `<term>_<field>` of the guidance."""
        run = {name: getattr(self.settings, name) for name in ("prompt", "seed", "steps")}
        terms = {f"{term.name}_{name}": value for term in self.settings.guidance.terms for name, value in asdict(term).items()}
        return {**run, "scheduler": self.scheduler, **terms}

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

    A cell's key is a hash of its settings, of the fingerprint of the weights in place of the model's name, and of `keep`. Not
    in it are the device, the cells that ran beside it and the versions of the libraries (they change the last digits), the
    tokenizer, and the strength of an adapter that is not part of the weights.

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
        """The product of the axes: prompts outermost, then seeds, steps, schedulers, and guidance innermost.

        So the cells that share a first step stand together.
        """
        return tuple(
            self._cell(*values)
            for values in product(self.prompts, self.seeds, self.steps, self.schedulers.items(), self.guidance)
        )

    def _cell(self, prompt: str, seed: int, steps: int, scheduler: tuple[str, dict[str, Any]], guidance: Guidance) -> Cell:
        settings = Settings(
            model=self.model, prompt=prompt, negative_prompt=self.negative_prompt if guidance.cfg else "", guidance=guidance,
            steps=steps, seed=seed, images=self.images, size=self.size, scheduler=scheduler[1], eta=self.eta,
        )  # fmt: skip
        content = settings.to_json() | {"model": self.weights, "guidance": _floats(guidance.to_json())}
        text = json.dumps([FORMAT, content, self.keep], sort_keys=True)
        return Cell(hashlib.sha256(text.encode()).hexdigest()[:32], settings, scheduler[0], self.keep)

    def to_json(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {"guidance": [guidance.to_json() for guidance in self.guidance]}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Plan:
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        return Plan(**values | {"guidance": tuple(map(Guidance.from_json, content["guidance"]))})


def lay_out(
    model: Model,
    *,
    prompts: object,
    seeds: object,
    steps: object,
    guidance: object,
    schedulers: object,
    negative_prompt: str = "",
    images: int = 1,
    size: tuple[int, int] | None = None,
    eta: float = 0.0,
    keep: str | int | Collection[int] | None = "last",
) -> Plan:
    """The plan of a sweep, from axes of one value or many. Nothing runs.

    Raises:
        ArgumentError: a value is not allowed; it says in which axis.
    """
    counts = _axis("steps", steps, _checked(check_steps))
    kinds: dict[str, dict[str, Any]] = {}
    kept = _keep(keep)
    for chosen in _values("schedulers", schedulers):
        for count in counts:  # a scheduler may refuse a number of steps
            run = prepare(
                model, negative_prompt=negative_prompt, guidance=CFG(1.0), steps=count, images=images, size=size,
                scheduler=chosen, eta=eta,
            )  # fmt: skip
            _check_kept(kept, run.evaluations, count)
        if run.settings.scheduler not in kinds.values():
            kinds[_label(chosen, run.scheduler, kinds)] = run.settings.scheduler
    settings = run.settings
    return Plan(
        prompts=_axis("prompts", prompts, _text),
        seeds=_axis("seeds", seeds, _checked(lambda value: check_whole("a seed", value, 0, 2**63 - 4097))),
        steps=counts,
        schedulers=kinds,
        guidance=_axis("guidance", guidance, as_guidance),
        model=model.name,
        weights=fingerprint(model),
        **{name: getattr(settings, name) for name in ("negative_prompt", "images", "size", "eta")},
        keep=kept,
    )


def fingerprint(model: Model) -> str:
    """Hash of the networks' shapes and of a few numbers out of every weight: fine-tunes differ, and so do number formats."""
    digest = hashlib.sha256()
    for network in (model.unet, model.vae, model.text_encoder):
        weights = network.state_dict()
        digest.update(json.dumps([[name, list(value.shape), str(value.dtype)] for name, value in weights.items()]).encode())
        probes = [value.flatten()[:: max(1, value.numel() // PROBES)][:PROBES] for value in weights.values() if not value.is_meta]
        # One copy from the device, in float32, which holds float16 and bfloat16 exactly.
        digest.update(torch.cat([probe.float() for probe in probes]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _values(name: str, given: object) -> list[Any]:
    """One value or many, as a list that is not empty."""
    many = isinstance(given, Iterable) and not isinstance(given, str | dict) and not hasattr(given, "set_timesteps")
    values = list(given) if many else [given]  # type: ignore[call-overload]
    if not values:
        raise ArgumentError(f"the axis {name} is empty; give one value, or a list of one or more")
    return values


def _axis(name: str, given: object, check: Callable[[Any], Value]) -> tuple[Value, ...]:
    """The checked values, each once."""
    try:
        return tuple(dict.fromkeys(check(value) for value in _values(name, given)))
    except ArgumentError as error:
        raise ArgumentError(f"in the axis {name}: {error}") from error


def _checked(check: Callable[[object], None]) -> Callable[[Any], int]:
    def whole(value: Any) -> int:
        check(value)
        return int(value)  # NumPy's whole numbers cannot be written into a file of settings

    return whole


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"a prompt is {value!r}; give a text, '' for none")
    return value


def _keep(keep: object) -> Keep:
    if keep is None or keep == "last":
        return keep
    whole = int | np.integer
    if isinstance(keep, whole) and not isinstance(keep, bool) and keep >= 1:
        return int(keep)
    if isinstance(keep, Collection) and not isinstance(keep, str) and all(isinstance(i, whole) and i >= 0 for i in keep):
        return tuple(sorted({int(index) for index in keep}))
    raise ArgumentError(f"keep is {keep!r}; give 'last', None for all steps, k for every k-th and the last, or a list of indices")


def _check_kept(keep: Keep, evaluations: int, steps: int) -> None:
    if isinstance(keep, tuple) and keep and keep[-1] >= evaluations:
        raise ArgumentError(f"keep names step {keep[-1]}; the cells of {steps} steps have 0 to {evaluations - 1}")


def _label(chosen: object, planner: Any, taken: Collection[str]) -> str:
    """The name that was given, or that of the class; numbered where it is taken by another configuration."""
    name = chosen.lower() if isinstance(chosen, str) else type(planner).__name__.removesuffix("Scheduler")
    return name if name not in taken else f"{name} {len(taken) + 1}"


def _floats(content: Any) -> Any:
    """Numbers as floats throughout, so that the scales 3 and 3.0 are one cell."""
    if isinstance(content, dict):
        return {name: _floats(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_floats(value) for value in content]
    return float(content) if isinstance(content, int) and not isinstance(content, bool) else content
