"""`Scrubber`: the player as a widget. Moving through the steps happens in the page and asks nothing
of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import ipywidgets as W
import traitlets

from sagviz import describe
from sagviz.checks import check_kind
from sagviz.errors import ArgumentError
from sagviz.player import PAGE_BYTES, SCRIPT, STYLE, WIDGET, fragment
from sagviz.player.pack import pack
from sagviz.player.planes import colours
from sagviz.plot.panels import step_panel
from sagviz.records.trace import Trace
from sagviz.widgets.common.controls import Number
from sagviz.widgets.common.layout import flow
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.optional import anywidget
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Choice, Whole
from sagviz.widgets.common.view import View

# the same names in Python, in the page and in `widget.js`
FOLLOWED = ("index", "panes", "playing", "view", "front")


class ScrubberSettings(WidgetSettings):
    """What is shown of the packed runs, and how."""

    widget = "Scrubber"
    derived = ("panes",)

    index = Whole(0, min=0, max=998, help="position among the shown steps, from 0 (0)")
    panes = traitlets.List(traitlets.Unicode(), help="names of the pictures that are shown")
    playing = traitlets.Bool(False, help="whether it plays (False)")
    view = Choice(
        ["beside", "flip", "difference"], "beside", help="how several runs are shown (beside)"
    )
    front = Whole(0, min=0, max=998, help="which run is seen in the flip view, from 0 (0)")

    def __init__(self, data: Mapping[str, Any], **options: Any) -> None:
        self.data = data
        super().__init__(**options)

    @property
    def choices(self) -> list[str]:
        """Names of all pictures that the runs have."""
        return [name for name, _ in self.data["panes"]]

    @traitlets.default("panes")
    def _default_panes(self) -> list[str]:
        return list(self.data["shown"])

    @traitlets.validate("panes")
    def _known(self, proposal: Any) -> list[str]:
        unknown = [name for name in proposal["value"] if name not in self.choices]
        if unknown:
            raise ArgumentError(
                f"panes has {', '.join(unknown)}; these traces have {', '.join(self.choices)}"
            )
        return proposal["value"]

    @traitlets.validate("index", "front")
    def _within(self, proposal: Any) -> int:
        runs, name, value = self.data["runs"], proposal["trait"].name, proposal["value"]
        count, things = len(runs), "runs"
        if name == "index":
            count, things = max(len(run["steps"]) for run in runs), "steps"
        if value >= count:
            raise ArgumentError(
                f"{name} is {value}; there are {count} {things} to show, counted from 0"
            )
        return value


class Scrubber(View):
    """The steps of one run, or of several in lockstep: slider, play, keys, pictures of one's
    choice, curves and words.

    With anywidget everything happens in the page. Python's traits then follow the page only while
    something observes this widget (`scrubber.observe(...)`), so that a step costs no message;
    setting them from Python always works. Without anywidget plain ipywidgets show the pictures with
    the kernel's help: no difference view, no scale sliders.

    Example:
        >>> import sagviz as sv
        >>> pair = sv.compare(sv.load(), "a fox", steps=2, progress=False)
        >>> scrubber = sv.Scrubber(pair, index=1, panes=["x_t", "attention"])
        >>> scrubber.choices[:3]
        ['x_t', 'x0_hat', 'attention']
        >>> scrubber.close()

    Args:
        traces: one trace, or several of the same kind of model; loaded ones will do, no model is
            needed.
        options: the traits below.

    Attributes:
        index: position among the shown steps, from 0 (0).
        panes: names of the pictures, e.g. ["x_t", "attention", "x0_guided"] (eight of them);
            `choices` lists all.
        playing: whether it plays (False).
        view: of several runs: "beside" each other, "flip" or "difference" ("beside").
        front: which run, from 0, is seen in the flip view, and is compared with the first in the
            difference view (0).

    Raises:
        ArgumentError: no trace, an unknown option or pane, an index beyond the end.
        TraceError: a trace without a step.
    """

    settings_type = ScrubberSettings
    settings: ScrubberSettings

    def __init__(self, traces: Trace | Sequence[Trace], **options: Any) -> None:
        several = isinstance(traces, Iterable) and not isinstance(traces, Trace | str)
        self.traces: list[Any] = list(traces) if several else [traces]
        for trace in self.traces:
            wanted = "what sv.trace returned; sv.Trace.load(path) reads one from a file"
            check_kind("a trace", trace, Trace, wanted)
        super().__init__(pack(self.traces, PAGE_BYTES), **options)
        shown = {name: getattr(self.settings, name) for name in FOLLOWED}
        if anywidget is None:
            self.stage: Any = PlainStage(self.traces, self.notice, **shown)
        else:
            self.stage = Stage(data=self.settings.data, **shown)
        for name in FOLLOWED:
            traitlets.link((self.settings, name), (self.stage, name))
        self.fill(self.stage)

    @property
    def choices(self) -> list[str]:
        """Names of all pictures that these traces have."""
        return self.settings.choices

    def observe(self, *args: Any, **options: Any) -> None:
        """As every widget's; from now on the page tells the kernel about each step."""
        super().observe(*args, **options)
        if hasattr(self, "stage"):
            self.stage.watched = True

    def static_html(self) -> str:
        return fragment(self.traces)


class Followed(traitlets.HasTraits):
    """What both kinds of stage share with the Scrubber."""

    index = traitlets.Int(0).tag(sync=True)
    panes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    view = traitlets.Unicode("beside").tag(sync=True)
    front = traitlets.Int(0).tag(sync=True)
    watched = traitlets.Bool(False, help="whether the page reports what the reader does").tag(
        sync=True
    )


class PlainStage(W.VBox, Followed):
    """Slider, number box, play button and pictures from the kernel, for notebooks without
    anywidget.
    """

    def __init__(self, traces: Sequence[Trace], notice: Notice, **shown: Any) -> None:
        super().__init__(**shown)
        self.notice, last = notice, max(map(len, traces)) - 1
        self.traces = [replace(trace, latent_rgb=colours(trace, traces)) for trace in traces]
        self.step = Number("Step", self.index, 0, last, words="which of the steps is shown, from 0")
        self.play = W.Play(
            value=self.index, min=0, max=last, interval=200, description="play the steps"
        )
        traitlets.link((self, "index"), (self.step, "value"))
        traitlets.link((self.play, "value"), (self.step, "value"))
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
            self.pictures.value = "".join(map(self._run, runs))

    def _run(self, trace: Trace) -> str:
        share = self.index / max(1, self.step.slider.max)
        step = trace[round(share * (len(trace) - 1))]
        panels = step_panel(trace, step)
        chosen = tuple(panel for panel in panels.panels if panel.name in self.panes)
        words = (
            f"<b>{escape(describe.of_guidance(trace.settings.guidance))}.</b>"
            f" {escape(describe.of_step(step, trace.evaluations))}"
        )
        return f"<p>{words}</p>{replace(panels, panels=chosen)._repr_html_()}"


if anywidget is not None:

    class Stage(anywidget.AnyWidget, Followed):
        """The player itself, run by the page from data that is sent once."""

        _esm = SCRIPT + WIDGET
        _css = STYLE
        data = traitlets.Dict(help="see `player.pack`").tag(sync=True)
