"""The step under settings that were tried, none of whose predictions is computed twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sagviz.records.step import Step
from sagviz.sampling.what_if import what_if
from sagviz.widgets.microscope.settings import StepSettings

REMEMBERED = 64  # steps under settings that were tried


class Tries:
    """Steps by what their predictions depend on.

    Attributes:
        key: of the step that was looked at last; the same while only a scale changes.
    """

    def __init__(self, settings: StepSettings) -> None:
        self.settings = settings
        self.key: Any = None
        self._known: dict[Any, Step] = {}

    def look(self) -> Step:
        """The step under the present settings, from what is known of it: the trace's own record, or
        an earlier try.
        """
        settings, trace = self.settings, self.settings.trace
        index, guidance, mask = settings.index, settings.guidance, settings.applied_mask
        # predictions do not depend on scales
        terms = tuple(replace(term, scale=0.0) for term in guidance.terms)
        key = (index, terms, None if mask is None else mask.numpy().tobytes())
        steps = list(trace)
        steps[index] = self._known.get(key, trace[index])
        known = replace(trace, steps=tuple(steps))
        step = what_if(settings.model, known, index, guidance=guidance, mask=mask)
        self._known = {**dict(list(self._known.items())[-REMEMBERED:]), key: step}
        self.key = key
        return step
