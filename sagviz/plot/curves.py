"""How strong guidance is over a run, and where its terms point."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sagviz import measure
from sagviz.errors import TraceError
from sagviz.guidance import title_of
from sagviz.plot.display import Drawing
from sagviz.records.trace import Trace

# CFG's and SAG's are of Okabe & Ito's palette, made for colour-blind readers; a test sees to it
# that these can tell all terms apart. Each term keeps its colour in all figures.
COLOURS = {
    "cfg": "#0072B2",
    "sag": "#D55E00",
    "pag": "#CC99CC",
    "seg": "#FF9900",
    "cg": "#336633",
    "apg": "#0099FF",
    "rescale": "#000000",
    "cosine": "#009E73",
    "coverage": "#555555",
}


def guidance_curves(trace: Trace) -> Drawing:
    """Length of each scaled term, the cosine between the terms, and the mask's share of the latent,
    over the steps.
    """
    if not len(trace):
        raise TraceError("this trace holds no step to measure; run at least one")
    rows = [measure.of_step(step) for step in trace]
    terms = [term.name for term in trace.settings.guidance.terms]
    figures, words = [], []
    if terms:
        axes = chart("scaled term, relative to ε(x_t)")
        for name in terms:
            _line(axes, trace, rows, name, title_of(name))
        axes.legend(frameon=False, fontsize=11)
        figures.append(axes.figure)
        words.append(_range("length", rows, terms[-1]))
    if {"cfg", "sag"} <= set(terms):
        axes = chart("cosine between CFG and SAG")
        axes.axhline(0, color="#bbbbbb", linewidth=1)
        axes.set_ylim(-1, 1)
        _line(axes, trace, rows, "cosine")
        figures.append(axes.figure)
        words.append(_range("cosine", rows, "cosine"))
    if "sag" in terms:
        axes = chart("latent covered by the mask")
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        _line(axes, trace, rows, "coverage")
        figures.append(axes.figure)
        words.append(_range("mask coverage", rows, "coverage"))
    return Drawing(
        [figure for figure in figures if isinstance(figure, Figure)],
        "Curves over the steps: " + "; ".join(words),
    )


def chart(title: str, xlabel: str = "step", width: float = 3.4) -> Axes:
    """Plain axes on a figure of their own, `width` inches wide."""
    axes = Figure(figsize=(width, 2.6), layout="constrained").subplots()
    axes.set_title(title, fontsize=12, loc="left")
    axes.set_xlabel(xlabel, fontsize=11)
    axes.tick_params(labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _line(
    axes: Axes, trace: Trace, rows: list[dict[str, float]], name: str, label: str | None = None
) -> None:
    values = [row.get(name, float("nan")) for row in rows]
    axes.plot([step.index for step in trace], values, color=COLOURS[name], linewidth=2, label=label)


def _range(what: str, rows: list[dict[str, float]], name: str) -> str:
    values = [row[name] for row in rows if name in row and row[name] == row[name]]
    return (
        f"{what} ({name}) from {min(values):.2f} to {max(values):.2f}"
        if values
        else f"{what}: none"
    )
