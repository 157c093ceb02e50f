"""Pictures of one step, of all steps, and of several guidances side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from sagviz import describe, measure
from sagviz.checks import check_whole
from sagviz.describe import QUANTITIES
from sagviz.errors import TraceError
from sagviz.guidance import Term
from sagviz.image import MAP_COLOURS, MASK_COLOUR, heat_map
from sagviz.models import Model
from sagviz.plot.decoder import Decoder
from sagviz.plot.display import Panel, Panels, Strip
from sagviz.plot.legend import bar, swatch, written
from sagviz.plot.pictures import TERM_COLOURS, StepPictures, first_image, magnitude, top
from sagviz.records.about_runs import about_runs, as_traces
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace

BEFORE_TERMS = ("x_t", "x0_hat", "attention", "mask", "x0_blurred", "x_degraded")
MASK = f"rgb{MASK_COLOUR}"
IN_STRIP = ("x_t", "x0_hat", "attention", "mask", "x0_guided")


@about_runs
def step_panel(trace: Trace, step: int | Step, model: Model | None = None) -> Panels:
    """Every quantity of one step, from x_t to what the guidance made of it; of a batch those of its
    first image.

    Args:
        trace: sets the colour scale, which is the same for all its steps.
        step: position in the trace, or a step.
        model: decodes the latents; without it the trace's linear preview is shown.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=2, guidance=sv.CFG(3.0), progress=False)
        >>> [panel.title for panel in sv.plot.step_panel(trace, 1).panels]
        ['noisy latent xₜ', 'prediction x̂₀', 'CFG: ε(xₜ, c) − ε(xₜ)', 'guided x̂₀']
    """
    pictures = first_image(trace, trace.as_step(step), model)
    return Panels((*_before_guidance(pictures), _panel("x0_guided", pictures)))


def before_guidance(trace: Trace, step: Step, model: Model | Decoder | None) -> list[Panel]:
    """The same without what the guidance made of it."""
    return _before_guidance(first_image(trace, step, model))


def _before_guidance(pictures: StepPictures) -> list[Panel]:
    step, size = pictures.step, pictures.clean.size
    panels = [_panel(name, pictures) for name in BEFORE_TERMS if QUANTITIES[name].is_there(step)]
    terms = step.terms.items()
    return [*panels, *(_term_panel(Term.kinds[name], term, size) for name, term in terms)]


def _panel(name: str, pictures: StepPictures) -> Panel:
    quantity = QUANTITIES[name]
    scale = f"; colours from 0 to {pictures.highest:.1f}" if name == "attention" else ""
    words = quantity.details.format(**describe.facts(pictures.step))
    return Panel(
        pictures.of(name),
        quantity.title,
        f"{words}{scale}",
        name,
        _legend(name, pictures.highest),
        pictures.is_sharp(name),
    )


def _legend(name: str, highest: float) -> str:
    if name == "attention":
        return bar(MAP_COLOURS, 0, highest)
    return swatch(MASK, "blurred") if name == "mask" else ""


def _term_panel(kind: type[Term], term: Tensor, size: tuple[int, int]) -> Panel:
    lengths = magnitude(term, (size[1], size[0]))
    most = float(lengths.max())
    words = f"size per cell of the direction added, before its scale; at most {written(most)}"
    picture = Image.fromarray(heat_map(lengths, 0, most, TERM_COLOURS))
    legend = bar(TERM_COLOURS, 0, most)
    return Panel(picture, f"{kind.title}: {kind.formula}", words, kind.name, legend)


@about_runs
def film_strip(trace: Trace, model: Model | None = None, count: int = 8) -> Strip:
    """The run at `count` steps, evenly spread: what goes in, what the network sees in it, where it
    looks, what comes out; of a batch the first image.

    Args:
        trace: a run with at least one step.
        model: decodes the latents; without it the trace's linear preview is shown.
        count: how many steps, 1 or more.

    Raises:
        ArgumentError, TraceError: there is nothing to show.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=4, guidance=sv.SAG(1.0), progress=False)
        >>> strip = sv.plot.film_strip(trace, count=2)
        >>> strip.columns, [name for name, _ in strip.rows]
        (('step 1', 'step 4'), ['xₜ', 'x̂₀', 'Aₜ', 'Mₜ', 'guided x̂₀'])
    """
    if not len(trace):
        raise TraceError("this trace holds no step to show; run at least one")
    count = check_whole("count", count, 1, 4096)
    trace = trace.of_image(0)
    chosen = [trace[int(i)] for i in np.unique(np.linspace(0, len(trace) - 1, count).round())]
    high = top(trace)
    pictures = [StepPictures(trace, step, model, high) for step in chosen]
    names = [n for n in IN_STRIP if all(QUANTITIES[n].is_there(step) for step in chosen)]
    rows = tuple((QUANTITIES[n].symbol, tuple(_small(n, each) for each in pictures)) for n in names)
    note = "Mₜ: what is tinted is blurred." if "mask" in names else ""
    return Strip(tuple(f"step {step.number}" for step in chosen), rows, note)


def _small(name: str, pictures: StepPictures) -> Panel:
    """A picture of the strip; its words are the alt text."""
    quantity, step = QUANTITIES[name], pictures.step
    more = ""
    if name == "attention" and step.attention is not None:
        more = f", up to {float(step.attention[0].max()):.1f}"
    if name == "mask":
        more = f", {measure.coverage(step):.0%} of the latent"
    words = f"{quantity.noun} at step {step.number}{more}"
    sharp = pictures.is_sharp(name)
    return Panel(pictures.of(name), quantity.symbol, words, name, sharp=sharp)


def triptych(traces: Sequence[Trace]) -> Panels:
    """Finished pictures side by side, each under its guidance: plain | CFG | CFG+SAG.

    Args:
        traces: runs that reached their end, e.g. what `compare` gives.

    Example:
        >>> import sagviz as sv
        >>> runs = sv.compare(sv.load(), "a fox", steps=2, unguided=True, progress=False)
        >>> [panel.title for panel in sv.plot.triptych(runs).panels]
        ['plain', 'CFG 3', 'CFG 3 + SAG 1']
    """
    finished = as_traces(traces)
    starts = [_start(trace.settings.of_image(0)) for trace in finished]
    words = [_begun(start, starts[:i]) for i, start in enumerate(starts)]
    return Panels(tuple(map(_finished, finished, words)), width=280, columns=3)


def _finished(trace: Trace, words: str) -> Panel:
    title = describe.of_guidance(trace.settings.guidance)
    return Panel(trace.image, title, words, "image", sharp=False)


def _start(settings: Settings) -> dict[str, object]:
    """What the prompt and the noise of a picture come of: in words, and, by name, what these do not
    say.
    """
    negative = settings.negative_prompt and f", negative prompt “{settings.negative_prompt}”"
    steps = f", {settings.steps} steps" if settings.caption else ""
    words = f"{describe.quoted(settings.caption)}{negative}, seed {settings.seed}{steps}"
    names = ("size", "strength", "eta", "clip_skip")
    return {"words": words, **{name: getattr(settings, name) for name in names}, **settings.inputs}


def _begun(start: dict[str, object], before: Sequence[dict[str, object]]) -> str:
    """The words of a start, or that it is one of those before; where one of these has the same
    words, also what is not as there.
    """
    if start in before:
        return "the same prompt and noise"
    alike = next((other for other in before if other["words"] == start["words"]), start)
    apart = [name for name in alike | start if alike.get(name) != start.get(name)]
    return ", ".join([str(start["words"]), *(f"other {name}" for name in apart)])
