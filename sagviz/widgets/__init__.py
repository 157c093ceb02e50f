"""The widgets: records made visible and adjustable in a notebook. They show numbers and compute
none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagviz.widgets.grid.grid import Grid as Grid
    from sagviz.widgets.microscope.microscope import Microscope as Microscope
    from sagviz.widgets.playground.playground import Playground as Playground
    from sagviz.widgets.preference import Preference as Preference
    from sagviz.widgets.scrubber.scrubber import Scrubber as Scrubber

_HOME = {
    "Grid": "grid.grid",
    "Microscope": "microscope.microscope",
    "Playground": "playground.playground",
    "Preference": "preference",
    "Scrubber": "scrubber.scrubber",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sagviz.widgets' has no attribute {name!r}")
    return getattr(import_module(f"sagviz.widgets.{_HOME[name]}"), name)
