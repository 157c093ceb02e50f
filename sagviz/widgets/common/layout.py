"""Where things stand on the page: plain ipywidgets that work from 7.7.1 (Colab's) on."""

from __future__ import annotations

from html import escape

import ipywidgets as W


def flow(*children: W.Widget, name: str = "") -> W.Box:
    """Children side by side, as many in a row as the page is wide."""
    box = W.Box(
        children,
        layout=W.Layout(display="flex", flex_flow="row wrap", width="100%", overflow="visible"),
    )
    for style_class in ("sag-flow", *filter(None, [name])):
        box.add_class(style_class)
    return box


def column(*children: W.Widget, width: str = "100%") -> W.VBox:
    """Children one under the other, in a column that takes `width` in a `flow` and shrinks on
    narrow pages.
    """
    made = W.VBox(
        children,
        layout=W.Layout(flex=f"1 1 {width}", width="auto", max_width="100%", grid_gap="8px"),
    )
    made.layout.overflow = "visible"
    made.layout.min_width = f"min({width}, 100%)"
    return made


def stack(*children: W.Widget, gap: str = "6px", **more: str) -> W.VBox:
    """Children one under the other, as wide as their place."""
    return W.VBox(children, layout=W.Layout(overflow="visible", grid_gap=gap, **more))


def text(name: str, content: str = "") -> W.HTML:
    """A place for HTML, with its class on the page."""
    made = W.HTML(content)
    made.add_class(name)
    return made


def heading(title: str, words: str = "") -> W.HTML:
    """What a widget is, and a sentence on it: the first thing in it."""
    return text("sag-heading", heading_html(title, words))


def heading_html(title: str, words: str) -> str:
    """The same as HTML, for one that changes; a screen reader says the sentence aloud."""
    return f'<h3>{escape(title)}</h3><p role="status">{escape(words)}</p>'


def close_all(widgets: tuple[W.Widget, ...]) -> None:
    """Close widgets with their children, layouts and styles."""
    for widget in widgets:
        close_all(getattr(widget, "children", ()))
        for part in ("layout", "style"):
            if isinstance(getattr(widget, part, None), W.Widget):
                getattr(widget, part).close()
        widget.close()
