"""A sweep as one page: its pictures in a grid, and the player of the one that is pressed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagviz.errors import ArgumentError
from sagviz.html import grid, img
from sagviz.player.document import island, write
from sagviz.player.pack import pack
from sagviz.player.stills import picture
from sagviz.records.trace import PAGE_BYTES
from sagviz.sweeps.results import Sweep

START = """
const runs = JSON.parse(document.querySelector(".sagviz-runs").textContent);
const buttons = [...document.querySelectorAll(".sagviz-grid button")];
for (const button of buttons) button.addEventListener("click", async () => {
  for (const other of buttons) other.setAttribute("aria-pressed", other === button);
  const chosen = document.querySelector(".sagviz-chosen");
  chosen.textContent = button.firstChild.alt;
  chosen.hidden = false;
  await render(document.querySelector(".sagviz"), runs[button.value]);
  chosen.scrollIntoView({ behavior: "smooth" });
});
"""


def page(
    sweep: Sweep, path: str | Path, *, columns: str | None = None, max_bytes: int = PAGE_BYTES
) -> Path:
    """Write the page.

    Args:
        sweep: some cells of it are done.
        path: an .html file in a folder that exists.
        columns: the setting that runs from left to right, such as "seed" or "sag_scale"; the last
            one that varies where `None`.
        max_bytes: bound on the stored tensors of all cells together.

    Raises:
        ArgumentError: the file cannot be written, no cell is done, or there is no such setting.
    """
    values = [sweep.shown(cell) for cell in sweep.cells]
    varying = [name for name in values[0] if len({repr(of[name]) for of in values}) > 1]
    across = columns or (varying[-1] if varying else "seed")
    if across not in values[0]:
        raise ArgumentError(f"columns is {columns!r}; this sweep has {', '.join(values[0])}")
    tags, runs = _tags(sweep, [_words(of, varying) for of in values], max_bytes)
    table = _table(values, tags, across, [name for name in varying if name != across])
    chosen = '<h2 class="sagviz-chosen" hidden></h2><div class="sagviz"></div>'
    prompt = values[0]["prompt"] if "prompt" not in varying else ""
    title = f"“{prompt}”, {len(values)} runs" if prompt else f"{len(values)} runs"
    return write(path, title, f"{table}{chosen}{island(runs, 'sagviz-runs')}", START)


def _tags(
    sweep: Sweep, words: Sequence[str], max_bytes: int
) -> tuple[list[str], list[dict[str, Any]]]:
    """What stands in the grid for each cell: a picture to press, or its status; and the runs."""
    tags = [sweep.status(cell) for cell in sweep.cells]
    done = [place for place, status in enumerate(tags) if status == "done"]
    if not done:
        raise ArgumentError("no cell of this sweep is done; run it first")
    runs = []
    for number, place in enumerate(done):
        trace = sweep.store.load(sweep.cells[place].key)
        shown = img(picture(trace, 256) or "", words[place])
        button = f'<button type="button" value="{number}" aria-pressed="false">'
        tags[place] = f"{button}{shown}</button>"
        runs.append(pack([trace], max_bytes // len(done)))
    return tags, runs


def _words(values: dict[str, Any], names: Sequence[str]) -> str:
    """`seed 7, sag scale 0.5`."""
    return ", ".join(f"{name.replace('_', ' ')} {values[name]}" for name in names) or "run"


def _table(values: list[dict[str, Any]], tags: list[str], across: str, down: Sequence[str]) -> str:
    """Rows are the combinations of all other settings that vary."""
    rows: dict[str, dict[str, str]] = {}
    for of, tag in zip(values, tags, strict=True):
        rows.setdefault(_words(of, down) if down else "", {})[_words(of, [across])] = tag
    heads = list(dict.fromkeys(_words(of, [across]) for of in values))
    table = grid(
        heads, [(name, [row.get(head, "") for head in heads]) for name, row in rows.items()]
    )
    return f'<div class="sagviz-grid" tabindex="0" role="group" aria-label="All runs">{table}</div>'
