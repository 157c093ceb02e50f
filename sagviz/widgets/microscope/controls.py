"""The controls of the Microscope: each tied to its setting, and set back by a button beside it."""

from __future__ import annotations

from typing import Any

import ipywidgets as W

from sagviz.attention.layers import find_layer, path_of, self_attentions
from sagviz.guidance import CFG, MASK_SOURCES, SAG, Term
from sagviz.widgets.common.controls import (
    Number,
    action_button,
    control,
    css_class,
    labelled,
    number_of,
)
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.worker import Later
from sagviz.widgets.microscope.lit import row_class
from sagviz.widgets.microscope.settings import SWITCHED, StepSettings, same, scale_name

WIDEST = 25  # taps that the menu goes up to: those of sigma = 3


class Controls(W.VBox):
    """All controls of what a step of the run has its own value of, one under the other.

    Attributes:
        resets: the button that sets each setting back, by its name.
    """

    def __init__(self, settings: StepSettings, notice: Notice, later: Later) -> None:
        self.settings, self.notice, self.later = settings, notice, later
        self.resets: dict[str, W.Button] = {}
        # of each menu: words and the value that they stand for
        self.offers: dict[str, dict[str, Any]] = {}
        # a change of the others may need a U-Net call, and waits until the hand rests
        self.free = {"index", "image", *map(scale_name, settings.kinds)}
        titles, sources = SAG.field_titles, {words: name for name, words in MASK_SOURCES.items()}
        self.heads = self._menu("heads", "heads", self._heads())
        rows = {
            "threshold": self.number("threshold", titles["threshold"], 0.05),
            "blur_sigma": self.number("blur_sigma", titles["blur_sigma"], 0.1),
            "blur_kernel": self._menu("blur_kernel", titles["blur_kernel"], self._taps()),
            "mask_source": self._menu("mask_source", "mask from", sources),
            "layer": self._menu("layer", "layer", self._layers()),
            "heads": self.heads,
        }
        settings.observe(lambda _: notice.attempt(self._offer_heads), "layer")
        super().__init__(
            [self._row(name, made) for name, made in {**self._scales(), **rows}.items()],
            layout=W.Layout(width="100%", overflow="visible", grid_gap="6px"),
        )

    def refresh(self) -> None:
        """A button is dim where there is nothing to set back."""
        own = self.settings.own(self.settings.index)
        for name, again in self.resets.items():
            again.disabled = same(getattr(self.settings, name), own[name])

    def number(self, name: str, label: str, step: float = 1, first: int = 0) -> Number:
        """Box and slider of a setting that is a number; `first` as in `number_of`."""
        made = number_of(self.settings, name, label, step, first=first)

        def to_setting(change: Any) -> None:
            value = change.new - first
            if same(value, getattr(self.settings, name)):
                return
            if name in self.free:
                self._set(name, value)
            else:
                self.later.do(lambda: self._set(name, value))

        def to_control(_: object) -> None:
            if not self.later.pending:  # else the slider has moved on since
                made.value = getattr(self.settings, name) + first

        made.observe(to_setting, "value")
        self.settings.observe(to_control, name)
        return made

    def _scales(self) -> dict[str, W.Widget]:
        """The scale of each term that acts or may, after the switch of those that have one."""
        rows: dict[str, W.Widget] = {}
        for kind in self.settings.kinds:
            if kind is CFG and not self.settings.model.reads_text:
                continue
            if kind in SWITCHED:
                switch = f"use_{kind.name}"
                rows[switch] = control(self.settings, switch, f"{kind.title} acts")
            name = scale_name(kind)
            rows[name] = self.number(name, scale_label(kind), kind.scale_step)
        return rows

    def _menu(self, name: str, label: str, offers: dict[str, Any]) -> W.Dropdown:
        """Menu of a setting: words for its values; those that it does not offer are added as they
        are.
        """
        menu = labelled(
            W.Dropdown(description=label, options=list(offers)), self.settings.traits()[name].help
        )
        self.offers[name] = offers

        def to_menu(_: object = None) -> None:
            value = getattr(self.settings, name)
            if not any(same(value, offered) for offered in self.offers[name].values()):
                self.offers[name] = {**self.offers[name], str(value): value}
            menu.options = list(self.offers[name])
            menu.value = next(
                words for words, offered in self.offers[name].items() if same(value, offered)
            )

        def to_setting(change: Any) -> None:
            if change.new is not None and not same(
                self.offers[name][change.new], getattr(self.settings, name)
            ):
                self.later.do(lambda: self._set(name, self.offers[name][change.new]))

        to_menu()
        menu.observe(to_setting, "value")
        self.settings.observe(to_menu, name)
        menu.add_class(css_class(name))
        return menu

    def _row(self, name: str, made: W.Widget) -> W.Widget:
        """A control and the button that sets it back."""
        words = f"set {name} to the run's own value"
        again = action_button(self.notice, "Reset", words, lambda: self.settings.reset(name))
        self.resets[name] = again
        terms = {each: kind.name for kind in self.settings.kinds for each in _names_of(kind)}
        again.add_class(f"sag-reset-{name.replace('_', '-')}")
        again.layout.flex = "0 0 auto"
        made.layout.flex, made.layout.width, made.layout.min_width = "1 1 auto", "auto", "0"
        # on narrow pages a menu stands under its label, and a slider under its box
        beside = "flex-end" if isinstance(made, W.Dropdown) else "flex-start"
        row = W.HBox(
            [made, again],
            layout=W.Layout(width="100%", overflow="visible", align_items=beside, grid_gap="8px"),
        )
        row.add_class(row_class(terms.get(name, SAG.name)))
        return row

    def _set(self, name: str, value: Any) -> None:
        self.notice.attempt(lambda: setattr(self.settings, name, value))

    def _layers(self) -> dict[str, Any]:
        network = self.settings.model.network
        middle, paths = path_of(network, "mid"), self_attentions(network)
        mid = {"middle block": "mid"} if middle in paths else {}
        return {**mid, **{_layer_words(path): path for path in paths if path != middle}}

    def _heads(self) -> dict[str, Any]:
        count = find_layer(self.settings.model.network, self.settings.layer).heads
        return {"all": None, **{f"head {head}": (head,) for head in range(count)}}

    def _taps(self) -> dict[str, Any]:
        most = min(2 * min(self.settings.grid) - 1, WIDEST)
        return {"automatic": None, **{str(taps): taps for taps in range(1, most + 1, 2)}}

    def _offer_heads(self) -> None:
        self.offers["heads"] = self._heads()
        self.heads.options = list(self.offers["heads"])


def _names_of(kind: type[Term]) -> tuple[str, str]:
    """Of the settings of a term that are not SAG's alone: its switch and its scale."""
    return f"use_{kind.name}", scale_name(kind)


def scale_label(kind: type[Term]) -> str:
    """Of the slider of a term's scale: "SAG scale"."""
    return kind.title if "scale" in kind.title else f"{kind.title} scale"


def _layer_words(path: str) -> str:
    """`down_blocks.1.attentions.0.transformer_blocks.0.attn1` as people say it."""
    numbers = [int(part) for part in path.split(".") if part.isdigit()]
    side = path.partition("_")[0]
    if side not in ("down", "mid", "up"):  # of a transformer, whose blocks have names of their own
        blocks, layer = path.partition(".")[0].replace("_", " "), path.rpartition(".")[2]
        return f"{blocks} {numbers[0]}, {layer}"
    where = "middle block" if side == "mid" else f"{side} block {numbers[0]}"
    rest = numbers if side == "mid" else numbers[1:]
    return f"{where}, attention {' / '.join(map(str, rest))}"
