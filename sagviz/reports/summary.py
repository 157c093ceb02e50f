"""The last table of a report: what the runs cost, and how to make them again."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from sagviz.checks import format_dtype
from sagviz.html import table

if TYPE_CHECKING:
    from sagviz.models import Model
    from sagviz.records.trace import Trace
    from sagviz.reports.parameters import Parameters

RAN = "sagviz"  # in an output's metadata


@dataclass(frozen=True)
class Summary:
    """A table of settings and costs, for people to compare and for others to repeat. The notebook
    keeps beside it what ran, for `what_ran`.
    """

    rows: tuple[tuple[str, str], ...]
    ran: Mapping[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return table(self.rows)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, Any]]:
        return {}, {RAN: dict(self.ran)}


def what_ran(notebook: Mapping[str, Any]) -> Mapping[str, str]:
    """The `prompt` and the `guidance` of the runs of an executed notebook, which only they know: a
    model that reads no text has neither the prompt nor the CFG that reports have by default.
    Nothing of a notebook that has no such summary.
    """
    outputs = (each for cell in notebook["cells"] for each in cell.get("outputs", []))
    found = (each.get("metadata", {}).get(RAN) for each in outputs)
    return dict(next(filter(None, found), {}))


def summary(traces: Sequence[Trace], model: Model, parameters: Parameters) -> Summary:
    """What the runs cost and all that is needed to make them again.

    Args:
        traces: of one prompt and one noise, as `compare` gives them.
        model: what made them.
        parameters: of the report.
    """
    # no help waits for these
    from importlib.metadata import version

    from sagviz import describe
    from sagviz.models.unfit import network_word

    last = traces[-1].settings
    calls = sum(run.forwards for run in traces)
    predictions = sum(run.samples for run in traces)
    made_with = ("sagviz", "torch", "diffusers", "transformers")
    runs = f"{len(traces)} runs that share them"
    rows = {
        network_word(model.NETWORK): f"{calls} calls, {predictions} predictions for {runs}",
        "model": f"{model.name} on {model.device}, {format_dtype(model.dtype)}",
        "prompt": last.caption or "(none)",
        "negative prompt": last.negative_prompt,
        "seed": str(last.seed),
        "steps": f"{last.steps}, {last.scheduler['class']}",
        "guidance": repr(last.guidance),
        "command": command(replace(parameters, prompt=last.prompt)),
        "made with": ", ".join(f"{name} {version(name)}" for name in made_with),
    }
    ran = {"prompt": last.caption, "guidance": describe.of_guidance(last.guidance)}
    return Summary(tuple((name, words) for name, words in rows.items() if words), ran)


def command(parameters: Parameters) -> str:
    """The Python that makes a report again: what differs from the defaults, and always its prompt
    and seed.

    Example:
        >>> from sagviz.reports import Parameters
        >>> from sagviz.reports.summary import command
        >>> command(Parameters(prompt="an owl", steps=20))
        "sv.report('report.html', prompt='an owl', seed=7, steps=20)"
    """
    usual = type(parameters)()
    changed = {each.name for each in fields(parameters)} - {"prompt", "seed", "terms"}
    changed = {name for name in changed if getattr(parameters, name) != getattr(usual, name)}
    given = {name: getattr(parameters, name) for name in ("prompt", "seed", *sorted(changed))}
    if parameters.terms:
        given["terms"] = parameters.others
    arguments = "".join(f", {name}={_code(value)}" for name, value in given.items())
    return f"sv.report('report.html'{arguments})"


def _code(value: object) -> str:
    """What makes the value, with `sv` alone imported."""
    if isinstance(value, float) and math.isinf(value):
        return f"float('{value}')"
    if isinstance(value, str):
        return repr(value)
    return re.sub(r"\b([A-Z]\w*|schedule)\(", r"sv.guidance.\1(", repr(value))
