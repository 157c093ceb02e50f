"""What the colours of a picture mean, as HTML below it."""

from __future__ import annotations

from functools import cache
from html import escape

import torch

from sagviz.html import attributes
from sagviz.image import heat_map

ROW = (
    "display:flex;align-items:center;gap:6px;margin-bottom:2px;font-variant-numeric:tabular-nums;"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact"
)
STOPS = 9


def bar(colours: str, low: float, high: float) -> str:
    """The colours of a map, from `low` to `high`, between these numbers."""
    strip = f"flex:1;height:8px;border-radius:4px;background:{_gradient(colours)}"
    low_end, high_end = (f"<span>{written(end)}</span>" for end in (low, high))
    return f"<div{_style(ROW)}>{low_end}<span{_style(strip)}></span>{high_end}</div>"


def swatch(colour: str, words: str) -> str:
    """A patch of a colour and what it means."""
    patch = f"flex:none;width:14px;height:14px;border-radius:3px;background:{colour}"
    return f"<div{_style(ROW)}><span{_style(patch)}></span><span>{escape(words)}</span></div>"


def written(number: float) -> str:
    """As it stands beside a bar: 0, 0.0034, 0.62, 3.1."""
    size = abs(number)
    return f"{number:.2g}" if size < 0.1 else f"{number:.{2 if size < 1 else 1}f}"


def _style(css: str) -> str:
    return attributes({"style": css})


@cache
def _gradient(colours: str) -> str:
    places = torch.linspace(0, 1, STOPS, device="cpu", dtype=torch.float32)[None]
    stops = (f"rgb({r},{g},{b})" for r, g, b in heat_map(places, 0, 1, colours)[0].tolist())
    return f"linear-gradient(90deg,{','.join(stops)})"
