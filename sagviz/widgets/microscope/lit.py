"""A term that is pointed at lights up wherever it stands: its controls, picture, part of the
formula.
"""

from __future__ import annotations

from collections.abc import Iterable

from sagviz.guidance import Term


def row_class(name: str) -> str:
    """The class on the page of the rows of controls of a term."""
    return f"sag-of-{name}"


def lit(kinds: Iterable[type[Term]]) -> str:
    """CSS for these terms; the keyboard's focus on a control does what the pointer does."""
    return "".join(map(_rule, kinds))


def _rule(kind: type[Term]) -> str:
    shown, row = f"[data-shows='{kind.name}']", f".{row_class(kind.name)}"
    pointed = f"{shown}:hover, {row}:hover, {row}:focus-within"
    # a little of the text's own colour, so that it is seen on dark pages too
    line = f"outline:3px solid color-mix(in srgb, {kind.colour} 70%, currentColor)"
    ground = f"background:color-mix(in srgb, {kind.colour} 16%, transparent)"
    style = f"{line};outline-offset:3px;border-radius:3px;{ground}"
    return f".sag-microscope:has({pointed}) :is({shown}, {row}) {{{style}}}\n"
