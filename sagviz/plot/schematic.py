"""The method as a diagram, after Figure 2 of the paper (arXiv 2210.00939), with one step's own
tensors in its boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from torch import Tensor

from sagviz import measure
from sagviz.errors import TraceError
from sagviz.guidance import CFG, SAG
from sagviz.image import to_images
from sagviz.models import Model
from sagviz.models.unfit import network_word
from sagviz.plot.display import Drawing
from sagviz.plot.pictures import StepPictures, top
from sagviz.records.about_runs import about_runs
from sagviz.records.step import Step
from sagviz.records.trace import Trace

SIDE = 1.3  # of a box, in the diagram's units, which are inches
TOP, BOTTOM, MIDDLE = 4.15, 1.25, 2.7
WIDTH, LOWEST, HIGHEST = 13.0, -0.3, 5.9
LINE = "#44546a"


@dataclass(frozen=True)
class Box:
    """A tensor's place in the diagram."""

    x: float
    y: float
    title: str
    note: str
    image: Image.Image | None = None


@about_runs
def schematic(trace: Trace, step: int | Step, model: Model | None = None) -> Drawing:
    """How one step's pictures make each other: predict, attend, mask, blur, put the noise back,
    predict again, guide.

    Args:
        trace: a run with SAG.
        step: position in the trace, or a step, at which SAG acts.
        model: decodes the latents; without it the trace's linear preview is shown.

    Raises:
        TraceError: SAG does not act at that step.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=2, guidance=sv.SAG(1.0), progress=False)
        >>> sv.plot.schematic(trace, 1).words[:56]
        'Diagram of step 2: the network predicts noise and attent'
    """
    trace, step = trace.of_image(0), trace.as_step(step).of_image(0)
    if step.eps_degraded is None or step.attention is None:
        raise TraceError(
            f"SAG does not act at step {step.number} of this trace, or reads no attention there;"
            " choose a step inside its window, in a run with SAG"
        )
    boxes = _boxes(trace, step, model)
    figure = Figure(figsize=(WIDTH, HIGHEST - LOWEST))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, WIDTH), ylim=(LOWEST, HIGHEST))
    for box in boxes.values():
        _draw(axes, box)
    for start, end, side in _arrows(step):
        _arrow(axes, boxes[start], boxes[end], side)
    _around(axes, boxes)
    _signs(axes, step)
    words = (
        f"Diagram of step {step.number}: the {_word(model)} predicts noise and attention from x_t;"
        f" where attention is above the threshold ({measure.coverage(step):.0%} of the latent) the"
        f" prediction is blurred and the same noise put back; the {_word(model)} predicts again,"
        " and guidance moves away from that worse prediction."
    )
    return Drawing([figure], words, min_width=780)


def _word(model: Model | None) -> str:
    """What the network is called; a trace alone does not know its kind."""
    return "network" if model is None else network_word(model.NETWORK)


def _boxes(trace: Trace, step: Step, model: Model | None) -> dict[str, Box]:
    sag, x0_blurred, eps_degraded = step.guidance.get(SAG), step.x0_blurred, step.eps_degraded
    assert sag is not None and x0_blurred is not None and eps_degraded is not None
    pictures = StepPictures(trace, step, model, top(trace))
    blurred = pictures.latent(x0_blurred)
    scales = "\n".join(f"{t.title} {t.symbol} = {t.scale:g}" for t in step.guidance.terms)
    covered = f"$A_t>{sag.threshold:g}$: {measure.coverage(step):.0%}, tinted"
    clean_is, blur = r"$(x_t-\sigma\,\epsilon)/\alpha$", f"Gaussian blur, σ = {sag.blur_sigma:g}"
    eps, eps_d, guided = r"$\epsilon(x_t)$", r"$\epsilon(\hat x_t)$", r"$\tilde\epsilon\;\to$"
    boxes = {
        "x_t": Box(0.95, TOP, "$x_t$", f"noise σ = {step.sigma:.2f}", pictures.of("x_t")),
        "unet": Box(2.8, TOP, _word(model), "first pass"),
        "eps": Box(4.65, TOP, eps, "predicted noise", _noise(step.eps_base)),
        "x0": Box(6.5, TOP, r"$\hat x_0$", clean_is, pictures.clean),
        "blur": Box(8.35, TOP, r"$\tilde x_0$", blur, blurred),
        "A": Box(2.8, BOTTOM, "$A_t$", "attention received", pictures.of("attention")),
        "M": Box(4.65, BOTTOM, "$M_t$", covered, pictures.of("mask")),
        "x_d": Box(6.5, BOTTOM, r"$\hat x_t$", "noise put back", pictures.of("x_degraded")),
        "unet2": Box(8.35, BOTTOM, _word(model), "second pass"),
        "eps_d": Box(10.2, BOTTOM, eps_d, "the worse prediction", _noise(eps_degraded)),
        "guided": Box(
            12.05, MIDDLE, rf"{guided} guided $\hat x_0$", scales, pictures.of("x0_guided")
        ),
    }
    if step.eps_cond is not None and step.guidance.get(CFG) is not None:
        given = r"$\epsilon(x_t,c)$"
        boxes["eps_c"] = Box(10.2, TOP, given, "with the prompt", _noise(step.eps_cond))
    return boxes


