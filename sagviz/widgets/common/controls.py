"""Labelled controls with a tooltip, and the control of a setting, tied to it both ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.still import still
from sagviz.widgets.common.traits import Amount, Choice, Whole

DECIMALS = 6  # of a number that a slider's steps make: 11 of 0.1 are 1.1
NOISE = 1e-9  # of a number of steps: 0.3 / 0.1 is a little less than 3
NOTHING: Mapping[Any, str] = {}
LABEL = "110px"  # width of the words before a control, so that controls in a column stand in line


def css_class(name: str) -> str:
    """The class on the page of the control of a setting."""
    return f"sag-{name.replace('_', '-')}"


def tip(widget: W.DOMWidget, words: str) -> W.DOMWidget:
    """Give a widget a tooltip; ipywidgets 7 has another name for it."""
    setattr(widget, "tooltip" if widget.has_trait("tooltip") else "description_tooltip", words)
    return widget


def labelled(widget: W.DOMWidget, words: str, width: str = "100%") -> W.DOMWidget:
    """Tooltip and size of a control whose label is its description."""
    widget.style.description_width = LABEL
    widget.layout.width, widget.layout.max_width = width, "100%"
    widget.layout.margin = "0"
    return tip(widget, words)


def checkbox(label: str, words: str, value: bool = False) -> W.Checkbox:
    """A box to tick, as wide as its label."""
    made = tip(W.Checkbox(description=label, value=value, indent=False), words)
    made.layout.width, made.layout.margin = "auto", "0"
    return made


def whole_box(label: str, words: str, low: int, high: int, width: str) -> W.BoundedIntText:
    """A box for a whole number from `low`, which it begins with, to `high`."""
    box = W.BoundedIntText(description=label, value=low, min=low, max=high)
    return labelled(box, words, width)


def button(label: str, words: str, look: str = "") -> W.Button:
    """A button with words on it; `look` is ipywidgets' button_style."""
    made = W.Button(description=label, tooltip=words, button_style=look)
    made.layout.width, made.layout.margin = "auto", "0"
    return made


def action_button(
    notice: Notice, label: str, words: str, action: Callable[[], object], look: str = ""
) -> W.Button:
    """A button that does something; errors are shown in the notice."""
    made = button(label, words, look)
    made.on_click(lambda _: notice.attempt(action))
    return made


def progress_bar(width: str = "200px", height: str = "12px", total: int = 1) -> W.IntProgress:
    """How far something is, of `total`."""
    layout = W.Layout(width=width, height=height, margin="0" if width == "100%" else None)
    return W.IntProgress(min=0, max=total, layout=layout)


class Number(W.HBox):
    """A number box with its label, and beside it a slider, which shows the nearest of its steps
    and says something only when it is moved: a number that lies between two steps stays as it is.
    What is typed is taken as it is or refused in words.

    The slider counts whole steps (30 steps of 0.1 for 3.0), because a page gives those back
    exactly as they were sent, and so never sends what nobody did. It has no accessible name; the
    box has one.
    """

    value = traitlets.Union(
        [traitlets.Int(), traitlets.Float()], help="the number, in the unit that the tooltip says"
    )

    def __init__(
        self,
        label: str,
        value: float,
        low: float,
        high: float,
        step: float = 1,
        *,
        words: str = "",
        slider: bool = True,
    ) -> None:
        self.whole = isinstance(value, int) and isinstance(step, int)
        self.low, self.high, self.step = low, high, step
        # a box with limits would change what is typed beyond them, and tell nobody
        self.box = W.FloatText(description=label, value=value, step=step)
        labelled(self.box, words, "210px").layout.flex = "0 0 auto"
        self.refusal = W.HTML(layout=W.Layout(display="none", margin="0"))
        width = "100%" if slider else "auto"
        layout = W.Layout(flex_flow="row wrap", width=width, margin="0")
        super().__init__(value=value, layout=layout)
        self.box.observe(lambda change: self._take(change.new), "value")
        self.observe(lambda _: self._show(), "value")
        parts = [self.box]
        if slider:
            self.slider = tip(self._slider(), f"{label}: {words}")
            self.slider.observe(lambda change: self._move(change.new), "value")
            self.observe(lambda _: self._follow(), "value")
            parts.append(self.slider)
        self.children = (*parts, self.refusal)
        self.add_class("sag-number")

    def static_html(self) -> str:
        return still(self.box)

    def _take(self, typed: float) -> None:
        """A number from the box, if it is one that may be."""
        if self.low <= typed <= self.high and (typed.is_integer() or not self.whole):
            self.value = int(typed) if self.whole else typed
            self._refuse("")
        else:
            self._show()
            self._refuse(
                f"{self.box.description} is {typed:.12g}; give a {'whole ' * self.whole}number"
                f" from {self.low:g} to {self.high:g}"
            )

    def _show(self) -> None:
        self.box.value = self.value

    def _refuse(self, words: str) -> None:
        """Say why what was typed is not taken, or nothing."""
        self.refusal.value = f'<span class="sag-refusal" role="alert">{escape(words)}</span>'
        self.refusal.layout.display = None if words else "none"

    def _slider(self) -> W.IntSlider:
        room = W.Layout(
            flex="1 1 90px", min_width="90px", max_width="300px", width="auto", margin="0"
        )
        low, high = (
            math.floor(self.low / self.step + NOISE),
            math.ceil(self.high / self.step - NOISE),
        )
        return W.IntSlider(min=low, max=high, value=self._nearest(), readout=False, layout=room)

    def _nearest(self) -> int:
        """The slider's place: how many steps the number is, to the nearest."""
        return round(self.value / self.step)

    def _follow(self) -> None:
        self.slider.value = self._nearest()

    def _move(self, place: int) -> None:
        """The hand has moved the slider there, unless that is where the number is."""
        if place != self._nearest():
            moved = round(place * self.step, DECIMALS)
            self.value = min(max(moved, self.low), self.high)


def number_of(
    settings: traitlets.HasTraits,
    name: str,
    label: str,
    step: float = 1,
    *,
    slider: bool = True,
    first: int = 0,
) -> Number:
    """Box and slider of a setting that is a number; its help is the tooltip.

    Args:
        first: what people call the 0 of a setting that counts.
    """
    trait: Any = settings.traits()[name]
    value, low, high = (each + first for each in (getattr(settings, name), trait.min, trait.max))
    made = Number(label, value, low, high, step, words=trait.help, slider=slider)
    made.add_class(css_class(name))
    return made


def control(
    settings: traitlets.HasTraits,
    name: str,
    label: str,
    step: float = 1,
    *,
    slider: bool = True,
    names: Mapping[Any, str] = NOTHING,
) -> W.DOMWidget:
    """The control of a setting, linked both ways: its help is the tooltip, its class on the page
    is `sag-NAME`.

    Args:
        label: a word or two.
        step: of a number.
        slider: whether a number has one beside its box.
        names: what the values of a choice are called, where they do not speak for themselves.
    """
    trait, value = settings.traits()[name], getattr(settings, name)
    if isinstance(trait, Amount | Whole):
        made: W.DOMWidget = number_of(settings, name, label, step, slider=slider)
    elif isinstance(trait, Choice):
        options = [(names.get(each, str(each)), each) for each in trait.values or ()]
        made = labelled(W.Dropdown(description=label, options=options, value=value), trait.help)
    elif isinstance(trait, traitlets.Bool):
        made = checkbox(label, trait.help, value)
    else:
        plain = W.Text(description=label, value=value, continuous_update=False)
        made = labelled(plain, trait.help)
    traitlets.link((settings, name), (made, "value"))
    made.add_class(css_class(name))
    return made
