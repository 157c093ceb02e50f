"""Two pictures side by side, CFG and CFG + SAG, as they come into being, and what a run leaves of
them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as W

from sagviz.checks import shortened
from sagviz.describe import file_stem
from sagviz.errors import ArgumentError
from sagviz.guidance import CFG
from sagviz.html import link
from sagviz.image import png_texts, preview, to_jpeg, to_png
from sagviz.models import Model
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.widgets.common.controls import progress_bar
from sagviz.widgets.common.layout import flow, stack, text
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.common.still import live
from sagviz.widgets.common.time_left import time_left

if TYPE_CHECKING:
    from PIL.Image import Image

NAMES = ("CFG", "CFG + SAG")
WITHOUT_TEXT = ("plain", "SAG")  # of a model that has no CFG
EVERY = 1 / 15  # seconds between two previews: a run must not wait for its display
PREVIEW, THUMBNAIL = 256, 72  # pixels of the longer side
LONGEST = 100  # letters of a prompt in words about a run


@dataclass(frozen=True, eq=False)
class Made:
    """What a run left: its traces (cfg, cfg_sag), its pictures as PNG with settings inside, small
    ones as JPEG, some words.
    """

    traces: tuple[Trace, ...]
    pictures: tuple[bytes, ...]
    thumbnails: tuple[bytes, ...]
    words: str

    @staticmethod
    def of(traces: Sequence[Trace], model: Model) -> Made:
        """Of traces with at least one step. A run that was stopped has the prediction that it had
        reached for a picture.
        """
        pictures = [trace.image if trace.pictures else rough(trace[-1], model) for trace in traces]
        notes = [{"sagviz": json.dumps(trace.settings.to_json())} for trace in traces]
        return Made(
            tuple(traces),
            tuple(to_png(picture, note) for picture, note in zip(pictures, notes, strict=True)),
            tuple(to_jpeg(scaled(picture, THUMBNAIL)) for picture in pictures),
            in_words(traces[-1]),
        )

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called."""
        return NAMES if self.traces[0].settings.guidance.get(CFG) else WITHOUT_TEXT

    @property
    def nbytes(self) -> int:
        """Bytes of the steps."""
        return sum(trace.nbytes for trace in self.traces)

    @property
    def thinned(self) -> Made:
        """The same without its steps."""
        return replace(self, traces=tuple(replace(trace, steps=()) for trace in self.traces))


class Screen(W.VBox):
    """Pictures with download links, a bar and a line of words below."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.began = self.last = 0.0
        height, width = model.default_size
        names = NAMES if model.reads_text else WITHOUT_TEXT
        self.pictures = [Picture(name, ratio=height / width) for name in names]
        self.links = [live(W.HTML()) for _ in names]
        self.bar, self.status = progress_bar("100%", "10px"), text("sag-status")
        sides = []
        for picture, place in zip(self.pictures, self.links, strict=True):
            picture.layout.width = "100%"
            sides.append(stack(picture, place, flex="1 1 180px", max_width="320px"))
        super().__init__(
            [flow(*sides), self.bar, self.status],
            layout=W.Layout(overflow="visible", grid_gap="6px"),
        )
        self.clear()

    def clear(self) -> None:
        """Ready for a run that begins now."""
        self.began, self.last = time.monotonic(), 0.0
        self.bar.value, self.status.value = 0, "ready"
        for place in self.links:
            place.value = '<span class="sag-link sag-quiet">no picture yet</span>'

    def follow(self, steps: Sequence[Step], total: int) -> None:
        """Show the step that both runs have come to, unless the last one was shown a moment ago."""
        now, done = time.monotonic(), steps[0].number
        if now - self.last < EVERY:
            return
        self.last = now
        self.bar.max, self.bar.value = total, done
        self.status.value = f"Step {done} of {total}, {time_left(now - self.began, done, total)}"
        for picture, step in zip(self.pictures, steps, strict=True):
            picture.show(to_jpeg(rough(step, self.model)), f"preview at step {done} of {total}")

    def present(self, made: Made) -> None:
        """Show what a run left."""
        first = made.traces[0]
        parts = zip(made.names, self.pictures, self.links, made.pictures, made.traces, strict=True)
        for name, picture, place, content, trace in parts:
            picture.show(content, made.words)
            file = f"{file_stem(trace.settings)}.png"
            label = {"aria-label": f"Download the {name} picture"}
            place.value = link(content, "image/png", file, "Download PNG", **label)
        self.bar.max = first.evaluations
        self.bar.value = len(first) or first.evaluations
        self.status.value = f'<span role="status">{escape(made.words)}</span>'


def rough(step: Step, model: Model) -> Image:
    """What the guided prediction means, in the colours of latents: quick, and without detail."""
    return scaled(preview(step.x0_guided, model.latent_rgb)[0], PREVIEW)


def scaled(picture: Image, longest: int) -> Image:
    factor = longest / max(picture.size)
    return picture.resize((round(picture.width * factor), round(picture.height * factor)))


def in_words(trace: Trace) -> str:
    """A run in a few words."""
    settings, guidance = trace.settings, trace.settings.guidance
    stopped = "" if trace.pictures else f", stopped after {len(trace)}"
    scales = ", ".join(f"{term.title} {term.scale:g}" for term in guidance.terms)
    prompt = shortened(settings.caption, LONGEST) or "no prompt"
    return f"{prompt}, seed {settings.seed}, {scales}, {settings.steps} steps{stopped}"


def read_settings(content: bytes) -> Settings:
    """The settings inside a PNG.

    Raises:
        ArgumentError: it is no picture, has none, or has those of another version.
    """
    try:
        noted = json.loads(png_texts(content)["sagviz"])
    except (OSError, KeyError, ValueError, RecursionError) as error:
        raise ArgumentError(
            "this file holds no settings of sagviz; give a PNG that was downloaded here or that"
            " sagviz generate made"
        ) from error
    return Settings.from_json(noted)
