"""The Python that makes a step's picture again, from nothing but the package: for notebooks,
reports and mails.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

from sagviz.checks import format_dtype
from sagviz.guidance import CG, SAG, Guidance, Schedule, Term
from sagviz.guidance.scaled import runnable
from sagviz.mini import NAME
from sagviz.models import Model
from sagviz.models.schedulers import scheduler_name
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace

WIDTH = 100  # columns of the code that is written
FILE = "run.sagtrace"
OF_FILES = ("config", "variant", "revision")  # of `load`: which files of a model
Masks = Sequence[Tensor | EllipsisType | None]


def code(model: Model, trace: Trace, step: Step, *, image: int = 0) -> str:
    """Python whose `picture` and `decoded` are those of `step`, bit for bit on the same machine; a
    notebook shows the latter.

    Args:
        model: what made the trace.
        trace: the run; where it was given noise or other tensors, the code loads it from a file,
            because no setting holds them.
        step: one of its own steps, or what `what_if` made of one.
        image: which image of the batch.
    """
    masks = [*_masks(trace), _new_mask(_own(trace, step), step)]
    lines = [
        *_head(model, _used(trace, step), masks, "image"),
        *_run(model, trace),
        *_step(trace, step),
    ]
    rows = f"step.x0_guided[{image}:{image + 1}]"
    # an interrupted run has none of its own
    colours = "trace" if trace.latent_rgb is not None else "model"
    lines += [
        f"picture = image.preview({rows}, {colours}.latent_rgb)[0]",
        f"decoded = model.decode({rows})[0]",
        "decoded",  # a notebook shows what its cell ends in
    ]
    return "\n".join(lines)


def code_of_run(model: Model, trace: Trace) -> str:
    """Python whose `trace` is this run, bit for bit on the same machine, or, where it was made
    together with others, but for rounding; a notebook shows its picture.

    Args:
        model: what made the trace.
        trace: the run; where it was given tensors, the code loads it from a file.
    """
    used = [settings.guidance for settings in trace.settings.ancestry]
    lines = [*_head(model, used, _masks(trace)), *_run(model, trace), "trace.image"]
    return "\n".join(lines)


def _head(model: Model, used: list[Guidance], masks: Masks, *names: str) -> list[str]:
    """What stands first: the imports and the model.

    Args:
        used: every guidance that there is.
        masks: every mask, or `None` and `...` in the places of those that are none.
        names: what the code needs from the package beside `sv` and the terms.
    """
    torch_too = ["import torch"] if any(isinstance(mask, Tensor) for mask in masks) else []
    lines = ["import sagviz as sv", *_imports(used, names), *torch_too]
    own = model.own_guidance
    given = [] if own is None else [f"model.embedded_guidance = {own!r}"]
    return [*lines, "", f"model = {_load(model)}", *given, *_classifier(model, used)]


def _imports(used: list[Guidance], names: Sequence[str]) -> list[str]:
    """What the code needs from the package beside `sv`, and the classes of terms of one's own."""
    terms = [term for guidance in used for term in guidance.terms]
    kinds = {type(term) for term in terms}
    ours = {kind.__name__ for kind in kinds if kind.__module__.startswith("sagviz.")}
    own = sorted((kind for kind in kinds if kind.__name__ not in ours), key=lambda k: k.__name__)
    more = ["schedule"] * any(isinstance(term.scale, Schedule) for term in terms)
    listed = ", ".join([*sorted(ours), *names, *more])
    return [*([f"from sagviz import {listed}"] if listed else []), *map(_import, own)]


def _import(kind: type[Term]) -> str:
    if kind.__module__ == "__main__":
        return f"# {kind.__name__}: define this guidance term first, it is your own"
    return f"from {kind.__module__} import {kind.__name__}"


def _used(trace: Trace, step: Step) -> list[Guidance]:
    """Every guidance that the step comes of."""
    return [step.guidance, *(settings.guidance for settings in trace.settings.ancestry)]


def _classifier(model: Model, used: list[Guidance]) -> list[str]:
    """CG's classifier, which only the miniature brings along."""
    needed = any(guidance.get(CG) is not None for guidance in used)
    own = needed and model.name != NAME
    return ["model.classifier = classifier  # yours"] if own else []


def _load(model: Model) -> str:
    """The call of `load`; a pipeline that a notebook made itself is called `pipe`."""
    given: dict[str, Any] = {"device": str(model.device), "dtype": format_dtype(model.dtype)}
    if model.name == NAME and given == {"device": "cpu", "dtype": "float32"}:
        return "sv.load()"
    if model.name != NAME and "/" not in model.name and not os.path.exists(model.name):
        return f"sv.load(pipe)  # your {model.name}"
    if model.origin is not None:
        given |= {name: value for name in OF_FILES if (value := getattr(model.origin, name))}
    named = (f"{name}={value!r}" for name, value in given.items())
    return f"sv.load({', '.join([repr(model.name), *named])})"


