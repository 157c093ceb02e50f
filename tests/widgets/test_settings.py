"""Settings objects, and widgets that have them as their own traits."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import ipywidgets as W
import pytest
import traitlets
from tiny import is_one_sentence

import sagviz as sv
from sagviz.errors import ArgumentError
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Whole
from sagviz.widgets.common.view import View


class PairSettings(WidgetSettings):
    """Two numbers, the second of which is at least the first."""

    widget = "Pair"
    derived: ClassVar[tuple[str, ...]] = ("high",)
    uncounted: ClassVar[tuple[str, ...]] = ("note",)
    low = Whole(0, min=0, max=9, help="the lower one (0)")
    high = Whole(5, min=0, max=9, help="the higher one (as given)")
    note = traitlets.Unicode("", help="words (none)")

    def __init__(self, high: int, **options: Any) -> None:
        super().__init__(**{"high": high, **options})

    def adjust(self, name: str, before: Any) -> None:
        del before
        if name == "low" and self.low > self.high:
            self.high = self.low


class Pair(View):
    """Two numbers."""

    settings_type = PairSettings
    settings: PairSettings

    def __init__(self, most: int, *, words: str = "", **options: Any) -> None:
        super().__init__(most, **options)
        self.fill(W.HTML(words))


def test_settings_are_traits_of_the_widget() -> None:
    pair, other = Pair(4), Pair(7)
    seen: list[tuple[str, Any]] = []
    pair.observe(lambda change: seen.append((change.name, change.new)), ["low", "high"])
    pair.low = 6
    assert (pair.settings.low, pair.settings.high, pair.high) == (6, 6, 6)
    assert sorted(seen) == [("high", 6), ("low", 6)]
    assert pair.traits()["low"].help == "the lower one (0)"
    assert other.high == 7, "each has its own"
    traitlets.link((pair, "high"), (other, "high"))
    pair.settings.high = 8
    assert other.high == 8
    other.high = 9
    assert pair.settings.high == 9
    with pytest.raises(ArgumentError, match="low is 10; give a whole number from 0 to 9"):
        pair.low = 10
    assert pair.low == 6


def test_a_change_counts_once_with_all_that_follows_from_it() -> None:
    settings, seen = PairSettings(4), list[int]()
    settings.observe(lambda _: seen.append(settings.high), "revision")
    settings.low = 6
    assert seen == [6]
    with settings.together():
        settings.low, settings.high = 1, 2
    assert seen == [6, 2]
    settings.note = "not counted"
    assert seen == [6, 2]


def test_shift_tab_shows_every_argument_and_default() -> None:
    parameters = inspect.signature(Pair).parameters
    assert list(parameters) == ["most", "words", "high", "large", "low", "note"]
    assert [parameters[name].default for name in ("words", "low", "note")] == ["", 0, ""]
    assert parameters["high"].default is ...
    assert Pair(3, high=..., low=2).high == 3, "what is shown may be given"


@pytest.mark.parametrize(
    ("widget", "own", "some"),
    [
        (sv.Playground, ["model"], {"prompt": "", "steps": 50, "cfg_scale": 3.0, "seed": 0}),
        (
            sv.Scrubber,
            ["traces", "model"],
            {"index": ..., "view": "beside", "playing": False, "panes": ...},
        ),
        (sv.Grid, ["sweep", "model"], {"rows": None, "measure": "", "batch": 1, "selected": ()}),
        (sv.Microscope, ["model", "trace"], {"threshold": ..., "cfg_scale": ..., "hidden": False}),
        (sv.Preference, ["pairs", "names", "seed", "path"], {"seed": 0}),
    ],
)
def test_public_widgets_name_their_arguments(
    widget: type[View], own: list[str], some: dict[str, Any]
) -> None:
    parameters = inspect.signature(widget).parameters
    assert list(parameters) == own + widget.options()
    assert all(each.kind is not each.VAR_KEYWORD for each in parameters.values())
    assert {name: parameters[name].default for name in some} == some


@pytest.mark.parametrize(
    ("widget", "inputs", "said"),
    [
        (sv.Scrubber, (), "Scrubber: missing a required argument: 'traces'"),
        (sv.Microscope, (None,), "Microscope: missing a required argument: 'trace'"),
        (sv.Playground, (None, "a fox"), "Playground: too many positional arguments"),
    ],
)
def test_a_call_that_does_not_fit_is_one_sentence(
    widget: type[View], inputs: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(ArgumentError, match=said) as error:
        widget(*inputs)
    assert is_one_sentence(error.value)
