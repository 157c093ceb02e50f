"""The number of steps: a box, a slider on which each factor is as long as any other, presets."""

from __future__ import annotations

from functools import partial
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.widgets.common.controls import Number, button, css_class
from sagviz.widgets.common.layout import flow, stack
from sagviz.widgets.playground.labels import TITLES
from sagviz.widgets.playground.settings import FormSettings

PRESETS = {20: "a quick look", 50: "usual", 200: "for quality"}
STOPS = 60  # of the slider, about


class LogNumber(Number):
    """Box and slider of a whole number; the slider's places are at equal ratios, and it says
    something only when it is moved, so that a number between two places stays as it is.
    """

    def __init__(self, label: str, value: int, low: int, high: int, *, words: str) -> None:
        ratio = (high / low) ** (1 / STOPS)
        every = {round(low * ratio**place) for place in range(STOPS + 1)}
        self.stops = sorted(every | {low, high, *PRESETS})
        super().__init__(label, value, low, high, words=words)

    def _slider(self) -> W.IntSlider:
        made = super()._slider()
        made.min, made.max, made.value = 0, len(self.stops) - 1, self._nearest()
        return made

    def _nearest(self) -> int:
        """The place of the stop that is nearest by ratio."""
        off = [max(stop / self.value, self.value / stop) for stop in self.stops]
        return off.index(min(off))

    def _move(self, place: int) -> None:
        if place != self._nearest():
            self.value = self.stops[place]


def steps(settings: FormSettings) -> W.Widget:
    """The control of the setting, with a button for each preset."""
    trait: Any = settings.traits()["steps"]
    number = LogNumber(TITLES["steps"], settings.steps, trait.min, trait.max, words=trait.help)
    traitlets.link((settings, "steps"), (number, "value"))
    number.add_class(css_class("steps"))
    presets = [_preset(settings, count, words) for count, words in PRESETS.items()]
    return stack(number, flow(*presets, name="sag-presets"))


def _preset(settings: FormSettings, count: int, words: str) -> W.Button:
    made = button(str(count), f"{count} steps: {words}")
    made.on_click(partial(_set_steps, settings, count))
    made.add_class("sag-chip")
    return made


def _set_steps(settings: FormSettings, count: int, _: object) -> None:
    settings.steps = count
