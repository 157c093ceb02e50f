"""The index of a batch of reports: a card for each, with its pictures and its settings."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sagviz import describe
from sagviz.errors import ReportError
from sagviz.files import save
from sagviz.html import escape, img, page
from sagviz.image import from_png, to_webp
from sagviz.records.trace_file import UNREADABLE
from sagviz.reports.jobs import Job
from sagviz.reports.parameters import Parameters
from sagviz.reports.summary import what_ran

STYLE = Path(__file__).with_name("index.css")
THUMBNAIL = 240  # pixels at most
ALWAYS = ("prompt", "seed", "cfg_scale", "sag_scale", "terms")  # that a card has in its own words
PICTURE = re.compile(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"')


def write_index(folder: Path, jobs: Sequence[Job]) -> Path:
    """Write `index.html`: the jobs in their order, and those that failed with why.

    Raises:
        ReportError: it cannot be written.
    """
    failed = sum(job.page is None for job in jobs)
    words = _counted(len(jobs) - failed, "report")
    words += f", {_counted(failed, 'row')} failed" if failed else ""
    cards = "".join(f"<li>{_card(job)}</li>" for job in jobs)
    body = f"<h1>Self-Attention Guidance: {words}</h1><ol>{cards}</ol>"
    content = page(words, body, STYLE.read_text(encoding="utf-8"))
    return save(folder / "index.html", content.encode(), ReportError)


def _card(job: Job) -> str:
    if job.page is None or job.parameters is None:
        return f"<p><b>row {job.row} failed</b></p><p>{escape(job.error)}</p>"
    thumbnails, ran = _seen(job.page.with_suffix(".ipynb"))
    prompt = ran.get("prompt", job.parameters.prompt) or "(no prompt)"
    guidance = ran.get("guidance", describe.of_guidance(job.parameters.guidance))
    settings = ", ".join([f"seed {job.parameters.seed}", guidance, *_changed(job.parameters)])
    link = f'<a href="{quote(job.page.name)}"><div>{thumbnails}</div><b>{escape(prompt)}</b></a>'
    return f"{link}<p>row {job.row}: {escape(settings)}</p>"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _changed(parameters: Parameters) -> list[str]:
    """The settings that are not the usual ones, beside those that a card has always."""
    given, usual = vars(parameters), vars(Parameters())
    names = [name for name in given if name not in ALWAYS and given[name] != usual[name]]
    return [f"{name.replace('_', ' ')} {_shown(given[name])}" for name in names]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _seen(notebook: Path) -> tuple[str, Mapping[str, str]]:
    """Thumbnails of an executed notebook, and what ran in it; nothing where it is gone, or somebody
    has changed it.
    """
    try:
        content = json.loads(notebook.read_text("utf-8"))
        return _thumbnails(content), what_ran(content)
    except (OSError, *UNREADABLE):
        return "", {}


def _thumbnails(notebook: Mapping[str, Any]) -> str:
    """The pictures of the first output that has any, smaller."""
    outputs = (each for cell in notebook["cells"] for each in cell.get("outputs", []))
    found = (
        PICTURE.findall("".join(each.get("data", {}).get("text/html", ""))) for each in outputs
    )
    return "".join(
        img(to_webp(from_png(b64decode(coded)), THUMBNAIL), unescape(alt))
        for coded, alt in next(filter(None, found), [])
    )
