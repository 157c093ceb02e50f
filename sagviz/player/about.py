"""Which runs the player shows: the title above them, and the settings of each."""

from __future__ import annotations

from collections.abc import Sequence

from sagviz import describe
from sagviz.records.trace import Trace


def title(traces: Sequence[Trace]) -> str:
    """Prompts and seeds of runs of one image each; what several share is said once."""
    return "; ".join(dict.fromkeys(map(_begun, traces)))


def _begun(trace: Trace) -> str:
    return f"{describe.quoted(trace.settings.caption)}, seed {trace.settings.seed}"


def settings_table(trace: Trace) -> list[tuple[str, str]]:
    """Names and values of what a run depends on, and what it cost."""
    s = trace.settings
    rows = {
        "prompt": s.caption or "(none)",
        "negative prompt": s.negative_prompt,
        "seed": str(s.seed),
        "steps": f"{s.steps}, {s.scheduler['class']}",
        "guidance": "; ".join(describe.by_stretch(s, repr)),
        "given": s.extras,
        "model": s.model,
        "size": f"{s.size[1]} × {s.size[0]} pixels",
        "network calls": f"{_calls(trace)}{_share(trace)}",
    }
    return [(name, value) for name, value in rows.items() if value]


def _calls(trace: Trace) -> str:
    """What the kept steps cost; of steps that shared calls with another run, which counts them,
    what they would cost alone.
    """
    calls = sum(1 + any(term.second_pass for term in step.guidance.terms) for step in trace)
    outputs = [name for step in trace for name in step.tensors if "out_" in name]
    predictions = len(outputs) * trace.settings.images
    if trace.forwards >= calls and trace.samples >= predictions:
        return f"{trace.forwards}, {trace.samples} predictions"
    return f"{calls}, {predictions} predictions, some of them shared with another run"


def _share(trace: Trace) -> str:
    """Of which steps that is, where `keep` left some out: what those cost, nothing has recorded."""
    made = trace.evaluations if trace.pictures else trace[-1].number
    return f"; of the kept steps alone, {len(trace)} of {made}" if len(trace) < made else ""
