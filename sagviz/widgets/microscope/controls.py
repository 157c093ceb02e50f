"""The controls of the Microscope: each tied to its trait, and set back by a button beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as W

from sagviz.attention.layers import find_layer, path_of, self_attentions
from sagviz.widgets.common.later import Later
from sagviz.widgets.common.parts import Number, button, labelled
from sagviz.widgets.microscope.settings import OTHERS, same

if TYPE_CHECKING:
    from sagviz.widgets.microscope.microscope import Microscope

LABELS: dict[str, tuple[str, float]] = {  # and the slider's step
    "index": ("Step", 1),
    "image": ("Image", 1),
    "cfg_scale": ("CFG scale w", 0.1),
    "sag_scale": ("SAG scale s", 0.05),
    "pag_scale": ("PAG scale", 0.1),
    "seg_scale": ("SEG scale", 0.1),
    "cg_scale": ("CG scale", 0.1),
    "apg_scale": ("APG scale", 0.1),
    "rescale_scale": ("Rescale φ", 0.05),
    "threshold": ("threshold ψ", 0.05),
    "blur_sigma": ("blur σ", 0.1),
}
SOURCES: dict[str, Any] = {
    "attention above ψ": "attention",
    "nothing: blur all": "none",
    "chance, equal area": "random",
    "fine detail, equal area": "high-frequency",
    "least attended, equal area": "inverted",
}
# a change of the others waits until the hand rests
AT_ONCE = ("index", "image", "cfg_scale", "sag_scale", *OTHERS)
WIDEST = 25  # taps that the menu goes up to: those of sigma = 3


class Controls(W.VBox):
    """All controls of what a step of the run has its own value of, one under the other."""

    def __init__(self, scope: Microscope) -> None:
        self.scope, self.later = scope, Later()
        self.resets: dict[str, W.Button] = {}
        # of each menu: words and the value that they stand for
        self.offers: dict[str, dict[str, Any]] = {}
        self.heads = self._menu("heads", "heads", self._heads())
        limits = scope.limits()
        rows = []
        of_text = [("use_cfg", "cfg_scale", "CFG acts")] if scope.model.reads_text else []
        for switch, name, words in (*of_text, ("use_sag", "sag_scale", "SAG acts")):
            rows += [
                self._row(switch, scope.control(switch, words)),
                self._row(name, self.number(name, *limits[name])),
            ]
        others = dict.fromkeys(
            name for index in range(len(scope.trace)) for name in scope.others(index)
        )
        rows += [
            self._row(name, self.number(name, *limits[name]))
            for name in (*others, "threshold", "blur_sigma")
        ]
        rows += [self._row("blur_kernel", self._menu("blur_kernel", "blur taps", self._taps()))]
        rows += [self._row("mask_source", self._menu("mask_source", "mask from", SOURCES))]
        rows += [
            self._row("layer", self._menu("layer", "layer", self._layers())),
            self._row("heads", self.heads),
        ]
        scope.observe(self._offer_heads, "layer")
        super().__init__(rows, layout=W.Layout(width="100%", overflow="visible", grid_gap="6px"))

    def refresh(self) -> None:
        """A button is dim where there is nothing to set back."""
        own = self.scope.own(self.scope.index)
        for name, again in self.resets.items():
            again.disabled = same(getattr(self.scope, name), own[name])

    def number(self, name: str, low: float, high: float) -> Number:
        """Box and slider of a trait that is a number."""
        label, step = LABELS[name]
        words = self.scope.traits()[name].help
        return self._tied(
            name, Number(label, getattr(self.scope, name), low, high, step, words=words)
        )

    def _menu(self, name: str, label: str, offers: dict[str, Any]) -> W.Dropdown:
        """Menu of a trait: words for its values; those that it does not offer are added as they
        are.
        """
        menu = labelled(
            W.Dropdown(description=label, options=list(offers)), self.scope.traits()[name].help
        )
        self.offers[name] = offers

        def to_menu(_: object = None) -> None:
            value = getattr(self.scope, name)
            if not any(same(value, offered) for offered in self.offers[name].values()):
                self.offers[name] = {**self.offers[name], str(value): value}
            menu.options = list(self.offers[name])
            menu.value = next(
                words for words, offered in self.offers[name].items() if same(value, offered)
            )

        def to_trait(change: Any) -> None:
            if change.new is not None and not same(
                self.offers[name][change.new], getattr(self.scope, name)
            ):
                self.later.do(lambda: self._set(name, self.offers[name][change.new]))

        to_menu()
        menu.observe(to_trait, "value")
        self.scope.observe(to_menu, name)
        menu.add_class(f"sag-{name.replace('_', '-')}")
        return menu

    def _row(self, name: str, control: W.Widget) -> W.Widget:
        """A control and the button that sets it back."""
        again = self.resets[name] = button("Reset", f"set {name} to the run's own value")
        again.on_click(lambda _: self.scope.reset(name))
        again.add_class(f"sag-reset-{name.replace('_', '-')}")
        again.layout.flex = "0 0 auto"
        control.layout.flex, control.layout.width, control.layout.min_width = (
            "1 1 auto",
            "auto",
            "0",
        )
        return W.HBox(
            [control, again],
            layout=W.Layout(width="100%", overflow="visible", align_items="center", grid_gap="8px"),
        )

    def _tied(self, name: str, control: Any) -> Any:
        """Tie a control to its trait. What may need a U-Net call waits until the hand rests."""

        def to_trait(change: Any) -> None:
            if same(change.new, getattr(self.scope, name)):
                return
            if name in AT_ONCE:
                self._set(name, change.new)
            else:
                self.later.do(lambda: self._set(name, change.new))

        def to_control(_: object = None) -> None:
            if not self.later.pending:  # else the hand is already further
                control.value = getattr(self.scope, name)

        to_control()
        control.observe(to_trait, "value")
        self.scope.observe(to_control, name)
        control.add_class(f"sag-{name.replace('_', '-')}")
        return control

    def _set(self, name: str, value: Any) -> None:
        with self.scope.guarded():
            setattr(self.scope, name, value)

    def _layers(self) -> dict[str, Any]:
        unet = self.scope.model.unet
        middle, paths = path_of(unet, "mid"), self_attentions(unet)
        mid = {"middle block": "mid"} if middle in paths else {}
        return {**mid, **{_layer_words(path): path for path in paths if path != middle}}

    def _heads(self) -> dict[str, Any]:
        count = find_layer(self.scope.model.unet, self.scope.layer).heads
        return {"all": None, **{f"head {head}": (head,) for head in range(count)}}

    def _taps(self) -> dict[str, Any]:
        most = min(2 * min(self.scope.trace[0].x_t.shape[2:]) - 1, WIDEST)
        return {"automatic": None, **{str(taps): taps for taps in range(1, most + 1, 2)}}

    def _offer_heads(self, _: object) -> None:
        """Another layer may have other heads: a choice of heads is given up for all."""
        with self.scope.guarded(), self.scope.held():
            self.scope.heads = None
            self.offers["heads"] = self._heads()
            self.heads.options = list(self.offers["heads"])


def _layer_words(path: str) -> str:
    """`down_blocks.1.attentions.0.transformer_blocks.0.attn1` as people say it."""
    numbers = [int(part) for part in path.split(".") if part.isdigit()]
    side = path.partition("_")[0]
    where = "middle block" if side == "mid" else f"{side} block {numbers[0]}"
    rest = numbers if side == "mid" else numbers[1:]
    return f"{where}, attention {' / '.join(map(str, rest))}"
