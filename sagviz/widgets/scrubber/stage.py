"""The stage of the Scrubber: the player itself where anywidget is installed, else plain widgets,
which the kernel helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.player import SCRIPT, STYLE, WIDGET
from sagviz.records.trace import Trace
from sagviz.widgets.common.controls import Number
from sagviz.widgets.common.layout import flow
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.optional import anywidget
from sagviz.widgets.scrubber.face import coloured, in_step


class Followed(traitlets.HasTraits):
    """What both kinds of stage share with the Scrubber."""

    index = traitlets.Int(0).tag(sync=True)
    panes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    view = traitlets.Unicode("beside").tag(sync=True)
    front = traitlets.Int(0).tag(sync=True)
    base = traitlets.Int(0).tag(sync=True)
    looks = traitlets.Dict(help="what else the reader chose on the page, such as scales").tag(
        sync=True
    )
    watched = traitlets.Bool(False, help="whether the page reports each step at once").tag(
        sync=True
    )


class PlainStage(W.VBox, Followed):
    """Slider, number box, play button and pictures from the kernel, for notebooks without
    anywidget.
    """

    def __init__(self, traces: Sequence[Trace], notice: Notice, **shown: Any) -> None:
        super().__init__(**shown)
        self.notice, last = notice, max(map(len, traces)) - 1
        self.traces = coloured(traces)
        words = "which of the steps is shown, from 1; `index` counts from 0"
        self.step = Number("Step", self.index + 1, 1, last + 1, words=words)
        self.play = W.Play(
            value=self.index, min=0, max=last, interval=200, description="play the steps"
        )
        from_one = (lambda index: index + 1, lambda number: number - 1)
        traitlets.link((self, "index"), (self.step, "value"), from_one)
        traitlets.link((self, "index"), (self.play, "value"))
        # ipywidgets 7 has another name for it
        playing = "playing" if self.play.has_trait("playing") else "_playing"
        traitlets.link((self, "playing"), (self.play, playing))
        self.pictures = W.HTML(layout=W.Layout(width="100%"))
        self.children = (flow(self.play, self.step), self.pictures)
        self.observe(lambda _: self._draw(), names=["index", "panes", "view", "front"])
        self._draw()

    def _draw(self) -> None:
        with self.notice.guarded():
            runs = [self.traces[self.front]] if self.view == "flip" else self.traces
            at = self.index / max(1, self.play.max)
            self.pictures.value = "".join(in_step(trace, at, self.panes) for trace in runs)


if anywidget is not None:

    class Stage(anywidget.AnyWidget, Followed):
        """The player itself, run by the page from data that is sent once."""

        _esm = SCRIPT + WIDGET
        _css = STYLE
        data = traitlets.Dict(help="see `player.pack`").tag(sync=True)


def stage(traces: Sequence[Trace], data: Mapping[str, Any], notice: Notice, **shown: Any) -> Any:
    """A stage of the kind that works here.

    Args:
        data: what `player.pack` made of the traces.
        notice: where errors are shown.
        shown: what is seen first, by the names of `Followed`.
    """
    if anywidget is None:
        return PlainStage(traces, notice, **shown)
    return Stage(data=data, **shown)