def _arrows(step: Step) -> list[tuple[str, str, str]]:
    """(from, to, leaves by): a chain to the right, with turns downwards."""
    chains = (("x_t", "unet", "eps", "x0", "blur"), ("A", "M", "x_d", "unet2", "eps_d", "guided"))
    arrows = [(*pair, "right") for chain in chains for pair in pairwise(chain)]
    arrows += [("unet", "A", "down"), ("blur", "x_d", "down"), ("eps", "guided", "over")]
    arrows.append(("eps", "x_d", "down"))
    if step.guidance.get(CFG) is not None:
        arrows.append(("eps_c", "guided", "right"))
    return arrows


def _noise(eps: Tensor) -> Image.Image:
    """Three channels of a noise as colours, 3 standard deviations to each side."""
    channels = eps[:1, :3] if eps.shape[1] >= 3 else eps[:1, :1].expand(-1, 3, -1, -1)
    return to_images(torch.from_numpy(np.clip(channels.numpy() / 3, -1, 1)))[0]


def _draw(axes: Axes, box: Box) -> None:
    left, low = box.x - SIDE / 2, box.y - SIDE / 2
    below = low - 0.07
    if box.image is None:
        below = low + 0.05
        style = "round,pad=0,rounding_size=0.12"
        look: dict[str, Any] = {"boxstyle": style, "facecolor": "#e8eef5", "edgecolor": LINE}
        axes.add_patch(FancyBboxPatch((left, low + 0.2), SIDE, SIDE - 0.4, **look))
        inside: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 13, "weight": "bold"}
        axes.text(box.x, box.y, box.title, color="#1f2d3d", **inside)
    else:
        extent = (left, left + SIDE, low, low + SIDE)
        axes.imshow(box.image, extent=extent, interpolation="nearest", zorder=2)
        axes.text(box.x, low + SIDE + 0.07, box.title, ha="center", va="bottom", fontsize=17)
    axes.text(box.x, below, box.note, ha="center", va="top", fontsize=12, color="#333333")


def _arrow(axes: Axes, start: Box, end: Box, side: str) -> None:
    half, gap = SIDE / 2, 0.06
    colour, bend = LINE, "arc3,rad=0"
    if side == "right":
        tail, head = (start.x + half + gap, start.y), (end.x - half - gap, end.y)
    elif side == "down":
        tail, head = (start.x, start.y - half - 0.34), (end.x, end.y + half + 0.36)
    else:
        tail, head = (start.x + 0.35, start.y - half - 0.34), (end.x - half - gap, end.y)
        colour, bend = SAG.colour, "arc3,rad=0.12"
    arrow: dict[str, Any] = {
        "arrowstyle": "-|>",
        "color": colour,
        "linewidth": 1.6,
        "connectionstyle": bend,
    }
    arrow |= {"shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=head, xytext=tail, arrowprops=arrow, zorder=3)


def _around(axes: Axes, boxes: Mapping[str, Box]) -> None:
    """The two ways around the others: the prompt's prediction, and x_t outside of the mask."""
    half = SIDE / 2
    if "eps_c" in boxes:
        unet, told, high = boxes["unet"], boxes["eps_c"], HIGHEST - 0.35
        way = [(unet.x, unet.y + half - 0.16), (unet.x, high), (told.x, high)]
        _way(axes, [*way, (told.x, told.y + half + 0.42)], "once more, with the prompt $c$")
    noisy, degraded, low = boxes["x_t"], boxes["x_d"], LOWEST + 0.3
    way = [(noisy.x, noisy.y - half - 0.34), (noisy.x, low), (degraded.x, low)]
    _way(axes, [*way, (degraded.x, degraded.y - half - 0.4)], "outside the mask $x_t$ itself")


def _way(axes: Axes, points: Sequence[tuple[float, float]], words: str) -> None:
    """An arrow with corners, and words on its long part, the last but one."""
    axes.plot(*zip(*points, strict=True), color=LINE, linewidth=1.6)
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": LINE, "linewidth": 1.6, "shrinkA": 0}
    axes.annotate("", xy=points[-1], xytext=points[-2], arrowprops=arrow | {"shrinkB": 0})
    x, y = (points[1][0] + points[2][0]) / 2, points[1][1]
    axes.text(x, y + 0.05, words, ha="center", va="bottom", fontsize=12, color="#333333")


def _signs(axes: Axes, step: Step) -> None:
    """What each prediction is multiplied with in the guided one."""
    prompted = step.guidance.get(CFG) is not None and step.eps_cond is not None
    signs = {"$1+s-w$" if prompted else "$1+s$": (9.5, 2.36), "$-s$": (10.98, 2.05)}
    signs |= {"$+w$": (11.03, 3.0)} if prompted else {}
    for sign, (x, y) in signs.items():
        colour = SAG.colour if "1" in sign else "#333333"
        axes.text(x, y, sign, ha="center", va="center", fontsize=14, color=colour)
