"""Pictures of one step, of all steps, and of several guidances side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sagviz import measure
from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import SAG, Term
from sagviz.image import enlarge, heat_map, preview
from sagviz.models import Model
from sagviz.plot.display import Panel, Panels, Strip
from sagviz.records.step import Step
from sagviz.records.trace import Trace

TERM_COLOURS = "magma"
SHOWN = 128  # least pixels on a side of a picture that is blended with a map


def show(latents: Tensor, trace: Trace, model: Model | None) -> Image.Image:
    """Latents (B, C, H, W) as the first image's picture: decoded by the model, else by the trace's
    linear preview.
    """
    first = latents[:1]
    if model is not None:
        return model.decode(first)[0]
    if trace.latent_rgb is None:
        raise TraceError(
            "this trace has no preview colours because its run was interrupted; give model="
        )
    return preview(first, trace.latent_rgb)[0]


def top(trace: Trace) -> float:
    """The highest attention of the first image anywhere in the trace: one scale for all steps."""
    return max(
        (float(step.attention[0].max()) for step in trace if step.attention is not None),
        default=1.0,
    )


def over(image: Image.Image, colours: np.ndarray[Any, Any], weight: float = 0.6) -> Image.Image:
    """A map laid over the grey picture."""
    grey = enlarge(image, SHOWN).convert("L").convert("RGB")
    layer = Image.fromarray(colours).resize(grey.size, Image.Resampling.NEAREST)
    return Image.blend(grey, layer, weight)


def spotlight(image: Image.Image, mask: Tensor) -> Image.Image:
    """The picture where the (1, H, W) mask is 1, faded to near white elsewhere."""
    base = enlarge(image, SHOWN)
    inside = Image.fromarray((mask[0].numpy() * 255).astype(np.uint8)).resize(
        base.size, Image.Resampling.NEAREST
    )
    faded = Image.blend(base, Image.new("RGB", base.size, "white"), 0.85)
    return Image.composite(base, faded, inside)


def magnitude(term: Tensor, size: tuple[int, int]) -> Tensor:
    """Length of a term in each cell of the first image, (H, W) of `size`."""
    length = term[:1].square().sum(dim=1, keepdim=True).sqrt()
    return F.interpolate(length, size)[0, 0]


def step_panel(trace: Trace, step: int | Step, model: Model | None = None) -> Panels:
    """Every quantity of one step, from x_t to what the guidance made of it.

    Args:
        trace: sets the colour scale, which is the same for all its steps.
        step: position in the trace, or a step.
        model: decodes the latents; without it the trace's linear preview is shown.
    """
    step = trace[step] if isinstance(step, int) else step
    sag = step.guidance.get(SAG)
    clean = show(step.x0_hat, trace, model)
    panels = [
        Panel(
            show(step.x_t, trace, model),
            "noisy latent xₜ",
            f"step {step.index}, t = {step.t:.0f}, noise σ = {step.sigma:.2f}",
        ),
        Panel(
            clean,
            "prediction x̂₀",
            "what the network takes the clean picture to be, before guidance",
        ),
    ]
    if (
        sag is not None
        and step.attention is not None
        and step.mask is not None
        and step.x0_blurred is not None
    ):
        attention, high = step.attention[0], top(trace)
        mask = step.mask[0]
        blend = torch.where(step.mask > 0, step.x0_blurred, step.x0_hat)
        assert step.x_degraded is not None
        share = f"{measure.coverage(step):.0%}"
        panels += [
            Panel(
                over(clean, heat_map(attention, 0, high)),
                "attention Aₜ",
                f"attention received per cell, mean 1, here up to {float(attention.max()):.1f};"
                f" colours from 0 to {high:.1f}",
            ),
            Panel(spotlight(clean, mask), "mask Mₜ", f"{_mask_words(step)}: {share} of the latent"),
            Panel(
                show(blend, trace, model),
                "blurred x̃₀",
                f"x̂₀ blurred inside the mask, σ = {sag.blur_sigma:g} latent pixels",
            ),
            Panel(
                show(step.x_degraded, trace, model),
                "degraded x̂ₜ",
                "the same noise put back; xₜ itself outside the mask",
            ),
        ]
    panels += [_term_panel(name, term, clean.size) for name, term in step.terms.items()]
    panels.append(
        Panel(show(step.x0_guided, trace, model), "guided x̂₀", f"after {_sum_in_words(step)}")
    )
    return Panels(tuple(panels))


def _mask_words(step: Step) -> str:
    """What the mask is made of."""
    sag = step.guidance.get(SAG)
    assert sag is not None, "a mask without SAG"
    if step.hand_mask is not None:
        return "made by hand"
    sources = {
        "attention": f"where Aₜ > {sag.threshold:g}",
        "none": "a global blur",
        "random": "cells drawn at random",
        "high-frequency": "where the blur takes most away",
        "inverted": "the least attended cells",
    }
    return sources[sag.mask_source]


def _term_panel(name: str, term: Tensor, size: tuple[int, int]) -> Panel:
    lengths = magnitude(term, (size[1], size[0]))
    formula = Term.kinds[name].formula
    words = (
        "size per cell of the direction added, before its scale; bright is"
        f" {float(lengths.max()):.2f}"
    )
    return Panel(
        Image.fromarray(heat_map(lengths, 0, float(lengths.max()), TERM_COLOURS)),
        f"{Term.kinds[name].title}: {formula}",
        words,
    )


def _sum_in_words(step: Step) -> str:
    return (
        " + ".join(f"{term.scale:g} × {term.title}" for term in step.guidance.terms)
        or "no guidance"
    )


def film_strip(trace: Trace, model: Model | None = None, count: int = 8) -> Strip:
    """The run at `count` steps, evenly spread: what goes in, what the network sees in it, where it
    looks, what comes out.
    """
    if not len(trace):
        raise TraceError("this trace holds no step to show; run at least one")
    if count < 1:
        raise ArgumentError(f"count is {count}; give how many steps to show, 1 or more")
    chosen = [trace[int(i)] for i in np.unique(np.linspace(0, len(trace) - 1, count).round())]
    high = top(trace)
    rows: list[tuple[str, list[Panel]]] = [
        ("xₜ", []),
        ("x̂₀", []),
        ("Aₜ", []),
        ("Mₜ", []),
        ("guided x̂₀", []),
    ]
    for step in chosen:
        at = f"at step {step.index}"
        clean = show(step.x0_hat, trace, model)
        rows[0][1].append(Panel(show(step.x_t, trace, model), "xₜ", f"noisy latent {at}"))
        rows[1][1].append(Panel(clean, "x̂₀", f"prediction {at}"))
        if step.attention is not None and step.mask is not None:
            colours = heat_map(step.attention[0], 0, high)
            rows[2][1].append(
                Panel(
                    over(clean, colours),
                    "Aₜ",
                    f"attention {at}, up to {float(step.attention[0].max()):.1f}",
                )
            )
            rows[3][1].append(
                Panel(
                    spotlight(clean, step.mask[0]),
                    "Mₜ",
                    f"mask {at}, {measure.coverage(step):.0%} of the latent",
                )
            )
        rows[4][1].append(
            Panel(show(step.x0_guided, trace, model), "guided x̂₀", f"guided prediction {at}")
        )
    complete = tuple((name, tuple(panels)) for name, panels in rows if len(panels) == len(chosen))
    return Strip(tuple(f"step {step.index}" for step in chosen), complete)


def triptych(traces: Sequence[Trace]) -> Panels:
    """Finished pictures side by side, each under its guidance: plain | CFG | CFG+SAG."""
    panels = [Panel(trace.image, *_title(trace)) for trace in traces]
    return Panels(tuple(panels), width=280, columns=3)


def _title(trace: Trace) -> tuple[str, str]:
    settings = trace.settings
    terms = settings.guidance.terms
    title = " + ".join(f"{term.title} {term.scale:g}" for term in terms) or "plain"
    return (
        title,
        (
            f"“{settings.prompt}”, seed {settings.seed}, {settings.steps} steps"
            if settings.prompt
            else f"no prompt, seed {settings.seed}"
        ),
    )
