"""The reference of all public names as pages: `python docs/api.py [FOLDER]`, else build/api."""

from __future__ import annotations

import re
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc

MODULES = ("sagviz", "sagviz.plot", "sagviz.measure")


def write(folder: Path) -> None:
    """One page for each module of public names, and none for the modules behind them."""
    chosen = []
    for name in MODULES:
        module = import_module(name)
        for public in getattr(module, "__all__", ()):  # loaded late, which pdoc does not do
            setattr(module, public, getattr(module, public))
        chosen += [name, f"!{re.escape(name)}\\."]
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a name that cannot be shown
        pdoc.pdoc(*chosen, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "build/api"))
