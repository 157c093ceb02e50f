"""How strong guidance is over a run, and where its terms point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sagviz import measure
from sagviz.errors import TraceError
from sagviz.guidance import colour_of, title_of
from sagviz.plot.display import Drawing
from sagviz.records.about_runs import about_runs
from sagviz.records.trace import Trace

COSINE, COVERAGE = "#009E73", "#555555"  # colours of the measures that are no term


@about_runs
def guidance_curves(trace: Trace) -> Drawing:
    """Length of each scaled term, their scales where one is a curve, the cosine between the terms,
    and the mask's share of the latent, over the steps.

    Args:
        trace: a run with at least one step.

    Raises:
        TraceError: it has none.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=2, guidance=sv.CFG(3.0), progress=False)
        >>> drawing = sv.plot.guidance_curves(trace)
        >>> [line.get_label() for line in drawing.figures[0].axes[0].lines]
        ['CFG']
    """
    if not len(trace):
        raise TraceError("this trace holds no step to measure; run at least one")
    rows = [measure.of_step(step) for step in trace]
    numbers = [step.number for step in trace]
    terms = trace.acting
    charts, words = [], []
    if terms:
        charts.append(_lengths(numbers, rows, terms))
        words.append(_range("length", rows, [*terms][-1]))
    scales = {(term.name, term.factor) for step in trace for term in step.guidance.terms}
    if len(scales) > len(dict(scales)):
        charts.append(_scales(numbers, trace, terms))
        words.append("scales " + ", ".join(f"{t.title} {t.scale:g}" for t in terms.values()))
    if {"cfg", "sag"} <= terms.keys():
        charts.append(_cosine(numbers, rows))
        words.append(_range("cosine", rows, "cosine"))
    if "sag" in terms:
        charts.append(_coverage(numbers, rows))
        words.append(_range("mask coverage", rows, "coverage"))
    figures = [cast(Figure, axes.figure) for axes in charts]
    return Drawing(figures, "Curves over the steps: " + "; ".join(words))


def chart(title: str, xlabel: str = "step", width: float = 3.4) -> Axes:
    """Plain axes on a figure of their own, `width` inches wide."""
    axes = Figure(figsize=(width, 2.6), layout="constrained").subplots()
    axes.set_title(title, fontsize=12, loc="left")
    axes.set_xlabel(xlabel, fontsize=11)
    axes.tick_params(labelsize=10)
    if xlabel == "step":
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    return axes


Rows = Sequence[dict[str, float]]  # the measures of each step


def _lengths(numbers: list[int], rows: Rows, terms: Iterable[str]) -> Axes:
    axes = chart("scaled term, relative to ε(xₜ)")
    for name in terms:
        axes.plot(
            numbers, _values(rows, name), color=colour_of(name), linewidth=2, label=title_of(name)
        )
    axes.legend(frameon=False, fontsize=11)
    return axes


def _scales(numbers: list[int], trace: Trace, terms: Iterable[str]) -> Axes:
    """The scales themselves, where one changes over the run."""
    axes = chart("scale")
    for name in terms:
        acting = [step.guidance.get(name) for step in trace]
        values = [float("nan") if term is None else term.factor for term in acting]
        axes.plot(numbers, values, color=colour_of(name), linewidth=2, label=title_of(name))
    axes.legend(frameon=False, fontsize=11)
    return axes


def _cosine(numbers: list[int], rows: Rows) -> Axes:
    axes = chart("cosine between CFG and SAG")
    axes.axhline(0, color="#bbbbbb", linewidth=1)
    axes.set_ylim(-1, 1)
    axes.plot(numbers, _values(rows, "cosine"), color=COSINE, linewidth=2)
    return axes


def _coverage(numbers: list[int], rows: Rows) -> Axes:
    axes = chart("latent covered by the mask")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.plot(numbers, _values(rows, "coverage"), color=COVERAGE, linewidth=2)
    return axes


def _values(rows: Rows, name: str) -> list[float]:
    return [row.get(name, float("nan")) for row in rows]


def _range(what: str, rows: Rows, name: str) -> str:
    values = [value for value in _values(rows, name) if value == value]
    if not values:
        return f"{what}: none"
    return f"{what} ({name}) from {min(values):.2f} to {max(values):.2f}"
