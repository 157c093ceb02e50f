"""X/Y: any two settings of the form against each other, as a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.checks.texts import whole
from sagviz.errors import ArgumentError
from sagviz.models import SCHEDULERS
from sagviz.sweeps import Sweep, begin
from sagviz.widgets.common.controls import action_button, labelled
from sagviz.widgets.common.layout import stack
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.still import live
from sagviz.widgets.common.traits import Amount
from sagviz.widgets.microscope.settings import scale_name
from sagviz.widgets.playground.labels import title_of
from sagviz.widgets.playground.settings import FormSettings

OF_A_RUN = ("prompt", "seed", "steps", "scheduler")  # no part of the guidance
OF_SAG = ("threshold", "blur_sigma")
OFFERED = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)  # of a scale, those within its range
MOST = 64  # cells
SEPARATOR = {"prompt": ";"}
NONE = "(one only)"


class Cross(W.VBox):
    """Two menus of settings, two boxes for their values, and the button that makes the table.

    Args:
        settings: of the form; what is on neither axis has its value there.
        notice: where errors are shown.
        use: takes the sweep, and the settings that are in its columns and rows.
    """

    def __init__(
        self, settings: FormSettings, notice: Notice, use: Callable[[Sweep, str, str], None]
    ) -> None:
        self.settings, self.use = settings, use
        self.menus, self.boxes = [], []
        for label, first in (("Columns", "sag_scale"), ("Rows", "seed")):
            options = [(title_of(name), name) for name in crossable(settings)]
            menu = W.Dropdown(description=label, options=[*options, (NONE, "")], value=first)
            box = W.Text(description="values", value=offered(settings, first))
            box.continuous_update = False
            menu.observe(lambda change, box=box: self._offer(box, change.new), "value")
            self.menus.append(labelled(menu, f"the setting that changes along the {label.lower()}"))
            self.boxes.append(labelled(box, "its values, with commas between them; ; for prompts"))
        words = "make a picture with SAG for each pair of values, in the Grid below"
        self.go = action_button(notice, "Make the grid", words, self.make)
        rows = [part for pair in zip(self.menus, self.boxes, strict=True) for part in pair]
        super().__init__([stack(*rows, self.go)])
        self.go.layout.align_self = "flex-start"
        live(self)

    def make(self) -> None:
        """Lay the sweep out and hand it on."""
        names = [menu.value for menu in self.menus]
        if names[0] == names[1]:
            raise ArgumentError(
                f"both axes are {title_of(names[0])}; give two settings, or {NONE} for one of them"
                if names[0]
                else "there is no setting on either axis; choose one or two"
            )
        chosen = {
            name: parsed(self.settings, name, box.value)
            for name, box in zip(names, self.boxes, strict=True)
            if name
        }
        self.use(laid_out(self.settings, chosen), *map(column_of, names))

    def _offer(self, box: W.Text, name: str) -> None:
        box.value = offered(self.settings, name) if name else ""
        box.layout.display = None if name else "none"


def crossable(settings: FormSettings) -> list[str]:
    """The settings that may be on an axis."""
    texts = ["prompt", "cfg_scale"] if settings.model.reads_text else []
    scales = [scale_name(kind) for kind in settings.kinds if not kind.needed()]
    return ["sag_scale", *texts, "seed", "steps", "scheduler", *OF_SAG, *scales]


def offered(settings: FormSettings, name: str) -> str:
    """Values to begin with."""
    trait, value = settings.traits()[name], getattr(settings, name)
    if name == "prompt":
        return "; ".join(dict.fromkeys([value, *(e.get(name, "") for e in settings.examples[:3])]))
    if name == "seed":
        return ", ".join(str(value + more) for more in range(4))
    if name == "steps":
        return "5, 10, 20, 50"
    if isinstance(trait, Amount):
        return ", ".join(f"{each:g}" for each in OFFERED if trait.min <= each <= trait.max)
    return ", ".join(list(SCHEDULERS)[:3])


def parsed(settings: FormSettings, name: str, text: str) -> list[Any]:
    """The values that a text lists, each as the setting takes it.

    Raises:
        ArgumentError: one is none that it takes.
    """
    trait: Any = settings.traits()[name]
    parts = [part.strip() for part in text.split(SEPARATOR.get(name, ","))]
    number = (
        float if isinstance(trait, Amount) else whole if isinstance(trait, traitlets.Int) else str
    )
    try:
        values = [number(part) for part in parts if part or name == "prompt"]
    except ValueError:
        raise ArgumentError(
            f"the values of {title_of(name)} are {text!r}; give numbers with commas between them,"
            f" such as {offered(settings, name)}"
        ) from None
    return [trait.validate(settings, value) for value in values]


def laid_out(settings: FormSettings, chosen: Mapping[str, Sequence[Any]]) -> Sweep:
    """The sweep over these values; what is not among them is as the form has it.

    Raises:
        ArgumentError: it would be too large, or the form starts from a picture.
    """
    if settings.image is not None:
        raise ArgumentError(
            "a grid starts from noise, and the form starts from a picture; take the picture out"
        )
    base = settings.values()
    axes = {name: list(chosen.get(name, [base[name]])) for name in OF_A_RUN}
    inner = {name: values for name, values in chosen.items() if name not in OF_A_RUN}
    sums = [
        settings.guidance({**base, **dict(zip(inner, values, strict=True))})[1]
        for values in product(*inner.values())
    ]
    made = begin(
        settings.model,
        axes["prompt"],
        axes["seed"],
        axes["steps"],
        sums,
        [name or None for name in axes["scheduler"]],
        negative_prompt=settings.negative_prompt,
        size=(settings.height, settings.width),
        eta=settings.eta,
    )
    if len(made) > MOST:
        raise ArgumentError(f"this grid has {len(made)} cells; give fewer values, for {MOST} cells")
    return made


def column_of(name: str) -> str:
    """What a sweep calls a setting of the form."""
    return f"sag_{name}" if name in OF_SAG else name
