"""The widgets: records made visible and adjustable in a notebook. They show numbers and compute none."""

from importlib import import_module
from typing import Any

_HOME: dict[str, str] = {}  # name: module, loaded when first used

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sagviz.widgets' has no attribute {name!r}")
    return getattr(import_module(f"sagviz.widgets.{_HOME[name]}"), name)
