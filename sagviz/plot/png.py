"""Matplotlib's figures as PNG."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from sagviz.files import save

DPI = 200  # pixels an inch of saved figures
# of Matplotlib's formulas
FONTS = ("DejaVu Sans", "DejaVu Sans:italic", "DejaVu Sans:bold", "DejaVu Sans Display")


def write(figure: Figure, path: str | Path) -> Path:
    """Save a figure as PNG, or say why not."""
    return save(path, png(figure, DPI))


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    _forget_letters()
    return buffer.getvalue()


def _forget_letters() -> None:
    """Matplotlib draws formulas letter by letter and keeps each, half a KiB, in a font that it
    never closes.
    """
    for name in FONTS:
        get_font(findfont(name)).clear()
