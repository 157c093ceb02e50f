"""A picture to start from: put in, seen small, taken out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import ipywidgets as W

from sagviz.image import from_file, to_jpeg
from sagviz.widgets.common.controls import action_button, control, tip
from sagviz.widgets.common.layout import flow, stack
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import image_tag
from sagviz.widgets.playground.labels import TITLES
from sagviz.widgets.playground.made import scaled
from sagviz.widgets.playground.settings import FormSettings

SHOWN = 96  # pixels of the longer side


class StartPicture(W.VBox):
    """The controls of the settings `image` and `strength`."""

    def __init__(self, settings: FormSettings, notice: Notice) -> None:
        self.settings = settings
        words = "a PNG, JPEG or WebP to start from"
        self.upload = uploader(notice, "image/*", "Choose a picture", words, self._take)
        self.remove = action_button(notice, "Take it out", "start from noise", self._remove)
        self.small = W.HTML()
        strength = control(settings, "strength", TITLES["strength"], 0.05)
        super().__init__([stack(flow(self.upload, self.remove, self.small), strength)])
        settings.observe(lambda _: self._show(), ["image", "height", "width"])
        self._show()

    def _take(self, value: Any) -> None:
        self.settings.image = from_file(io.BytesIO(contents(value)[0]), "this file")

    def _remove(self) -> None:
        self.settings.image = None

    def _show(self) -> None:
        picture = self.settings.fitted
        self.remove.disabled = picture is None
        alt = "the picture to start from, as the run takes it"
        self.small.value = (
            "" if picture is None else image_tag(to_jpeg(scaled(picture, SHOWN)), alt)
        )


def uploader(
    notice: Notice, accept: str, label: str, words: str, take: Callable[[Any], None]
) -> W.FileUpload:
    """A button for a file, which holds nothing once it was taken, so that the same file can come
    again. The style sheet writes its label, in place of one with a count of files; `label` is one
    of those that it knows.
    """
    made = W.FileUpload(accept=accept, description="", layout=W.Layout(width="auto"))
    made.add_class("sag-upload")
    made.add_class(f"sag-{label.split()[0].lower()}")

    def uploaded(change: Any) -> None:
        if change.new:
            notice.attempt(lambda: take(change.new))
            made.set_trait("value", type(change.new)())

    made.observe(uploaded, "value")
    return tip(made, words)


def contents(value: Any) -> list[bytes]:
    """What an upload button holds: ipywidgets 7 has a dict of files by name, 8 a tuple."""
    files = list(value.values() if isinstance(value, dict) else value)
    return [bytes(file["content"]) for file in files]
