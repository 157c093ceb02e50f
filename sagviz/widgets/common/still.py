"""The static face of widgets: what a person saw of them, as HTML for where there are no widgets.

It is read off the widgets themselves, so that whatever a widget is made of is there; and it reads
well with scripts and styles taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as W

from sagviz.html import attributes

LIVE = "sag-live"  # the class of what only a live page needs


def live(widget: W.Widget) -> Any:
    """The same widget, left out of the static face."""
    widget.add_class(LIVE)
    return widget


def still(widget: W.Widget) -> str:
    """The face of a widget and of all that is in it; a widget with a method `static_html` has its
    own. What is hidden has none, nor has what is only pressed.
    """
    layout = getattr(widget, "layout", None)
    if LIVE in getattr(widget, "_dom_classes", ()) or getattr(layout, "display", "") == "none":
        return ""
    if hasattr(widget, "static_html"):
        return str(widget.static_html())
    return next((face(widget) for kind, face in FACES.items() if isinstance(widget, kind)), "")


def line(label: str, value: object) -> str:
    """A setting and its value, as plain text."""
    shown = f"{value:.12g}" if isinstance(value, float) else value
    return f"<div>{escape(label)}: <b>{escape(str(shown))}</b></div>"


def watch(widget: W.Widget, changed: Callable[[], None]) -> None:
    """Call `changed` whenever what a widget shows does, and what is in it, now or later."""

    def see(change: Any) -> None:
        if change.name == "children":
            for child in set(change.new) - set(change.old or ()):
                watch(child, changed)
        changed()

    # a Scrubber that is observed by its own method tells the kernel of every step
    W.Widget.observe(widget, see, [name for name in widget.keys if not name.startswith("_")])
    for child in getattr(widget, "children", ()):
        watch(child, changed)


def _style(layout: W.Layout, **more: str) -> str:
    names = [name for name in layout.keys if not name.startswith("_")]
    given = {name: getattr(layout, name) for name in names}
    style = {**more, **{name: value for name, value in given.items() if value is not None}}
    return ";".join(f"{name.replace('_', '-')}:{value}" for name, value in style.items())


def _div(widget: W.Widget, content: str, **more: str) -> str:
    style = _style(widget.layout, **more)
    return f"<div{attributes({'style': style})}>{content}</div>" if content else ""


def _box(widget: W.Box) -> str:
    direction = "column" if isinstance(widget, W.VBox) else "row"
    content = "".join(map(still, widget.children))
    return _div(widget, content, display="flex", flex_direction=direction, gap="4px 12px")


def _folds(widget: Any) -> str:
    """Tabs and what can be folded away: the open one is open."""
    faces = [still(child) for child in widget.children]
    return "".join(
        f"<details{attributes({'open': place == widget.selected_index})}>"
        f"<summary>{escape(widget.get_title(place))}</summary>{face}</details>"
        for place, face in enumerate(faces)
        if face
    )


def _checkbox(widget: W.Checkbox) -> str:
    return f"<div>{'☑' if widget.value else '☐'} {escape(widget.description)}</div>"


def _words(widget: W.Textarea) -> str:
    return f"<pre>{escape(widget.value)}</pre>" if widget.value else ""


# the first kind that fits
FACES: Mapping[type[W.Widget], Callable[[Any], str]] = {
    W.Accordion: _folds,
    W.Tab: _folds,
    W.Box: _box,
    W.HTML: lambda widget: _div(widget, widget.value),
    W.Checkbox: _checkbox,
    W.Dropdown: lambda widget: line(widget.description, widget.label),
    W.Textarea: _words,
    W.Text: lambda widget: line(widget.description, widget.value),
    W.BoundedIntText: lambda widget: line(widget.description, widget.value),
    W.FloatText: lambda widget: line(widget.description, widget.value),
}
