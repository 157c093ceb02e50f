"""`begin`: the axes of a sweep, checked before anything runs, and laid out as its plan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from sagviz.checks import MAX_SEED, check_steps, check_whole, names_arguments, plain
from sagviz.errors import ArgumentError, warn
from sagviz.guidance import CFG, Guidance, Term, as_guidance
from sagviz.models import Model, as_model
from sagviz.models.fingerprint import fingerprint
from sagviz.sampling.checks import check_text, warn_of_prompts
from sagviz.sampling.prepare import Run, prepare
from sagviz.sweeps.fsspec_store import store_at
from sagviz.sweeps.memory_store import Memory
from sagviz.sweeps.plan import Keep, Plan
from sagviz.sweeps.results import Sweep

Value = TypeVar("Value", bound=Hashable)


@names_arguments()
def begin(
    model: Model,
    prompts: str | Iterable[str] = "",
    seeds: int | Iterable[int] = 0,
    steps: int | Iterable[int] = 50,
    guidance: Guidance | Term | Iterable[Guidance | Term | None] | None = None,
    schedulers: object = None,
    *,
    negative_prompt: str = "",
    images: int = 1,
    size: tuple[int, int] | None = None,
    eta: float = 0.0,
    clip_skip: int | None = None,
    timesteps: Sequence[int] | None = None,
    store: str | Path | None = None,
    keep: str | int | Collection[int] | None = "last",
) -> Sweep:
    """The sweep that `sweep` would make, of which nothing is made yet: `Sweep.run` makes it, and
    yields each run as it ends. The arguments are those of `sweep`.

    Raises:
        ArgumentError: a value is not allowed; it says in which axis.

    Example:
        >>> import sagviz as sv
        >>> from sagviz.sweeps import begin
        >>> begin(sv.load(), ["a fox", "an owl"], seeds=range(500))
        <Sweep of 1000 cells: 1000 pending>
    """

    def text(value: object) -> str:
        check_text(model, Guidance(), prompt=value)
        return str(value)

    def total(value: object) -> Guidance:
        found = as_guidance(value)
        check_text(model, found)
        return found

    model = as_model(model)
    counts, kept = _axis("steps", steps, check_steps), _keep(keep)
    if timesteps is not None and len(counts) > 1:
        raise ArgumentError(
            f"steps has {len(counts)} values, and timesteps are given, which take the place of a"
            " number of steps; give one of the two"
        )
    kinds = dict[str, dict[str, Any]]()
    sums = _axis("guidance", guidance, total)
    found = fingerprint(model, sums)
    prepared = partial(
        prepare,
        model,
        negative_prompt=negative_prompt,
        guidance=CFG(1.0) if model.reads_text else None,
        images=images,
        size=size,
        eta=eta,
        clip_skip=clip_skip,
        timesteps=timesteps,
        warns=False,
        known=found,
    )
    for chosen in _values("schedulers", schedulers):
        for count in counts:  # a scheduler may refuse a number of steps
            run = prepared(steps=count, scheduler=chosen)
            _check_kept(kept, run)
        if run.settings.scheduler not in kinds.values():
            kinds[_label(chosen, run.scheduler, kinds)] = run.settings.scheduler
    texts, firsts = _axis("prompts", prompts, text), _axis("seeds", seeds, _seed)
    apart = run.settings.images
    if any(second - first < apart for first, second in pairwise(sorted(firsts))):
        warn(
            f"seeds lie less than images={apart} apart, and image i has the seed of its cell + i:"
            f" some pictures are there twice; give such as seeds=range(0, {3 * apart}, {apart})"
        )
    warn_of_prompts(model, *texts, negative_prompt)
    plan = Plan(
        prompts=texts,
        seeds=firsts,
        steps=counts if timesteps is None else (run.settings.steps,),
        schedulers=kinds,
        guidance=sums,
        model=model.noted_name,
        fingerprint=found,
        negative_prompt=run.settings.negative_prompt,
        images=run.settings.images,
        size=run.settings.size,
        eta=run.settings.eta,
        clip_skip=run.settings.clip_skip,
        timesteps=run.settings.timesteps,
        keep=kept,
    )
    return Sweep(plan, Memory() if store is None else store_at(store))


def _values(name: str, given: object) -> list[Any]:
    """One value or many, as a list that is not empty."""
    one = isinstance(given, str | dict) or hasattr(given, "set_timesteps")
    one = one or getattr(given, "shape", None) == ()  # a number of NumPy or torch
    values = list(given) if isinstance(given, Iterable) and not one else [given]
    if not values:
        raise ArgumentError(f"the axis {name} is empty; give one value, or a list of one or more")
    return values


def _axis(name: str, given: object, check: Callable[[Any], Value]) -> tuple[Value, ...]:
    """The checked values, each once."""
    try:
        return tuple(dict.fromkeys(check(value) for value in _values(name, given)))
    except ArgumentError as error:
        raise ArgumentError(f"in the axis {name}: {error}") from error


def _seed(value: int) -> int:
    return check_whole("a seed", value, 0, MAX_SEED)


def _keep(keep: object) -> Keep:
    if keep is None or (isinstance(keep, str) and keep == "last"):
        return keep
    every = plain(keep)
    if isinstance(every, int) and not isinstance(every, bool) and every >= 1:
        return every
    listed = isinstance(every, Collection) and not isinstance(every, str)
    many = [plain(index) for index in every] if listed else [-1]
    if all(isinstance(index, int) and index >= 0 for index in many):
        return tuple(sorted(set(many)))
    raise ArgumentError(
        f"keep is {keep!r}; give 'last', None for all steps, k for every k-th and the last, or a"
        " list of indices"
    )


def _check_kept(keep: Keep, run: Run) -> None:
    if isinstance(keep, tuple) and keep and keep[-1] >= run.evaluations:
        raise ArgumentError(
            f"keep names step {keep[-1]}; the cells of {run.settings.steps} steps have 0 to"
            f" {run.evaluations - 1}"
        )


def _label(chosen: object, scheduler: object, taken: Collection[str]) -> str:
    """The name that was given, or that of the class; numbered where it is taken by another
    configuration.
    """
    kind = type(scheduler).__name__.removesuffix("Scheduler")
    name = chosen.lower() if isinstance(chosen, str) else kind
    return name if name not in taken else f"{name} {len(taken) + 1}"
