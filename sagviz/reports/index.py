"""The index of a batch of reports: a card for each, with its pictures and its settings."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from urllib.parse import quote

from sagviz.errors import ReportError
from sagviz.files import save
from sagviz.html import escape, img, page
from sagviz.image import from_png, to_webp
from sagviz.records.trace_file import UNREADABLE
from sagviz.reports.jobs import Job
from sagviz.reports.parameters import Parameters

STYLE = Path(__file__).with_name("index.css")
THUMBNAIL = 240  # pixels at most
PICTURE = re.compile(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"')


def write_index(folder: Path, jobs: Sequence[Job]) -> Path:
    """Write `index.html`: the jobs in their order, and those that failed with why.

    Raises:
        ReportError: it cannot be written.
    """
    failed = sum(job.page is None for job in jobs)
    words = f"{len(jobs) - failed} reports" + (f", {failed} rows failed" if failed else "")
    cards = "".join(f"<li>{_card(job)}</li>" for job in jobs)
    body = f"<h1>Self-Attention Guidance: {words}</h1><ol>{cards}</ol>"
    content = page(words, body, STYLE.read_text(encoding="utf-8"))
    return save(folder / "index.html", content.encode(), ReportError)


def _card(job: Job) -> str:
    if job.page is None or job.parameters is None:
        return f"<p><b>row {job.row} failed</b></p><p>{escape(job.error)}</p>"
    prompt = job.parameters.prompt or "(no prompt)"
    pictures = f"<div>{_thumbnails(job.page.with_suffix('.ipynb'))}</div>"
    link = f'<a href="{quote(job.page.name)}">{pictures}<b>{escape(prompt)}</b></a>'
    return f"{link}<p>row {job.row}: {escape(', '.join(_changed(job.parameters)))}</p>"


def _changed(parameters: Parameters) -> list[str]:
    """The settings that are not the usual ones, beside the prompt; the seed always."""
    given, usual = vars(parameters), vars(Parameters())
    names = [name for name in given if name != "prompt" and given[name] != usual[name]]
    return [f"{name} {given[name]}" for name in dict.fromkeys(("seed", *names))]


def _thumbnails(notebook: Path) -> str:
    """The pictures of an executed notebook's first output that has any, smaller; nothing where it
    is gone, or somebody has changed it.
    """
    try:
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        outputs = (each for cell in cells for each in cell.get("outputs", []))
        found = (
            PICTURE.findall("".join(each.get("data", {}).get("text/html", ""))) for each in outputs
        )
        return "".join(
            img(to_webp(from_png(b64decode(coded)), THUMBNAIL), unescape(alt))
            for coded, alt in next(filter(None, found), [])
        )
    except (OSError, *UNREADABLE):
        return ""
