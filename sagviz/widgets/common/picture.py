"""A picture with a title and an alt text, in a place that keeps its size."""

from __future__ import annotations

from html import escape

import ipywidgets as W

from sagviz.html import img


def image_tag(content: bytes, alt: str, style: str = "") -> str:
    """An `<img>` that is painted at once, without a blank frame between two."""
    return img(content, alt, decoding="sync", style=style)


class Picture(W.HTML):
    """A picture of fixed width with a title and an alt text; nothing around it moves when the
    picture changes.

    Args:
        title: shown above; part of the alt text.
        width: in CSS pixels; narrow pages shrink it.
        ratio: height over width, so that the place is kept before there is a picture.
        sharp: whether enlarged pixels stay squares, as maps and masks need it.
    """

    def __init__(
        self, title: str = "", width: int = 256, ratio: float = 1.0, sharp: bool = False
    ) -> None:
        super().__init__(layout=W.Layout(width=f"{width}px", max_width="100%", margin="0"))
        self.title, self.ratio = title, ratio
        for name in ("sag-picture", *(["sag-sharp"] if sharp else [])):
            self.add_class(name)
        self.clear()

    @property
    def size(self) -> str:
        return f"width:100%;aspect-ratio:1/{self.ratio:g}"

    def show(self, content: bytes, alt: str) -> None:
        """Put an encoded picture (JPEG live, PNG where it must be exact) in its place; `alt` says
        what is to be seen.
        """
        words = ": ".join(filter(None, [self.title, alt]))
        self._fill(image_tag(content, words, self.size))

    def clear(self, words: str = "") -> None:
        """An empty place of the same size."""
        style = (
            f"{self.size};display:flex;align-items:center;justify-content:center;text-align:center"
        )
        self._fill(f'<div class="sag-blank" style="{style}">{escape(words)}</div>')

    def _fill(self, content: str) -> None:
        title = f"<figcaption>{escape(self.title)}</figcaption>" if self.title else ""
        self.value = f'<figure style="margin:0">{title}{content}</figure>'
