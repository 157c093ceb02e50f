r"""What the player is given: for each run the planes of its steps, packed small, and their words
and numbers.

Colour previews are linear in the latent and guidance is linear in its scales, so three colour
planes of :math:`\hat x_0` and of each term are all that a page needs to make
:math:`\hat x_0^{guided} = \hat x_0 + \sum_k s_k \Delta_k` anew for any scales s, in x_0 units
whatever the model predicts.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sagviz import describe, measure
from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import SAG, Term
from sagviz.image import data_uri, enlarge, from_png, heat_map, preview, to_png, to_webp
from sagviz.records.step import Step
from sagviz.records.trace import Trace

PANES = {  # quantity to title, in the order of the method; each term's push stands before their sum
    "x_t": "noisy latent xₜ",
    "x0_hat": "prediction x̂₀",
    "attention": "attention Aₜ",
    "margin": "margin Aₜ − ψ",
    "mask": "mask Mₜ",
    "x0_blurred": "blurred x̃₀",
    "x_degraded": "degraded x̂ₜ",
    "sum": "sum of pushes",
    "x0_guided": "guided x̂₀",
    "image": "finished picture",
}
# until the reader chooses
SHOWN = ("x_t", "x0_hat", "attention", "mask", *Term.kinds, "x0_guided", "image")
RANGES = {  # of the scale sliders, widened where a run went beyond
    "cfg": (0.0, 10.0),
    "sag": (-0.5, 2.0),
    "pag": (0.0, 6.0),
    "seg": (0.0, 6.0),
    "cg": (0.0, 10.0),
    "apg": (0.0, 15.0),
    "rescale": (0.0, 1.0),
}
# only shown: eight bits, clipped to what a screen can show
PICTURES = ("x_t", "x0_blurred", "x_degraded")


@dataclass(frozen=True)
class Plane:
    """One quantity of all steps as whole numbers: value = low + (high - low) q / (2^bits - 1)."""

    values: dict[int, Tensor]  # by position in the run; (channels, h, w) each
    bits: int
    low: float
    high: float

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(next(iter(self.values.values())).shape)

    def packed(self, position: int) -> bytes:
        """Little-endian, and of even length, so that the next plane starts where 16 bits may."""
        most = 2**self.bits - 1
        share = (self.values[position] - self.low) / (self.high - self.low)
        whole = (
            (share.clamp(0, 1) * most)
            .round()
            .numpy()
            .astype("u1" if self.bits == 8 else "<u2")
            .tobytes()
        )
        return whole + b"\0" * (len(whole) % 2)


def pack(
    traces: Sequence[Trace], max_bytes: int, max_steps: int = 999, image: int = 0
) -> dict[str, Any]:
    """The player's data, ready for JSON.

    Args:
        traces: runs that are shown in lockstep.
        max_bytes: bound on the packed planes; fewer steps, evenly spread, are taken where all would
            be more.
        max_steps: bound on the steps of each run.
        image: which image of a batch.

    Raises:
        ArgumentError: no trace, or no such image.
        TraceError: a trace without a step.
    """
    if not traces:
        raise ArgumentError("there is no trace to show; give one, or several in a list")
    for trace in traces:
        if not len(trace):
            raise TraceError("this trace holds no step to show; run at least one")
        if not 0 <= image < len(trace[0].x_t):
            raise ArgumentError(
                f"image is {image!r}; this trace has {len(trace[0].x_t)}, counted from 0"
            )
    steps = [[step.of_image(image) for step in trace] for trace in traces]
    maps = [colours(trace, traces) for trace in traces]
    cost = sum(max(_cost(step) for step in run) for run in steps)
    count = min(max_steps, max_bytes // cost)
    runs = [
        _run(trace, _spread(run, count), rgb, image)
        for trace, run, rgb in zip(traces, steps, maps, strict=True)
    ]
    panes = _panes(runs)
    return {
        "runs": runs,
        "title": _title(traces),
        "panes": panes,
        "shown": [name for name, _ in panes if name in SHOWN],
        **_charts(runs),
        "near": describe.NEAR,
        "colours": {name: _table(name) for name in ("viridis", "magma", "PuOr")},
    }


def stills(trace: Trace, count: int, image: int = 0) -> list[tuple[bytes, str]]:
    """Guided predictions (PNG) of a few steps, evenly spread, each with its caption."""
    rgb = colours(trace, [trace])
    steps = _spread([step.of_image(image) for step in trace], count)
    pictures = [to_png(enlarge(preview(step.x0_guided, rgb)[0], 112)) for step in steps]
    return [
        (png, describe.of_step(step, trace.evaluations))
        for png, step in zip(pictures, steps, strict=True)
    ]


def _spread(steps: list[Step], count: int) -> list[Step]:
    """At most `count` steps, at least one, evenly spread."""
    return [
        steps[int(i)]
        for i in np.unique(np.linspace(0, len(steps) - 1, max(1, min(count, len(steps)))).round())
    ]


def _cost(step: Step) -> int:
    """Bytes of a step at most, in base64: three colours of 16 bits for x̂_0 and each term, of 8 for
    the other latents.
    """
    cells = step.x_t[0, 0].numel()
    degraded = 0 if step.mask is None else 6  # the mask itself packs to almost nothing
    grid = 0 if step.attention is None else 2 * step.attention.numel()
    return (cells * (6 + 6 * len(step.guidance.terms) + 3 + degraded) + grid) * 4 // 3 + 1


def colours(trace: Trace, traces: Sequence[Trace]) -> Tensor:
    """One map from latents to colours for all runs of a model: the last finished run's. A run that
    nothing finished beside shows its first three channels."""
    same = [
        other.latent_rgb
        for other in (trace, *traces)
        if other.settings.model == trace.settings.model
    ]
    found = [rgb for rgb in same if rgb is not None]
    if found:
        return found[-1]
    channels = trace[0].x_t.shape[1]
    return torch.cat([0.5 * torch.eye(channels, 3), torch.zeros(1, 3)])


def _run(trace: Trace, steps: list[Step], rgb: Tensor, image: int) -> dict[str, Any]:
    planes = _planes(steps, rgb)
    blob, rows, words = bytearray(), [], describe.of_panes(steps[0])
    for position, step in enumerate(steps):
        at = {}
        for name, plane in planes.items():
            if position in plane.values:
                at[name] = len(blob)
                blob += plane.packed(position)
        new = {
            name: said for name, said in describe.of_panes(step).items() if words.get(name) != said
        }
        rows.append({"at": at, **_numbers(step, trace.evaluations), "words": new})
    return {
        "name": describe.of_guidance(trace.settings.guidance),
        "settings": _settings(trace),
        "terms": [_term(term) for term in trace.settings.guidance.terms],
        "evaluations": trace.evaluations,
        "kept": len(trace),
        "words": words,  # of the first step; the others say only what differs
        "steps": rows,
        "planes": {
            n: {"shape": p.shape, "bits": p.bits, "low": p.low, "high": p.high}
            for n, p in planes.items()
        },
        "packed": base64.b64encode(zlib.compress(bytes(blob), 9)).decode(),
        "picture": picture(trace, image),
    }


def picture(trace: Trace, image: int, longest: int | None = None) -> str | None:
    """The finished picture as an address, if there is one: as it is where it is small, else as
    WebP, which takes a tenth.
    """
    if not trace.pictures:
        return None
    png = trace.pictures[image]
    return data_uri(png if len(png) <= 50_000 else to_webp(from_png(png), longest))


def _planes(steps: list[Step], rgb: Tensor) -> dict[str, Plane]:
    """The planes of all steps by quantity; those that no step has are left out."""
    found: dict[str, dict[int, Tensor]] = {}
    for position, step in enumerate(steps):
        for name, value in _quantities(step, rgb).items():
            found.setdefault(name, {})[position] = value
    return {name: _plane(name, values) for name, values in found.items()}


def _plane(name: str, values: dict[int, Tensor]) -> Plane:
    if name in PICTURES:
        return Plane(values, 8, -1.0, 1.0)
    if name == "mask":
        return Plane(values, 8, 0.0, 255.0)
    bound = max(float(value.abs().max()) for value in values.values()) or 1.0
    return Plane(values, 16, 0.0 if name == "attention" else -bound, bound)


def _quantities(step: Step, rgb: Tensor) -> dict[str, Tensor]:
    """Planes (channels, h, w) of one step: colours in [-1, 1], differences of colours for the
    terms, maps as they are.
    """
    base = step.x0_hat
    made = {"x0_hat": _colour(base, rgb), "x_t": _colour(step.x_t / step.level.norm, rgb)}
    for name, push in step.pushes.items():
        made[name] = _colour(push, torch.cat([rgb[:-1], torch.zeros(1, 3)]))
    if step.attention is not None:
        made["attention"] = step.attention
    if step.mask is not None and step.x0_blurred is not None and step.x_degraded is not None:
        made["mask"] = step.mask[0]
        made["x0_blurred"] = _colour(step.x0_blurred, rgb)
        made["x_degraded"] = _colour(step.x_degraded / step.level.norm, rgb)
    return made


def _colour(latents: Tensor, rgb: Tensor) -> Tensor:
    """The first image's latent in linear colours (3, H, W), unclipped; the last row of `rgb` is the
    offset.
    """
    return torch.einsum("chw,ck->khw", latents[0], rgb[:-1]) + rgb[-1][:, None, None]


def _numbers(step: Step, evaluations: int) -> dict[str, Any]:
    sag = step.guidance.get(SAG)
    measures = {
        name: round(value, 4)
        for name, value in measure.of_step(step).items()
        if math.isfinite(value)
    }
    return {
        "index": step.index,
        "t": round(step.t, 2),
        "sigma": round(step.sigma, 4),
        "threshold": sag.threshold if sag is not None and math.isfinite(sag.threshold) else None,
        "measures": measures,
        "caption": describe.of_step(step, evaluations),
    }


def _term(term: Any) -> dict[str, Any]:
    low, high = RANGES.get(term.name, (0.0, 10.0))
    return {
        "name": term.name,
        "title": term.title,
        "scale": term.scale,
        "low": min(low, term.scale),
        "high": max(high, term.scale),
    }


def _settings(trace: Trace) -> list[tuple[str, str]]:
    s = trace.settings
    rows = [
        ("prompt", s.prompt or "(none)"),
        ("negative prompt", s.negative_prompt),
        ("seed", str(s.seed)),
    ]
    rows += [
        ("steps", f"{s.steps}, {s.scheduler['class']}"),
        ("guidance", repr(s.guidance)),
        ("model", s.model),
    ]
    rows += [
        ("size", f"{s.size[1]} × {s.size[0]} pixels"),
        ("U-Net calls", f"{trace.forwards}, {trace.samples} predictions"),
    ]
    return [(name, value) for name, value in rows if value]


def _title(traces: Sequence[Trace]) -> str:
    s = traces[0].settings
    return f"{f'“{s.prompt}”' if s.prompt else 'no prompt'}, seed {s.seed}"


def _charts(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Which measures are drawn together, and what they are called; a chart that no step has a
    number for is left out.
    """
    terms = {
        term["name"]: f"{term['title']}'s push, of ε(xₜ)" for run in runs for term in run["terms"]
    }
    lines = {**terms, "cosine": "cosine of the two", "coverage": "cells under the mask"}
    known = {name for run in runs for step in run["steps"] for name in step["measures"]}
    charts = [
        [name for name in names if name in known] for names in ([*terms], ["cosine"], ["coverage"])
    ]
    return {"lines": lines, "charts": [names for names in charts if names]}


def _panes(runs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The quantities that some step of some run has, with their titles, in the order of the method."""
    terms = {term["name"]: f"{term['title']}'s push" for run in runs for term in run["terms"]}
    names = (
        {name for run in runs for name in run["planes"]}
        | ({"sum"} if terms else set())
        | {"x0_guided"}
    )
    names |= {"margin"} if "attention" in names else set()
    names |= {"image"} if any(run["picture"] for run in runs) else set()
    before = list(PANES).index("sum")
    ordered = [*list(PANES.items())[:before], *terms.items(), *list(PANES.items())[before:]]
    return [(name, title) for name, title in ordered if name in names]


def _table(colours: str) -> str:
    """256 colours of a colour map, base64."""
    return base64.b64encode(
        heat_map(torch.linspace(0, 1, 256)[None], 0, 1, colours).tobytes()
    ).decode()
