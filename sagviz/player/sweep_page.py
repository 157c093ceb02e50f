"""A sweep as one page: its pictures in a grid, and the player of the one that is pressed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from sagviz.checks import check_number
from sagviz.errors import ArgumentError
from sagviz.html import grid, img
from sagviz.player.document import island, write
from sagviz.player.pack import pack
from sagviz.player.stills import picture
from sagviz.records.trace import PAGE_BYTES
from sagviz.sweeps.labels import values_of, varies
from sagviz.sweeps.layout import Crossing, cross
from sagviz.sweeps.plan import Cell
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
// one that was pressed when the browser saved this copy
buttons.find((button) => button.getAttribute("aria-pressed") === "true")?.click();
"""


def page(
    sweep: Sweep, path: str | Path, *, columns: str | None = None, max_bytes: int = PAGE_BYTES
) -> Path:
    """Write the page.

    Args:
        sweep: some cells of it are done.
        path: an .html file in a folder that exists.
        columns: the setting that runs from left to right, such as "seed", "sag_scale" or "image",
            the number in the batch; the last one that varies where `None`.
        max_bytes: bound on the stored tensors of all pictures together.

    Raises:
        ArgumentError: the file cannot be written, no cell is done, or there is no such setting.
    """
    crossing = cross(sweep, columns=columns)
    axes, shown = crossing.axes, list(product(sweep.cells, crossing.axes["image"].values))
    varying = [name for name, axis in axes.items() if varies(axis) and name != "guidance"]
    owns = [{**values_of(cell), "image": image} for cell, image in shown]
    if len({tuple(map(own.get, varying)) for own in owns}) < len(owns):
        varying.append("guidance")
    across = (varying or ["seed"])[-1] if columns is None else columns
    down = [name for name in varying if name != across]
    tags, runs = _tags(crossing, shown, int(check_number("max_bytes", max_bytes)))
    rows: dict[str, dict[str, str]] = {}
    for own, tag in zip(owns, tags, strict=True):
        row = ", ".join(axes[name].label(own.get(name)) for name in down)
        rows.setdefault(row, {})[axes[across].label(own.get(across)) if across else ""] = tag
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    table = grid(
        heads, [(name, [row.get(head, "") for head in heads]) for name, row in rows.items()]
    )
    every = '<div class="sagviz-grid" tabindex="0" role="group" aria-label="All runs">'
    chosen = '<h2 class="sagviz-chosen" hidden></h2><div class="sagviz"></div>'
    prompt = sweep.cells[0].settings.caption if "prompt" not in varying else ""
    title = f"“{prompt}”, {len(shown)} pictures" if prompt else f"{len(shown)} pictures"
    return write(path, title, f"{every}{table}</div>{chosen}{island(runs, 'sagviz-runs')}", START)


def _tags(
    crossing: Crossing, shown: Sequence[tuple[Cell, int]], max_bytes: int
) -> tuple[list[str], list[dict[str, Any]]]:
    """What stands in the grid for each picture: itself, to press, or its run's status; and the
    runs.
    """
    sweep = crossing.sweep
    statuses = {cell: sweep.status(cell) for cell in sweep.cells}
    tags = [statuses[cell] for cell, _ in shown]
    done = [place for place, status in enumerate(tags) if status == "done"]
    if not done:
        raise ArgumentError("no cell of this sweep is done; run it first")
    runs, load = [], lru_cache(maxsize=1)(sweep.store.load)  # a run's images follow each other
    for number, place in enumerate(done):
        cell, image = shown[place]
        trace = load(cell.key).of_image(image)
        drawn = img(picture(trace, 256) or "", crossing.words(cell, image))
        button = f'<button type="button" value="{number}" aria-pressed="false">'
        tags[place] = f"{button}{drawn}</button>"
        runs.append(pack([trace], max_bytes // len(done)))
    return tags, runs
