"""The pictures that a page shows as they are: finished ones, and a strip for where no script
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from sagviz import describe
from sagviz.html import data_uri, escape, grid, img
from sagviz.image import enlarge, from_png, preview, to_png, to_webp
from sagviz.models import Model
from sagviz.player.planes import colours
from sagviz.records.step import Step
from sagviz.records.trace import Trace

COUNT = 6  # steps in a strip
LONGEST = 256  # pixels of a decoded picture of a step
Progress = Callable[[int, int], object]  # of work: pieces done, and all of them
PREDICTED = ("x0_hat", "x0_guided")  # decoded, where there is a model
SMALL = 50_000  # bytes of a PNG that is stored as it is


def picture(trace: Trace, longest: int | None = None) -> str | None:
    """The first finished picture as an address, if there is one: as it is where it is small, else
    as WebP, which takes a tenth.
    """
    if not trace.pictures:
        return None
    png = trace.pictures[0]
    return data_uri(png if len(png) <= SMALL else to_webp(from_png(png), longest))


class Predictions:
    """Predictions as a model decodes them, none of them twice: runs share steps.

    Args:
        model: decodes them.
        total: pictures that it will be asked for.
        progress: told after each of them (done, total).
    """

    def __init__(self, model: Model, total: int = 0, progress: Progress | None = None) -> None:
        self.model, self.total, self.progress, self.done = model, total, progress, 0
        self._known: dict[bytes, str] = {}

    def of(self, steps: Sequence[Step]) -> dict[str, list[str]]:
        """Those of the steps, as addresses by quantity."""
        return {name: [self._picture(getattr(step, name)) for step in steps] for name in PREDICTED}

    def _picture(self, latents: Tensor) -> str:
        key = latents.numpy().tobytes()
        if key not in self._known:
            self._known[key] = data_uri(to_webp(self.model.decode(latents)[0], LONGEST))
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        return self._known[key]


def strip(trace: Trace, at: float) -> str:
    """A few steps and the finished picture, in a table that reads well without any style.

    Args:
        at: see `spread`.
    """
    rgb = colours(trace, [trace])
    cells = [_still(step, trace, rgb) for step in spread(trace.steps, COUNT, at)]
    finished = picture(trace, longest=256)
    if finished is not None:
        cells.append(_cell(finished, "The finished picture."))
    name = describe.of_guidance(trace.settings.guidance)
    return grid((), [("", cells)], f"{name}: guided prediction", class_="sagviz-strip")


def spread(steps: Sequence[Step], count: int, at: float) -> list[Step]:
    """At most `count` steps, at least one, evenly spread but for the one at the share `at` of the
    way, from 0 to 1, which is among them.
    """
    last = len(steps) - 1
    places = np.linspace(0, last, max(1, min(count, len(steps)))).round()
    wanted = round(at * last)
    places[np.abs(places - wanted).argmin()] = wanted
    return [steps[int(place)] for place in np.unique(places)]


def _still(step: Step, trace: Trace, rgb: Tensor) -> str:
    small = enlarge(preview(step.x0_guided, rgb)[0], 112)
    words = describe.of_step(step, trace.evaluations, trace.settings.strength)
    return _cell(data_uri(to_png(small)), words)


def _cell(address: str, words: str) -> str:
    return f"{img(address, words, width=112)}<p>{escape(words)}</p>"
