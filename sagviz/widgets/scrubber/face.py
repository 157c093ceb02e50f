"""Runs in pictures and words, as the Scrubber shows them where no script runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from sagviz import describe
from sagviz.guidance import Guidance
from sagviz.player.planes import colours, shares
from sagviz.plot.panels import step_panel
from sagviz.records.trace import Trace

SMALL = 120  # pixels of a picture
AS_IT_RAN: Mapping[str, float] = {}


def coloured(traces: Sequence[Trace]) -> list[Trace]:
    """The traces, each with colours for its latents; an interrupted run has none of its own."""
    return [replace(trace, latent_rgb=colours(trace, traces)) for trace in traces]


def in_step(
    trace: Trace, at: float, panes: Sequence[str], scales: Mapping[str, float] = AS_IT_RAN
) -> str:
    """A step of a run in words and pictures.

    Args:
        at: how far along the kept steps, from 0 to 1.
        panes: names of the pictures.
        scales: of terms by name, as sliders have them, where they are others than the run's own.
    """
    own = trace[round(at * (len(trace) - 1))]
    parts = shares(own, trace.acting)
    slid = {name: scales[name] * part for name, part in parts.items() if name in scales}
    terms = [replace(term, scale=slid.get(term.name, term.scale)) for term in own.guidance.terms]
    step = replace(own, guidance=Guidance(tuple(terms)))
    panels = step_panel(trace, step)
    chosen = tuple(panel for panel in panels.panels if panel.name in panes)
    name = describe.of_guidance(trace.settings.guidance)
    if step.guidance != own.guidance:
        name += f", this step as if {describe.of_guidance(step.guidance)}"
    told = describe.of_step(step, trace.evaluations, trace.settings.strength)
    words = f"<b>{escape(name)}.</b> {escape(told)}"
    return f"<p>{words}</p>{replace(panels, panels=chosen, width=SMALL)._repr_html_()}"
