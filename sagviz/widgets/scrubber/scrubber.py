"""`Scrubber`: the player as a widget. Moving through the steps happens in the page and asks nothing
of the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import traitlets

from sagviz.errors import ArgumentError
from sagviz.html import table
from sagviz.models import Model
from sagviz.player import PAGE_BYTES, fragment
from sagviz.player.document import strips
from sagviz.player.pack import leading, pack
from sagviz.plot.curves import guidance_curves
from sagviz.records.about_runs import as_traces
from sagviz.records.trace import Trace
from sagviz.widgets.common.layout import heading
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Choice, Whole
from sagviz.widgets.common.view import View
from sagviz.widgets.scrubber.face import coloured, in_step
from sagviz.widgets.scrubber.stage import stage

# the same names in Python, in the page and in `widget.js`
FOLLOWED = ("index", "panes", "playing", "view", "front", "base")


class ScrubberSettings(WidgetSettings):
    """What is shown of the packed runs, and how."""

    widget = "Scrubber"
    derived = ("index", "panes")

    index = Whole(
        0, min=0, max=998, help="position among the shown steps, from 0 here (the middle one)"
    )
    panes = traitlets.List(traitlets.Unicode(), help="names of the pictures that are shown")
    playing = traitlets.Bool(False, help="whether it plays (False)")
    view = Choice(
        ["beside", "flip", "difference"], "beside", help="how several runs are shown (beside)"
    )
    front = Whole(0, min=0, max=998, help="which run is seen in the flip view, from 0 (0)")
    base = Whole(0, min=0, max=998, help="which run the one in front is compared with, from 0 (0)")

    def __init__(self, data: Mapping[str, Any], **options: Any) -> None:
        self.data = data
        super().__init__(**{"index": data["index"], **options})

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

    @traitlets.validate("index", "front", "base")
    def _within(self, proposal: Any) -> int:
        runs, name, value = self.data["runs"], proposal["trait"].name, proposal["value"]
        count, things = len(runs), "runs"
        if name == "index":
            count, things = len(leading(runs)["steps"]), "steps"
        if value >= count:
            raise ArgumentError(
                f"{name} is {value}; there are {count} {things} to show, counted from 0"
            )
        return value


class Scrubber(View):
    """The steps of one run, or of several in lockstep: slider, play, keys, pictures of one's
    choice, curves and words.

    With anywidget everything happens in the page. Python's traits then follow the page when the
    hand rests, or at once while something observes this widget (`scrubber.observe(...)`), so that a
    step costs no message; setting them from Python always works. Without anywidget plain ipywidgets
    show the pictures with the kernel's help: no difference view, no scale sliders.

    Example:
        >>> import sagviz as sv
        >>> pair = sv.compare(sv.load(), "a fox", steps=2, progress=False)
        >>> scrubber = sv.Scrubber(pair, index=1, panes=["x_t", "attention"])
        >>> scrubber.choices[:3]
        ['x_t', 'x0_hat', 'attention']
        >>> scrubber.close()

    Args:
        traces: one trace, or several of the same kind of model; loaded ones will do.
        model: decodes the predictions, two for each step; without it they have their previews.
        options: the traits below.

    Attributes:
        index: position among the shown steps, from 0 (the middle one); words and pictures count
            steps from 1.
        panes: names of the pictures, e.g. ["x_t", "attention", "x0_guided"] (eight of them);
            `choices` lists all.
        playing: whether it plays (False).
        view: of several runs: "beside" each other, "flip" or "difference" ("beside").
        front: which run, from 0, is seen in the flip view (0).
        base: which run, from 0, the one in front is compared with in the difference view (0); the
            first where they are the same, and with the first the last.
        large: for a projector: text of 18 px, pictures of 480 px (False).

    Raises:
        ArgumentError: no trace, an unknown option or pane, an index beyond the end.
        TraceError: a trace without a step.
    """

    settings_type = ScrubberSettings
    settings: ScrubberSettings
    stays_alive = True

    def __init__(
        self, traces: Trace | Sequence[Trace], model: Model | None = None, **options: Any
    ) -> None:
        self.traces = as_traces(traces)
        super().__init__(pack(self.traces, PAGE_BYTES, model=model), **options)
        shown = {name: getattr(self.settings, name) for name in FOLLOWED}
        self.stage: Any = stage(self.traces, self.settings.data, self.notice, **shown)
        for name in FOLLOWED:
            traitlets.link((self.settings, name), (self.stage, name))
        self.fill(heading("Scrubber", f"{self.settings.data['title']}, step by step"), self.stage)

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
        """The player as it was seen last; where no script runs, the step in pictures and words."""
        settings, looks = self.settings, self.stage.looks
        longest = leading(settings.data["runs"])["steps"]
        index = longest[settings.index]["index"]
        names = ("panes", "view", "front", "base")
        state = {**looks, **{name: getattr(settings, name) for name in names}}
        at = settings.index / max(1, len(longest) - 1)
        runs = coloured(self.traces)
        scales = looks.get("scales", [{} for _ in runs])
        parts = [
            in_step(run, at, settings.panes, own) for run, own in zip(runs, scales, strict=True)
        ]
        tables = [table(run["settings"], run["name"]) for run in settings.data["runs"]]
        still = "".join([*parts, *self._curves, strips(runs, index=index), *tables])
        return fragment(self.traces, index=index, state=state, still=still)

    @cached_property
    def _curves(self) -> list[str]:
        guided = [trace for trace in self.traces if trace.acting]
        return [guidance_curves(trace)._repr_html_() for trace in guided]
