"""anywidget where it is installed, else `None`: then plain widgets do the same, less well."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

anywidget: Any = import_module("anywidget") if find_spec("anywidget") else None
