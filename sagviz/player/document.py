"""The player as a page or a fragment of one: data, script and style, and a strip of pictures for
where no script runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sagviz import html
from sagviz.errors import TraceError
from sagviz.html import escape
from sagviz.models import Model
from sagviz.player.pack import one_image, opened, pack
from sagviz.player.stills import Progress, strip
from sagviz.records.about_runs import as_traces
from sagviz.records.trace import PAGE_BYTES, Trace

HERE = Path(__file__).parent
STYLE = (HERE / "player.css").read_text(encoding="utf-8")
SCRIPTS = ("packed", "planes", "panes", "curves", "faults", "layout", "player")  # in their order
SCRIPT = "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
# joined to SCRIPT by a widget, in place of START
WIDGET = (HERE / "widget.js").read_text(encoding="utf-8")
ADDRESS = (HERE / "address.js").read_text(encoding="utf-8")
ALONE = ADDRESS + (HERE / "alone.js").read_text(encoding="utf-8")  # on a page of its own
START = """
for (const place of document.querySelectorAll(".sagviz-data")) {
  if (place.started) continue;
  place.started = true; // no attribute, which a copy that the browser saves would have
  const data = JSON.parse(place.textContent);
  render(place.previousElementSibling, data, data.state);
}
"""
FRAGMENT_BYTES = 1_000_000  # for notebooks, which carry every output: six steps of Stable Diffusion
FRAGMENT_STEPS = 20  # or fewer; of the miniature they take a fifth of a megabyte
UNTOUCHED: Mapping[str, Any] = {}


def page(
    traces: Trace | Sequence[Trace],
    path: str | Path,
    *,
    max_bytes: int = PAGE_BYTES,
    image: int = 0,
    index: int | None = None,
    model: Model | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write one HTML file that shows the runs in lockstep: it opens from a disk, on a phone,
    offline.

    Args:
        traces: one, or several that are compared.
        path: an .html file in a folder that exists.
        max_bytes: bound on the stored tensors; where all steps would be more, fewer are shown,
            evenly spread.
        image: which image of a batch, from 0.
        index: of the step at which it opens, from 0, and which it prints; the middle one where
            `None`.
        model: decodes the predictions, in pictures of 256 pixels at most that come on top of
            `max_bytes`; without it they have their previews.
        progress: told after each prediction that was decoded (done, total), which takes long.

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
    runs = as_traces(traces)
    data = pack(runs, max_bytes, image=image, index=index, model=model, progress=progress)
    return write(path, data["title"], _place(data, strips(runs, image, index)), ALONE)


def write(path: str | Path, title: str, body: str, start: str) -> Path:
    """Write a page with the player's script and style, the only ones that its policy allows;
    `start` is the script's last part.
    """
    heading = f"<h1>{escape(title)}</h1>"
    script = SCRIPT + start
    whole = html.page(title, heading + body, STYLE, script, "sagviz-page", inline_styles=False)
    return html.write_page(path, whole)


def island(data: Any, style_class: str) -> str:
    """Data for a script as an element; no end tag, and no comment, can be read in it.

    Raises:
        TraceError: a number is not finite.
    """
    try:
        content = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise TraceError(
            "the run has numbers beyond what a page can show; look at its scales and noise levels"
        ) from error
    content = content.replace("<", "\\u003c")
    return f'<script type="application/json" class="{style_class}">{content}</script>'


def fragment(
    traces: Trace | Sequence[Trace],
    *,
    max_bytes: int = FRAGMENT_BYTES,
    max_steps: int = FRAGMENT_STEPS,
    image: int = 0,
    index: int | None = None,
    state: Mapping[str, Any] = UNTOUCHED,
    still: str = "",
) -> str:
    """The same as a piece of a page, such as a notebook's output: 20 steps, evenly spread, and a
    megabyte at most.

    Where scripts and styles are taken out (untrusted notebooks, some exports) a strip of pictures
    with captions is left, or `still`.

    Args:
        traces: one, or several that are compared.
        max_bytes: bound on the stored tensors.
        max_steps: bound on the steps.
        image: which image of a batch, from 0.
        index: of the step at which it opens, from 0, and which it prints; the middle one where
            `None`.
        state: how it opens otherwise: {"panes": [...], "view": ..., "scales": ...} as the player
            itself has it.
        still: HTML that is seen where no script runs; the strip where it is empty.
    """
    runs = as_traces(traces)
    data = pack(runs, max_bytes, max_steps, image, index) | {"state": dict(state)}
    place = _place(data, still or strips(runs, image, index))
    return (
        f"<style>{STYLE}</style><p><strong>{escape(data['title'])}</strong></p>"
        f'{place}<script type="module">{SCRIPT}{START}</script>'
    )


def strips(traces: Sequence[Trace], image: int = 0, index: int | None = None) -> str:
    """Each run as a strip of small pictures, the opened step among them."""
    whole = [one_image(trace, image) for trace in traces]
    at = opened(whole, index)
    return "".join(strip(trace, at) for trace in whole)


def _place(data: dict[str, Any], still: str) -> str:
    """Where the player will stand, what is seen until then, and its data."""
    return f'<div class="sagviz">{still}</div>{island(data, "sagviz-data")}'
