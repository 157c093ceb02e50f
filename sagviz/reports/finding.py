"""What a report found: its pair of pictures in numbers, and the same of a few more seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from scipy.stats import t

from sagviz import describe
from sagviz.measure import sharpness
from sagviz.models import Model
from sagviz.plot import Strip, gallery
from sagviz.plot.difference import percent, pixels_apart, same
from sagviz.records.trace import Trace
from sagviz.reports.parameters import Parameters
from sagviz.reports.progress import announced
from sagviz.sampling.compare import compare
from sagviz.sweeps.workers import batch_size

Pair = tuple[Trace, Trace]  # without SAG, with it
OPEN = "Whether that is better, no number here says: look, or let people vote."


@dataclass(frozen=True)
class Finding:
    """A result in sentences, as a paragraph."""

    text: str

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Captioned:
    """A figure, and below it its number and words."""

    number: int
    figure: Any
    words: str

    def _repr_html_(self) -> str:
        words = f"<p><b>Figure {self.number}.</b> {escape(self.words)}</p>"
        return f"{self.figure._repr_html_()}{words}"


def more_seeds(parameters: Parameters, model: Model, first: Pair) -> list[Pair]:
    """The report's pair, and those of as many seeds after its own as it asks for: a pair of traces
    has several pictures, as many as a sweep has runs in joint calls of the network.
    """
    settings, found = parameters.settings(model), [first]
    at_once = max(1, batch_size(model, first[1].settings.size) // len(first))
    starts = range(0, parameters.seeds, at_once)
    for turn, start in enumerate(starts):
        settings["seed"] = parameters.seed + 1 + start
        settings["images"] = min(at_once, parameters.seeds - start)
        follow = announced(turn, len(starts))
        without, with_sag = compare(model, keep=parameters.steps, progress=follow, **settings)
        found.append((without, with_sag))
    return found


def finding(found: Sequence[Pair]) -> Finding:
    """How far the pictures of the first pair are apart, and what all pairs say of sharpness, with
    Student's interval at 95 %; or that all are equal.
    """
    before, after = (describe.of_guidance(run.settings.guidance) for run in found[0])
    rows = _pictures(found)
    equal = [same(*pair) for pair in zip(*rows, strict=True)]
    if all(equal):
        seeds = "for this seed" if len(equal) == 1 else f"for each of {len(equal)} seeds"
        return Finding(
            f"Both pictures are the same: {before} and {after} give the same picture in every"
            f" pixel, {seeds}."
        )
    sharp = 1000 * np.array([list(map(sharpness, images)) for images in rows])
    return Finding(
        f"{_of_first(before, after, found[0], sharp[:, 0])} {_of_all(sharp[1] - sharp[0])}{OPEN}"
    )


def _of_first(before: str, after: str, pair: Pair, sharp: np.ndarray) -> str:
    """The report's own pair of pictures, in numbers where they differ."""
    if same(pair[0].image, pair[1].image):
        return f"{before} and {after} give the same picture in every pixel here."
    apart = percent(float(pixels_apart(*(run.image for run in pair)).mean()), 1)
    return (
        f"From {before} to {after} this picture changes by {apart} of a pixel's range in the"
        " mean, and its sharpness (variance of the Laplacian, in thousandths) goes from"
        f" {sharp[0]:.2f} to {sharp[1]:.2f}."
    )


def _pictures(found: Sequence[Pair]) -> list[list[Any]]:
    """Those without SAG, and those with it, a seed after the other."""
    return [[image for run in runs for image in run.images] for runs in zip(*found, strict=True)]


def _of_all(gains: np.ndarray) -> str:
    """The mean of the gains and its interval, of two seeds or more."""
    count = len(gains)
    if count < 2:
        return ""
    mean = float(gains.mean())
    far = float(t.ppf(0.975, count - 1) * gains.std(ddof=1) / np.sqrt(count))
    chance = "is more than chance" if abs(mean) > far else "may be chance"
    return (
        f"Over {count} seeds sharpness changes by {mean:+.2f} (95 % interval {mean - far:+.2f} to"
        f" {mean + far:+.2f}), which {chance}. "
    )


def seeds_gallery(found: Sequence[Pair]) -> Strip:
    """All pairs, a column a seed."""
    names = [describe.of_guidance(run.settings.guidance) for run in found[0]]
    seeds = [seed for _, with_sag in found for seed in with_sag.settings.seeds]
    rows = dict(zip(names, _pictures(found), strict=True))
    return gallery(rows, [f"seed {seed}" for seed in seeds])
