"""The player: runs as a page or a fragment of one, alive without a kernel, a server or a network.

What it shows comes from `player.pack`; the drawing is a few hundred lines of plain script beside
this file, joined as they are.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from sagviz import describe
from sagviz.errors import ArgumentError
from sagviz.files import write_whole
from sagviz.html import data_uri
from sagviz.player.pack import pack, picture, stills
from sagviz.records.trace import Trace

HERE = Path(__file__).parent
STYLE = (HERE / "player.css").read_text(encoding="utf-8")
SCRIPT = "\n".join(
    (HERE / f"{name}.js").read_text(encoding="utf-8")
    for name in ("planes", "panes", "curves", "layout", "player")
)
# joined in front by a widget, in place of START
WIDGET = (HERE / "widget.js").read_text(encoding="utf-8")
START = """
for (const place of document.querySelectorAll(".sagviz-data:not([data-started])")) {
  place.dataset.started = "";
  render(place.previousElementSibling, JSON.parse(place.textContent));
}
"""
# of the planes, before they are packed: 50 steps of Stable Diffusion at 512 x 512 with CFG + SAG
PAGE_BYTES = 7_400_000
FRAGMENT_BYTES = 1_000_000  # for notebooks, which carry every output: six steps of Stable Diffusion
FRAGMENT_STEPS = 20  # or fewer; of the miniature they take a fifth of a megabyte
STRIP = 6  # pictures that stand where no script runs


def page(
    traces: Trace | Sequence[Trace],
    path: str | Path,
    *,
    max_bytes: int = PAGE_BYTES,
    image: int = 0,
) -> Path:
    """Write one HTML file that shows the runs in lockstep: it opens from a disk, on a phone,
    offline.

    Args:
        traces: one, or several that are compared.
        path: an .html file in a folder that exists.
        max_bytes: bound on the stored tensors; where all steps would be more, fewer are shown,
            evenly spread.
        image: which image of a batch, from 0.

    Raises:
        ArgumentError: the file cannot be written, there is no trace, or no such image.
        TraceError: a trace without a step.
    """
    runs = _several(traces)
    data = pack(runs, max_bytes, image=image)
    return document(path, data["title"], _place(runs, data, image), START)


def document(path: str | Path, title: str, body: str, start: str) -> Path:
    """Write a page with the player's script and style, whose policy lets it fetch nothing; `start`
    is the script's last part.
    """
    path, script = Path(path), SCRIPT + start
    if path.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"the player is an HTML page; {path} does not end in .html")
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_digest(script)}'; style-src"
        f" '{_digest(STYLE)}'"
    )
    html = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta'
        f' http-equiv="Content-Security-Policy" content="{policy}"><meta name="viewport"'
        ' content="width=device-width, initial-scale=1"><link rel="icon"'
        f' href="data:,"><title>{escape(title)}: sagviz</title><style>{STYLE}</style></head>\n<body'
        f' class="sagviz-page"><main><h1>{escape(title)}</h1>{body}</main><script'
        f' type="module">{script}</script></body></html>\n'
    )
    return _write(path, html)


def island(data: Any, style_class: str) -> str:
    """Data for a script as an element of the page: no end tag, and no comment, can be read in it."""
    content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    return f'<script type="application/json" class="{style_class}">{content}</script>'


def fragment(
    traces: Trace | Sequence[Trace],
    *,
    max_bytes: int = FRAGMENT_BYTES,
    max_steps: int = FRAGMENT_STEPS,
    image: int = 0,
) -> str:
    """The same as a piece of a page, such as a notebook's output: 20 steps, evenly spread, and a
    megabyte at most.

    Where scripts and styles are taken out (untrusted notebooks, some exports) a strip of pictures
    with captions is left.
    """
    runs = _several(traces)
    data = pack(runs, max_bytes, max_steps, image)
    return (
        f"<style>{STYLE}</style><p><strong>{escape(data['title'])}</strong></p>{_place(runs, data, image)}"
        f'<script type="module">{SCRIPT}{START}</script>'
    )


def _place(traces: Sequence[Trace], data: dict[str, Any], image: int) -> str:
    """Where the player will stand, until then the strip, and its data."""
    strips = "".join(_strip(trace, image) for trace in traces)
    return f'<div class="sagviz">{strips}</div>{island(data, "sagviz-data")}'


def _strip(trace: Trace, image: int) -> str:
    """A few steps and the finished picture, in a table that reads well without any style."""
    made = [(data_uri(png), words) for png, words in stills(trace, STRIP, image)]
    finished = picture(trace, image, longest=256)
    if finished is not None:
        made.append((finished, "The finished picture."))
    cells = "".join(
        f'<td><img src="{source}" alt="{escape(words, quote=True)}"'
        f' width="112"><p>{escape(words)}</p></td>'
        for source, words in made
    )
    title = escape(describe.of_guidance(trace.settings.guidance))
    return (
        f'<table class="sagviz-strip"><caption>{title}: guided'
        f" prediction</caption><tbody><tr>{cells}</tr></tbody></table>"
    )


def _several(traces: Trace | Sequence[Trace]) -> Sequence[Trace]:
    return [traces] if isinstance(traces, Trace) else list(traces)


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _write(path: Path, html: str) -> Path:
    try:
        return write_whole(path, html.encode())
    except OSError as error:
        raise ArgumentError(
            f"cannot write {path}: {error.strerror}; give a folder that exists"
        ) from error
