"""What the Grid shows of a sweep, as traits and menus: the settings on its axes, the values of the
others, the measure.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as W
import traitlets

from sagviz.errors import ArgumentError
from sagviz.plot.sheet import Sheet, Window
from sagviz.plot.shots import measure_words
from sagviz.sweeps import Sweep
from sagviz.sweeps.layout import Axis, cross, varies
from sagviz.widgets.common.parts import Number, View, Whole, flow, labelled

WIDTH = "270px"  # of a menu


class Crossed(View):
    """Base of the Grid: its traits and their menus. A subclass says in `refresh` what a change of
    them does.
    """

    rows: Any = traitlets.Unicode(
        None, allow_none=True, help="setting that changes from row to row, '' for one row (chosen)"
    )
    columns: Any = traitlets.Unicode(
        None, allow_none=True, help="setting that changes across, '' for one column (chosen)"
    )
    fixed: Any = traitlets.Dict(
        help="values of the settings that are on neither axis, by name (the first ones)"
    )
    measure = traitlets.Unicode("", help="measure under each picture, '' for none (none)")
    page = Whole(
        0, min=0, max=99_999, help="which part of the rows is shown where not all fit, from 0 (0)"
    )
    selected: Any = traitlets.Tuple(
        help="(row, column) of the cell that is open, from 0, or () for none (none)"
    )

    def __init__(self, sweep: Sweep, **options: Any) -> None:
        self.sweep = sweep
        self._held = True  # no refresh yet
        super().__init__(**options)
        self.crossing = cross(sweep, self.rows, self.columns, self.fixed)
        self.rows, self.columns = self.crossing.rows, self.crossing.columns
        self._held = False
        self.page, self.selected = self.page, self.selected  # checked, now that the rows are known
        self._held = True
        self.measures = labelled(
            W.Dropdown(options=[("nothing", "")]), self.traits()["measure"].help
        )
        self.pages = Number(
            "page", self.page, 0, self._last_page, words=self.traits()["page"].help, slider=False
        )
        self.axes = {
            name: self._menu(name, self.traits()[name].help) for name in ("rows", "columns")
        }
        varying = [name for name, axis in self.crossing.axes.items() if varies(axis)]
        self.others = {
            name: self._menu(name, "the value of this setting in all pictures") for name in varying
        }
        self._tie()
        self.observe(self._cross, names=["rows", "columns", "fixed"])
        self.observe(self._changed, names=["page", "measure"])

    @property
    def sheet(self) -> Sheet:
        """What is shown, as a contact sheet."""
        return Sheet(self.crossing, self.measure, self.page * Window(self.crossing.shape).height)

    def refresh(self) -> None:
        """Look at the sweep again and show it."""
        raise NotImplementedError

    @property
    def known_measures(self) -> list[str]:
        """The measures of the first cell that is done; none where nothing is."""
        for cell in self.sweep.cells:
            if self.sweep.status(cell) == "done":
                return list(next(self.sweep.store.measures([cell.key]))[0])
        return []

    @traitlets.validate("rows", "columns", "fixed")
    def _known(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if value is not None:
            cross(self.sweep, **{name: value})
        return value

    @traitlets.validate("measure")
    def _measured(self, proposal: Any) -> str:
        name, known = proposal["value"], self.known_measures if proposal["value"] else []
        if known and name not in known:
            raise ArgumentError(
                f"measure is {name!r}; the cells have {', '.join(known)}; '' is none"
            )
        return name

    @traitlets.validate("page", "selected")
    def _within(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if self._held:  # checked when the rows are known
            return value
        rows, columns = self.crossing.shape
        if name == "page" and value > self._last_page:
            raise ArgumentError(f"page is {value}; there are {self._last_page + 1}, counted from 0")
        fits = (
            len(value) == 2 and 0 <= value[0] < rows and 0 <= value[1] < columns
            if name == "selected" and value
            else True
        )
        if not fits:
            raise ArgumentError(
                f"selected is {value!r}; give (row, column) up to ({rows - 1}, {columns - 1}), or"
                " () for none"
            )
        return value

    @property
    def _last_page(self) -> int:
        return (self.crossing.shape[0] - 1) // Window(self.crossing.shape).height

    def _cross(self, change: Any) -> None:
        """Lay the sweep out anew. The setting that one axis takes from the other is given the
        other's in exchange.
        """
        if self._held:
            return
        self._held = True
        try:
            if self.rows and self.rows == self.columns:
                setattr(self, "columns" if change.name == "rows" else "rows", change.old)
            self.crossing = cross(self.sweep, self.rows, self.columns, self.fixed)
            self.page, self.selected = 0, ()
            self._show_menus()
        finally:
            self._held = False
        self.refresh()

    def _changed(self, _: object) -> None:
        if not self._held:
            self._show_menus()
            self.refresh()

    # Menus

    def menus(self) -> W.Widget:
        """All of them, side by side."""
        self._show_menus()
        menus = [*self.axes.values(), *self.others.values(), self.measures, self.pages]
        for menu in menus:
            menu.layout.width = WIDTH
        return flow(*menus)

    def offer_measures(self) -> None:
        """Fill the menu of measures as soon as there are any."""
        if len(self.measures.options) == 1 and (known := self.known_measures):
            self.measures.options = [
                ("nothing", ""),
                *((measure_words(name), name) for name in known),
            ]
            self.measures.value = self.measure

    def _menu(self, name: str, words: str) -> W.Dropdown:
        made = labelled(W.Dropdown(), words)
        made.add_class(f"sag-{name.replace('_', '-')}")
        made.description = self.crossing.axes[name].title if name in self.crossing.axes else name
        return made

    def _tie(self) -> None:
        """What the hand chooses goes to the traits."""
        self.measures.description = "under pictures"
        self.measures.add_class("sag-measure")
        self.measures.observe(lambda change: self._choose("measure", change.new), "value")
        self.pages.observe(lambda change: self._choose("page", change.new), "value")
        for name, menu in self.axes.items():
            menu.observe(lambda change, name=name: self._choose(name, change.new), "value")
        for name, menu in self.others.items():
            menu.observe(lambda change, name=name: self._fix(name, change.new), "value")

    def _choose(self, name: str, value: Any) -> None:
        if not self._held and value is not None:
            with self.guarded():
                setattr(self, name, value)

    def _fix(self, name: str, place: int | None) -> None:
        if place is not None:
            self._choose("fixed", {**self.fixed, name: self.crossing.axes[name].values[place]})

    def _show_menus(self) -> None:
        """The menus as the traits are. Values stand in them by their place, because a menu takes
        `None` for no choice.
        """
        axes, held = self.crossing.axes, self._held
        self._held = True
        for name, menu in self.axes.items():
            offered = [
                axis for axis in axes.values() if varies(axis) or axis.name == getattr(self, name)
            ]
            _offer(
                menu,
                [*((axis.title, axis.name) for axis in offered), ("nothing", "")],
                getattr(self, name),
            )
        for name, menu in self.others.items():
            menu.layout.display = None if name in self.crossing.fixed else "none"
            value = self.crossing.fixed.get(name, axes[name].values[0])
            _offer(menu, _places(axes[name]), axes[name].values.index(value))
        self.pages.layout.display = None if self._last_page else "none"
        self.pages.box.max = self._last_page
        self.pages.value, self.measures.value = (
            self.page,
            self.measure if len(self.measures.options) > 1 else "",
        )
        self._held = held


def _places(axis: Axis) -> list[tuple[str, int]]:
    return [(axis.label(value), place) for place, value in enumerate(axis.values)]


def _offer(menu: W.Dropdown, options: list[tuple[str, Any]], value: Any) -> None:
    if list(menu.options) != options:
        menu.options = options
    menu.value = value