def _run(model: Model, trace: Trace) -> list[str]:
    """How the trace came about: the first run, and the branches that its steps went through."""
    root, *branches = trace.settings.ancestry
    if root.inputs:
        return [
            f"trace = sv.Trace.load({FILE!r})  # was given {', '.join(root.inputs)}: write it once"
            f" with trace.save({FILE!r})"
        ]
    lines = [_call("trace = sv.trace", ["model", repr(root.prompt), *_options(model, root)])]
    for settings, mask in zip(branches, _masks(trace), strict=True):
        given = [str(settings.branched_at), f"guidance={settings.guidance!r}"]
        if isinstance(mask, Tensor):
            lines += _mask_lines(mask)
            given.append("mask=mask")
        elif mask is None:
            given.append("mask=None")
        lines.append(_call("trace = sv.branch", ["model", "trace", *given]))
    return lines


def _masks(trace: Trace) -> Masks:
    """The hand-made mask of each branch that left its mark: `None` where it gave one up, `...`
    where it has nothing to say, as without SAG.
    """
    at, said = {step.index: step.hand_mask for step in trace}, list[Tensor | EllipsisType | None]()
    for settings in trace.settings.ancestry[1:]:
        mask = at.get(settings.branched_at or 0)
        known = mask is not None or any(isinstance(each, Tensor) for each in said)
        said.append(mask if known and settings.guidance.get(SAG) else ...)
    return said


def _options(model: Model, settings: Settings) -> list[str]:
    """The keywords of `trace` that differ from their defaults, seed, steps and guidance always."""
    count = [f"steps={settings.steps}"] if settings.timesteps is None else []
    given = [f"guidance={settings.guidance!r}", *count, f"seed={settings.seed}"]
    plain: dict[str, Any] = {
        "negative_prompt": "",
        "images": 1,
        "size": model.default_size,
        "eta": 0.0,
        "clip_skip": None,
        "timesteps": None,
    }
    given += [
        f"{name}={getattr(settings, name)!r}"
        for name, usual in plain.items()
        if getattr(settings, name) != usual
    ]
    return given + _scheduler(model, settings.scheduler)


def _scheduler(model: Model, wanted: dict[str, Any]) -> list[str]:
    """The scheduler by name where it has one; nothing where it is the model's own."""
    name = scheduler_name(model, wanted)
    if name == "":
        return []
    return [f"scheduler={runnable(repr(name or wanted))}"]


def _step(trace: Trace, step: Step) -> list[str]:
    place = f"# step {step.number} of {trace.evaluations}; indices count from 0"
    own = _own(trace, step)
    mask = _new_mask(own, step)
    removed = own is not None and own.hand_mask is not None and step.hand_mask is None
    loaded = bool(trace.settings.ancestry[0].inputs)  # with the steps that were kept alone
    at = [other.index for other in trace].index(step.index) if loaded else step.index
    if own is not None and own.guidance == step.guidance and mask is None and not removed:
        return [place, f"step = trace[{at}]"]
    given = ["mask=mask"] if mask is not None else ["mask=None"] if removed else []
    arguments = ["model", "trace", str(at), f"guidance={step.guidance!r}", *given]
    return [*_mask_lines(mask), place, _call("step = sv.what_if", arguments)]


def _own(trace: Trace, step: Step) -> Step | None:
    """The trace's own step in that place, where it was kept."""
    return next((other for other in trace if other.index == step.index), None)


def _new_mask(own: Step | None, step: Step) -> Tensor | None:
    """The step's hand-made mask, where it is not the trace's own."""
    known, mask = None if own is None else own.hand_mask, step.hand_mask
    same = known is not None and mask is not None and torch.equal(known, mask)
    return None if same else mask


def _mask_lines(mask: Tensor | None) -> list[str]:
    """A mask as hexadecimal rows: 16 cells are four letters."""
    if mask is None:
        return []
    if bool((mask == mask[:1]).all()):
        mask = mask[:1]
    images, _, height, width = mask.shape
    rows = [
        f"{int(''.join(str(int(cell)) for cell in row), 2):x}"
        for row in mask.reshape(-1, width).tolist()
    ]
    words = "".join(f'\n    "{line} "' for line in textwrap.wrap(" ".join(rows), WIDTH - 10))
    shape = f".reshape({images}, 1, {height}, {width})" if images > 1 else ""
    bits = f'[[int(bit) for bit in f"{{int(row, 16):0{width}b}}"] for row in rows]'
    return [f"rows = ({words}\n).split()", f"mask = torch.tensor({bits}){shape}"]


def _call(name: str, arguments: list[str]) -> str:
    """One line, or one argument a line where that would be too long."""
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        return line
    rows = [", ".join(arguments[:2]), *arguments[2:]]
    return "\n".join([f"{name}(", *(f"    {row}," for row in rows), ")"])
