"""Two pictures, CFG and CFG + SAG, as they come into being; below them those of the other seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.describe import file_stem
from sagviz.guidance import Guidance
from sagviz.html import link
from sagviz.image import to_jpeg
from sagviz.models import Model
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.widgets.common.controls import progress_bar
from sagviz.widgets.common.layout import flow, stack, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.optional import anywidget
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.common.still import live
from sagviz.widgets.common.time_left import time_left
from sagviz.widgets.playground.made import Made, named, rough, smooth
from sagviz.widgets.playground.strip import Strip

EVERY = 1 / 15  # seconds between two previews: a run must not wait for its display
BLANK = "press Run"
COVERED = "sag-covered"  # of what must not be seen while a vote on the same is going on

if anywidget is not None:

    class Comparison(anywidget.AnyWidget):
        """How the two pictures of the screen around it lie: beside each other, one in front of the
        other, one wiped over the other, large.
        """

        _esm = (Path(__file__).parent / "compare.js").read_text(encoding="utf-8")
        view = traitlets.Unicode("beside", help="beside, flip or wipe").tag(sync=True)


class Screen(W.VBox):
    """The pictures of one seed with download links, a bar and a line of words below, and a strip of
    all seeds where a run has several.

    Attributes:
        made: what is shown; `None` before the first run.
        image: which of its seeds, from 0.
    """

    def __init__(self, model: Model, guidance: Sequence[Guidance], notice: Notice) -> None:
        self.model = model
        self.made: Made | None = None
        self.image = 0
        self.began = self.last = 0.0
        self.cleared = False  # whether a run has begun and left nothing so far
        height, width = model.default_size
        self.pictures = [Picture(named(own), ratio=height / width) for own in guidance]
        self.links = [live(W.HTML()) for _ in guidance]
        self.bar, self.status = progress_bar("100%", "10px"), text("sag-status")
        self.warned = Notice()  # of the pictures, as long as they are there
        for picture in self.pictures:
            picture.layout.width = "100%"
            picture.clear(BLANK)
        sides = [stack(picture, flex="1 1 180px", max_width="512px") for picture in self.pictures]
        for side in sides:
            side.add_class("sag-side")
        self.stage = W.HBox(sides)
        self.stage.add_class("sag-stage")
        compared: list[Any] = [] if anywidget is None else [Comparison()]
        below = flow(*compared, *self.links, name="sag-below")
        words = "show the pictures of this seed"
        self.seeds = Strip(notice, "Seeds of this run", words, self.look)
        super().__init__(
            [self.stage, self.bar, self.status, below, self.seeds, self.warned],
            layout=W.Layout(overflow="visible", grid_gap="6px"),
        )
        self.add_class("sag-screen")
        self.say("ready")

    def say(self, words: str) -> None:
        """What is going on, for screen readers too."""
        self.status.value = f'<span role="status">{escape(words)}</span>'

    def clear(self, settings: Sequence[Settings], warnings: Sequence[str] = ()) -> None:
        """Ready for runs of these settings that begin now, and what there is to warn of."""
        self.began, self.last, self.cleared = time.monotonic(), 0.0, True
        self.remove_class(COVERED)
        self.bar.value = 0
        self.say("starting")
        self.warned.warn(*warnings)
        for picture, own in zip(self.pictures, settings, strict=True):
            picture.title, picture.ratio = named(own.guidance), _ratio(own)
        for place in self.links:
            place.value = ""
        self.seeds.show([((), (), words) for words in _seeds(settings[0])])
        self.seeds.enable(False)

    def follow(self, steps: Sequence[Step], total: int) -> None:
        """Show the step that both runs have come to, unless the last one was shown a moment ago."""
        now, done = time.monotonic(), steps[0].number
        if now - self.last < EVERY:
            return
        self.last = now
        self.bar.max, self.bar.value = total, done
        self.status.value = f"Step {done} of {total}, {time_left(now - self.began, done, total)}"
        for picture, step in zip(self.pictures, steps, strict=True):
            first = rough(step, self.model)[0]
            picture.show(to_jpeg(first), f"preview at step {done} of {total}")

    def present(self, made: Made) -> None:
        """Show what a run left."""
        self.made, self.cleared, first = made, False, made.traces[0]
        self.bar.max = first.evaluations
        self.bar.value = len(first) or first.evaluations
        self.say(made.words)
        self.warned.warn(*made.warnings)
        seeds = _seeds(first.settings)
        self.seeds.show([(made.small(n), made.names, words) for n, words in enumerate(seeds)])
        self.seeds.enable(True)
        self.look(0)

    def end(self) -> None:
        """Where a run has left nothing, what was there before."""
        if self.cleared and self.made is not None:
            self.present(self.made)

    def look(self, image: int) -> None:
        """Show one seed of the run."""
        made = self.made
        if made is None:
            return
        self.image = image
        self.seeds.mark(image)
        seed = made.traces[0].settings.seeds[image]
        words = made.words if made.images == 1 else f"{made.words}: seed {seed}"
        parts = zip(
            made.names,
            self.pictures,
            self.links,
            made.pair(image),
            made.settings(image),
            strict=True,
        )
        for name, picture, place, content, settings in parts:
            picture.title, picture.ratio = name, _ratio(settings)
            picture.show(smooth(content), words)
            label = {"aria-label": f"Download the {name} picture"}
            file = f"{file_stem(settings)}.png"
            place.value = link(content, "image/png", file, f"Download {name}", **label)


def _ratio(settings: Settings) -> float:
    """Height over width of its pictures."""
    return settings.size[0] / settings.size[1]


def _seeds(settings: Settings) -> list[str]:
    """The seeds of a run that has several, in words."""
    return [f"seed {seed}" for seed in settings.seeds] if settings.images > 1 else []
