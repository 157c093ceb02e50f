"""The public names: all that `sv.`, `sv.plot.` and `sv.measure.` offer."""

from __future__ import annotations

from importlib import import_module
from inspect import ismodule
from types import ModuleType

MODULES = {"sv": "sagviz", "sv.plot": "sagviz.plot", "sv.measure": "sagviz.measure"}


def names_of(module: ModuleType) -> list[str]:
    """What a module offers to `dir`, modules aside."""
    bound = [name for name in dir(module) if name[0] != "_"]
    return [name for name in bound if not ismodule(getattr(module, name))]


def public_names() -> dict[str, object]:
    """Each public object by the name that people write: `sv.plot.lines`."""
    found = {prefix: import_module(module) for prefix, module in MODULES.items()}
    return {
        f"{prefix}.{name}": getattr(module, name)
        for prefix, module in found.items()
        for name in names_of(module)
        if name != "annotations"
    }
