"""The last table of a report: what the runs cost, and how to make them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sagviz.checks import format_dtype
from sagviz.html import table
from sagviz.models.unfit import network_word

if TYPE_CHECKING:
    from sagviz.models import Model
    from sagviz.records.trace import Trace


@dataclass(frozen=True)
class Summary:
    """A table of settings and costs, for people to compare and for others to repeat."""

    rows: tuple[tuple[str, str], ...]

    def _repr_html_(self) -> str:
        return table(self.rows)


def summary(traces: Sequence[Trace], model: Model) -> Summary:
    """What the runs cost and all that is needed to make them again.

    Args:
        traces: of one prompt and one noise, as `compare` gives them.
        model: what made them.
    """
    from importlib.metadata import version  # a tenth of a second, which no help waits for

    last = traces[-1].settings
    calls = sum(run.forwards for run in traces)
    predictions = sum(run.samples for run in traces)
    made_with = ("sagviz", "torch", "diffusers", "transformers")
    runs = f"{len(traces)} runs that share them"
    rows = {
        network_word(model.NETWORK): f"{calls} calls, {predictions} predictions for {runs}",
        "model": f"{model.name} on {model.device}, {format_dtype(model.dtype)}",
        "prompt": last.caption or "(none)",
        "seed": str(last.seed),
        "steps": f"{last.steps}, {last.scheduler['class']}",
        "guidance": repr(last.guidance),
        "made with": ", ".join(f"{name} {version(name)}" for name in made_with),
    }
    return Summary(tuple(rows.items()))
