"""What the Grid shows of a sweep: settings on its axes, values of the others, and a measure."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from typing import Any

import traitlets

from sagviz.checks import check_kind
from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import Guidance
from sagviz.plot.sheet import Sheet, Window
from sagviz.sweeps import Sweep
from sagviz.sweeps.layout import Crossing, cross
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Text, Whole, check_place

LAYOUT = ("rows", "columns", "fixed")  # what decides which cell stands where


class GridSettings(WidgetSettings):
    """Two settings of a sweep crossed, and which part of that is looked at."""

    widget = "Grid"
    uncounted = ("selected", "batch")

    rows: Any = Text(
        None, allow_none=True, help="setting that changes from row to row, '' for one row (chosen)"
    )
    columns: Any = Text(
        None, allow_none=True, help="setting that changes across, '' for one column (chosen)"
    )
    fixed: Any = traitlets.Dict(
        help="values of the settings that are on neither axis, by name (the first ones)"
    )
    measure = Text("", help="measure under each picture, '' for none (none)")
    page = Whole(
        0, min=0, max=99_999, help="which part of the rows is shown where not all fit, from 0 (0)"
    )
    selected: Any = traitlets.Tuple(
        help="(row, column) of the cell that is open, from 0, or () for none (none)"
    )
    batch = Whole(
        1,
        min=1,
        max=4096,
        help="cells in joint passes: 1 shows each as it comes, more are quicker on a GPU (1)",
    )

    def __init__(self, sweep: Sweep, **options: Any) -> None:
        check_kind("sweep", sweep, Sweep, "what sv.sweep returned, or sv.Sweep.open('runs')")
        self.sweep = sweep
        self._crossing: Crossing | None = None
        self._crossed: object = None  # what `_crossing` is of
        self._measures = dict[object, list[str]]()  # of each kind of cells that were done so far
        super().__init__(**options)
        page, selected = self.page, self.selected
        self.adjust("rows", None)
        self.page, self.selected = page, selected

    @property
    def crossing(self) -> Crossing:
        """Which cell stands where."""
        wanted = (self.rows, self.columns, self.fixed)
        if self._crossing is None or wanted != self._crossed:
            self._crossing, self._crossed = cross(self.sweep, *wanted), wanted
        return self._crossing

    @property
    def sheet(self) -> Sheet:
        """What is shown, as a contact sheet."""
        first = self.page * Window(self.crossing.shape).height
        return Sheet(self.crossing, self.measure, first)

    @property
    def last_page(self) -> int:
        """Number of the last page, from 0."""
        return (self.crossing.shape[0] - 1) // Window(self.crossing.shape).height

    @property
    def known_measures(self) -> list[str]:
        """The measures of the cells that are done; none where nothing is. They depend on the terms
        and on when these act: one cell of each such kind is read.
        """
        unread = set(map(_kind, self.sweep.plan.guidance)) - set(self._measures)
        statuses = self.sweep.store.look() if unread else {}
        for cell in self.sweep.cells if statuses else ():
            kind = _kind(cell.settings.guidance)
            if kind in unread and statuses.get(cell.key) == "done":
                with suppress(TraceError):  # of a damaged one nothing is known
                    (images,) = self.sweep.store.measures([cell.key])
                    self._measures[kind] = [*chain(*images)]
                    unread.remove(kind)
        return list(dict.fromkeys(chain(*self._measures.values())))

    def adjust(self, name: str, before: Any) -> None:
        """The setting that one axis takes from the other is given the other's in exchange."""
        if name in LAYOUT:
            if self.rows and self.rows == self.columns and before is not None:
                setattr(self, "columns" if name == "rows" else "rows", before)
            self.rows, self.columns = self.crossing.rows, self.crossing.columns
            self.page, self.selected = 0, ()

    @traitlets.validate(*LAYOUT)
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

    @traitlets.validate("page")
    def _there(self, proposal: Any) -> int:
        page = proposal["value"]
        if page > self.last_page:
            raise ArgumentError(f"page is {page}; there are {self.last_page + 1}, counted from 0")
        return page

    @traitlets.validate("selected")
    def _inside(self, proposal: Any) -> tuple[int, ...]:
        place: tuple[int, ...] = proposal["value"]
        check_place("selected", place, self.crossing.shape)
        return place


def _kind(guidance: Guidance) -> tuple[tuple[str, float, float], ...]:
    """What the measures of a cell depend on."""
    return tuple((term.name, term.start, term.stop) for term in guidance.terms)
