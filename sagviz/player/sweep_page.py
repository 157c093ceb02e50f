"""A sweep as one page: its pictures in a grid, and the player of the one that is pressed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from sagviz.errors import ArgumentError
from sagviz.player import PAGE_BYTES, document, island
from sagviz.player.pack import pack, picture
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
        columns: the setting that runs from left to right, such as "seed" or "sag_scale"; the last
            one that varies where `None`.
        max_bytes: bound on the stored tensors of all cells together.

    Raises:
        ArgumentError: the file cannot be written, no cell is done, or there is no such setting.
    """
    values = [sweep.shown(cell) for cell in sweep.cells]
    names = list(values[0])
    varying = [name for name in names if len({repr(of[name]) for of in values}) > 1]
    across = columns or (varying[-1] if varying else "seed")
    if across not in names:
        raise ArgumentError(f"columns is {columns!r}; this sweep has {', '.join(names)}")
    statuses = [sweep.status(cell) for cell in sweep.cells]
    if "done" not in statuses:
        raise ArgumentError("no cell of this sweep is done; run it first")
    runs: list[dict[str, Any]] = []
    tags = []
    for cell, of, status in zip(sweep.cells, values, statuses, strict=True):
        tags.append(status)
        if status == "done":
            trace = sweep.store.load(cell.key)
            tags[-1] = _tag(len(runs), picture(trace, 0, 256), _words(of, varying))
            runs.append(pack([trace], max_bytes // statuses.count("done")))
    grid = _table(values, tags, across, [name for name in varying if name != across])
    chosen = '<h2 class="sagviz-chosen" hidden></h2><div class="sagviz"></div>'
    prompt = values[0]["prompt"] if "prompt" not in varying else ""
    title = f"“{prompt}”, {len(values)} runs" if prompt else f"{len(values)} runs"
    return document(path, title, f"{grid}{chosen}{island(runs, 'sagviz-runs')}", START)


def _words(values: dict[str, Any], names: Sequence[str]) -> str:
    """`seed 7, sag scale 0.5`."""
    return ", ".join(f"{name.replace('_', ' ')} {values[name]}" for name in names) or "run"


def _tag(number: int, source: str | None, words: str) -> str:
    shown = f'<img src="{source}" alt="{escape(words, quote=True)}">'
    return f'<button type="button" value="{number}" aria-pressed="false">{shown}</button>'


def _table(values: list[dict[str, Any]], tags: list[str], across: str, down: Sequence[str]) -> str:
    """Rows are the combinations of all other settings that vary."""
    rows: dict[str, dict[str, str]] = {}
    for of, tag in zip(values, tags, strict=True):
        rows.setdefault(_words(of, down) if down else "", {})[_words(of, [across])] = tag
    heads = list(dict.fromkeys(_words(of, [across]) for of in values))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{row.get(column, '')}</td>" for column in heads)
        + "</tr>"
        for name, row in rows.items()
    )
    table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="sagviz-grid" tabindex="0" role="group" aria-label="All runs">{table}</div>'
