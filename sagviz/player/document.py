"""The player as a page or a fragment of one: data, script and style, and a strip of pictures for
where no script runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagviz import html
from sagviz.html import escape
from sagviz.player.pack import one_image, pack
from sagviz.player.stills import strip
from sagviz.records.trace import PAGE_BYTES, Trace

HERE = Path(__file__).parent
STYLE = (HERE / "player.css").read_text(encoding="utf-8")
SCRIPT = "\n".join(
    (HERE / f"{name}.js").read_text(encoding="utf-8")
    for name in ("planes", "panes", "curves", "layout", "player")
)
# joined to SCRIPT by a widget, in place of START
WIDGET = (HERE / "widget.js").read_text(encoding="utf-8")
START = """
for (const place of document.querySelectorAll(".sagviz-data:not([data-started])")) {
  place.dataset.started = "";
  render(place.previousElementSibling, JSON.parse(place.textContent));
}
"""
FRAGMENT_BYTES = 1_000_000  # for notebooks, which carry every output: six steps of Stable Diffusion
FRAGMENT_STEPS = 20  # or fewer; of the miniature they take a fifth of a megabyte


def page(
    traces: Trace | Sequence[Trace],
    path: str | Path,
    *,
    max_bytes: int = PAGE_BYTES,
    image: int = 0,
    index: int | None = None,
) -> Path:
    """Write one HTML file that shows the runs in lockstep: it opens from a disk, on a phone,
    offline.

    Args:
        traces: one, or several that are compared.
        path: an .html file in a folder that exists.
        max_bytes: bound on the stored tensors; where all steps would be more, fewer are shown,
            evenly spread.
        image: which image of a batch, from 0.
        index: of the step at which it opens, and which it prints; the last where `None`.

    Raises:
        ArgumentError: the file cannot be written, there is no trace, or no such image.
        TraceError: a trace without a step.

    Example:
        >>> import tempfile
        >>> import sagviz as sv
        >>> from sagviz.player import page
        >>> runs = sv.compare(sv.load(), "a fox", steps=2, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(page(runs, f"{folder}/fox.html").name)
        fox.html
    """
    runs = _several(traces)
    data = pack(runs, max_bytes, image=image, index=index)
    return write(path, data["title"], _place(runs, data, image), START)


def write(path: str | Path, title: str, body: str, start: str) -> Path:
    """Write a page with the player's script and style, the only ones that its policy allows;
    `start` is the script's last part.
    """
    heading = f"<h1>{escape(title)}</h1>"
    script = SCRIPT + start
    whole = html.page(title, heading + body, STYLE, script, "sagviz-page", inline_styles=False)
    return html.write_page(path, whole)


def island(data: Any, style_class: str) -> str:
    """Data for a script as an element; no end tag, and no comment, can be read in it."""
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")
    return f'<script type="application/json" class="{style_class}">{content}</script>'


def fragment(
    traces: Trace | Sequence[Trace],
    *,
    max_bytes: int = FRAGMENT_BYTES,
    max_steps: int = FRAGMENT_STEPS,
    image: int = 0,
    index: int | None = None,
) -> str:
    """The same as a piece of a page, such as a notebook's output: 20 steps, evenly spread, and a
    megabyte at most.

    Where scripts and styles are taken out (untrusted notebooks, some exports) a strip of pictures
    with captions is left.

    Args:
        traces: one, or several that are compared.
        max_bytes: bound on the stored tensors.
        max_steps: bound on the steps.
        image: which image of a batch, from 0.
        index: of the step at which it opens, and which it prints; the last where `None`.
    """
    runs = _several(traces)
    data = pack(runs, max_bytes, max_steps, image, index)
    return (
        f"<style>{STYLE}</style><p><strong>{escape(data['title'])}</strong></p>"
        f'{_place(runs, data, image)}<script type="module">{SCRIPT}{START}</script>'
    )


def _place(traces: Sequence[Trace], data: dict[str, Any], image: int) -> str:
    """Where the player will stand, until then the strip, and its data."""
    strips = "".join(strip(one_image(trace, image)) for trace in traces)
    return f'<div class="sagviz">{strips}</div>{island(data, "sagviz-data")}'


def _several(traces: Trace | Sequence[Trace]) -> Sequence[Trace]:
    return [traces] if isinstance(traces, Trace) else list(traces)
