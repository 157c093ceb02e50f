"""The axes of a sweep, checked before anything runs: `lay_out` makes a plan of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, TypeVar

import numpy as np
import torch

from sagviz.checks import check_steps, check_whole
from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, Guidance, as_guidance
from sagviz.models import Model
from sagviz.models.offload import weights
from sagviz.sampling.prepare import check_text, prepare, warn_of_prompts
from sagviz.sweeps.plan import Keep, Plan

Value = TypeVar("Value", bound=Hashable)
PROBES = 16  # numbers of each weight tensor that the fingerprint looks at


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
    told = CFG(1.0) if model.reads_text else None
    for chosen in _values("schedulers", schedulers):
        for count in counts:  # a scheduler may refuse a number of steps
            run = prepare(
                model,
                negative_prompt=negative_prompt,
                guidance=told,
                steps=count,
                images=images,
                size=size,
                scheduler=chosen,
                eta=eta,
                warns=False,
            )
            _check_kept(kept, run.evaluations, count)
        if run.settings.scheduler not in kinds.values():
            kinds[_label(chosen, run.scheduler, kinds)] = run.settings.scheduler
    settings, texts = (
        run.settings,
        _axis("prompts", prompts, lambda value: _told(model, _text(value))),
    )
    sums = _axis("guidance", guidance, lambda value: _told(model, as_guidance(value)))
    warn_of_prompts(model, *texts, negative_prompt)
    return Plan(
        prompts=texts,
        seeds=_axis(
            "seeds", seeds, _checked(lambda value: check_whole("a seed", value, 0, 2**63 - 4097))
        ),
        steps=counts,
        schedulers=kinds,
        guidance=sums,
        model=model.name,
        weights=fingerprint(model, sums),
        **{name: getattr(settings, name) for name in ("negative_prompt", "images", "size", "eta")},
        keep=kept,
    )


def fingerprint(model: Model, guidance: Iterable[Guidance] = ()) -> str:
    """Hash of the networks' shapes and of a few numbers out of every weight: fine-tunes differ, and
    so do number formats.

    The classifier is one of them where some guidance has CG.
    """
    digest = hashlib.sha256()
    networks = list(model.networks.values())
    if any(each.get("cg") is not None for each in guidance) and isinstance(
        model.classifier, torch.nn.Module
    ):
        networks.append(model.classifier)
    for network in networks:
        state = weights(network)
        digest.update(
            json.dumps(
                [[name, list(value.shape), str(value.dtype)] for name, value in state.items()]
            ).encode()
        )
        probes = [
            value.flatten()[:: max(1, value.numel() // PROBES)][:PROBES]
            for value in state.values()
            if not value.is_meta
        ]
        # One copy from the device, in float32, which holds float16 and bfloat16 exactly.
        digest.update(torch.cat([probe.float() for probe in probes]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _values(name: str, given: object) -> list[Any]:
    """One value or many, as a list that is not empty."""
    many = (
        isinstance(given, Iterable)
        and not isinstance(given, str | dict)
        and not hasattr(given, "set_timesteps")
    )
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


def _told(model: Model, value: Value) -> Value:
    """A prompt or a guidance that the model can be told."""
    is_sum = isinstance(value, Guidance)
    check_text(model, value if is_sum else Guidance(), prompt="" if is_sum else value)
    return value


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
    if (
        isinstance(keep, Collection)
        and not isinstance(keep, str)
        and all(isinstance(i, whole) and i >= 0 for i in keep)
    ):
        return tuple(sorted({int(index) for index in keep}))
    raise ArgumentError(
        f"keep is {keep!r}; give 'last', None for all steps, k for every k-th and the last, or a"
        " list of indices"
    )


def _check_kept(keep: Keep, evaluations: int, steps: int) -> None:
    if isinstance(keep, tuple) and keep and keep[-1] >= evaluations:
        raise ArgumentError(
            f"keep names step {keep[-1]}; the cells of {steps} steps have 0 to {evaluations - 1}"
        )


def _label(chosen: object, planner: Any, taken: Collection[str]) -> str:
    """The name that was given, or that of the class; numbered where it is taken by another
    configuration.
    """
    name = (
        chosen.lower()
        if isinstance(chosen, str)
        else type(planner).__name__.removesuffix("Scheduler")
    )
    return name if name not in taken else f"{name} {len(taken) + 1}"
