"""The menus of the Grid: what is on the axes, the values of the other settings, the measure."""

from __future__ import annotations

from functools import partial
from typing import Any

import ipywidgets as W

from sagviz.plot.shots import measure_words
from sagviz.sweeps.layout import Axis, varies
from sagviz.widgets.common.controls import css_class, labelled, number_of
from sagviz.widgets.common.layout import flow
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.grid.settings import GridSettings

WIDTH = "270px"  # of a menu


class Menus(W.VBox):
    """All menus side by side. What is chosen goes to the settings.

    Attributes:
        axes: the menus of rows and columns.
        others: of the values of each setting that varies.
        measures, pages: of the measure, and of the part of the rows.
    """

    def __init__(self, settings: GridSettings, notice: Notice) -> None:
        self.settings, self.notice = settings, notice
        self._showing = False  # while the menus follow the settings, they choose nothing
        traits, axes = settings.traits(), settings.crossing.axes
        self.axes = {
            name: self._menu(name, name, traits[name].help) for name in ("rows", "columns")
        }
        self.others = {
            name: self._menu(name, axis.title, "the value of this setting in all pictures")
            for name, axis in axes.items()
            if varies(axis)
        }
        self.measures = self._menu("measure", "under pictures", traits["measure"].help)
        self.measures.options = [("nothing", "")]
        self.pages = number_of(settings, "page", "page", slider=False)
        for name, menu in {**self.axes, "measure": self.measures, "page": self.pages}.items():
            menu.observe(partial(self._choose, name), "value")
        for name, menu in self.others.items():
            menu.observe(partial(self._fix, name), "value")
        menus = [*self.axes.values(), *self.others.values(), self.measures, self.pages]
        for menu in menus:
            menu.layout.width = WIDTH
        super().__init__([flow(*menus)], layout=W.Layout(overflow="visible", width="100%"))
        self.show()

    def show(self) -> None:
        """The menus as the settings are. Values stand in them by their place, because a menu takes
        `None` for no choice.
        """
        self._showing = True
        try:
            self._show_axes()
            self._show_values()
            self._show_measures()
            self.pages.layout.display = None if self.settings.last_page else "none"
            self.pages.high = self.settings.last_page
            self.pages.value = self.settings.page
        finally:
            self._showing = False

    def _show_axes(self) -> None:
        axes = self.settings.crossing.axes.values()
        for name, menu in self.axes.items():
            chosen = getattr(self.settings, name)
            offered = [axis for axis in axes if varies(axis) or axis.name == chosen]
            options = [*((axis.title, axis.name) for axis in offered), ("nothing", "")]
            _offer(menu, options, chosen)

    def _show_values(self) -> None:
        crossing = self.settings.crossing
        for name, menu in self.others.items():
            axis = crossing.axes[name]
            menu.layout.display = None if name in crossing.fixed else "none"
            value = crossing.fixed.get(name, axis.values[0])
            _offer(menu, _places(axis), axis.values.index(value))

    def _show_measures(self) -> None:
        """Those of the cells that are done by now."""
        known, chosen = self.settings.known_measures, self.settings.measure
        options = [("nothing", ""), *((measure_words(name), name) for name in known)]
        _offer(self.measures, options, chosen if chosen in known else "")

    def _menu(self, name: str, label: str, words: str) -> W.Dropdown:
        made = labelled(W.Dropdown(description=label), words)
        made.add_class(css_class(name))
        return made

    def _choose(self, name: str, change: Any) -> None:
        if not self._showing and change.new is not None:
            self.notice.attempt(lambda: setattr(self.settings, name, change.new))

    def _fix(self, name: str, change: Any) -> None:
        if not self._showing and change.new is not None:
            value = self.settings.crossing.axes[name].values[change.new]
            fixed = {**self.settings.fixed, name: value}
            self.notice.attempt(lambda: setattr(self.settings, "fixed", fixed))


def _places(axis: Axis) -> list[tuple[str, int]]:
    return [(axis.label(value), place) for place, value in enumerate(axis.values)]


def _offer(menu: W.Dropdown, options: list[tuple[str, Any]], value: Any) -> None:
    if list(menu.options) != options:
        menu.options = options
    menu.value = value
