"""All of it as pages that need no network: `make site` writes build/site, or `python docs/site.py
FOLDER [LIVE]`. README, notebooks with live players, how-tos, teaching, study and the reference of
names, and the live page where its file is given; links between them, and pictures, come along.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from urllib.parse import unquote

import api
import nbformat
from pygments.formatters import HtmlFormatter

from sagviz import html
from sagviz.reports.page import exporter, markdown_with_math

ROOT = Path(__file__).parents[1]
SOURCES = "https://github.com/sagviz/sagviz/blob/main"
GROUPS = {
    "": ("README.md",),
    "Course": ("notebooks/0*.ipynb",),
    "Study and report": ("notebooks/study.ipynb", "notebooks/report.ipynb"),
    "How to": ("docs/howto/*.md",),
    "Teaching": ("docs/teaching/*.md",),
    "Reference": ("docs/*.md", "sagviz/mini/README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"),
    "Solutions": ("notebooks/solutions/*.ipynb",),
}
REFERENCE, LIVE = "api/sagviz.html", "live.html"
LIVE_LINE = "writes the live page"  # the README's words, which lead there
STYLE = (ROOT / "docs" / "site.css").read_text(encoding="utf-8")
# the two whose every colour stands out by 4.5 to 1
LIGHT, DARK = (
    HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("xcode", "lightbulb")
)
CODE = f"{LIGHT}\n@media (prefers-color-scheme: dark) {{ {DARK} }}"


@dataclass(frozen=True)
class Page:
    """A file of the project that becomes a page.

    Attributes:
        source: its path in the project.
        group: the heading that it stands under.
        title: its first heading.
    """

    source: str
    group: str
    title: str

    @property
    def path(self) -> str:
        """Where it stands in the site."""
        return (
            "index.html"
            if self.source == "README.md"
            else str(PurePosixPath(self.source).with_suffix(".html"))
        )


def pages() -> list[Page]:
    """All pages, in the order in which they are read."""
    found = {
        path.relative_to(ROOT).as_posix(): group
        for group, patterns in GROUPS.items()
        for pattern in patterns
        for path in sorted(ROOT.glob(pattern))
    }
    return [Page(source, group, _title(ROOT / source)) for source, group in found.items()]


def write(folder: Path, live: Path | None = None) -> None:
    """Write the site, with the live page where there is one; an old site in its place goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if live is not None:
        shutil.copy(live, folder / LIVE)
    every = pages()
    for place, page in enumerate(every):
        body = _linked(_body(ROOT / page.source), page, every)
        around = [
            every[near] if 0 <= near < len(every) else None for near in (place - 1, place + 1)
        ]
        if live is not None and page.path == "index.html":
            body = _leading_to_live(body)
        contents = _contents(page, every, live is not None)
        main = f"{contents}<article>{body}{_neighbours(page, *around)}</article>"
        target = folder / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html.page(page.title, main, STYLE + CODE), encoding="utf-8")
    api.write(folder / "api")


def _title(path: Path) -> str:
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(source, as_version=4).cells
        source = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    heading = re.search(r"^# (.+)$", source, re.MULTILINE)
    return (heading[1] if heading else path.stem).replace("`", "").replace("$", "")


def _body(path: Path) -> str:
    """The content of a file as HTML: formulas as MathML, outputs as they were. What scrolls
    sideways on a narrow page can be reached by keys.
    """
    if path.suffix == ".md":
        body = markdown_with_math(path.read_text(encoding="utf-8"))
    else:
        body, _ = exporter().from_filename(str(path))
    return re.sub(r"<(pre|table)(?=[ >])", r'<\1 tabindex="0"', body)


def _linked(body: str, page: Page, every: Sequence[Page]) -> str:
    """The same with pictures inside, and with links that lead to pages of the site, or to the
    project's files where they are none.
    """
    places = {each.source: each.path for each in every}

    def target(address: str) -> str:
        path, _, mark = unescape(address).partition("#")
        source = normpath(f"{PurePosixPath(page.source).parent}/{path}")
        found = places.get(source) or places.get(f"{source}/README.md")
        place = _way(page, found) if found else f"{SOURCES}/{source}"
        return f"{place}{f'#{_mark(mark)}' if mark else ''}"

    def replaced(match: re.Match[str]) -> str:
        name, address = match[1], match[2]
        if address.startswith("#"):
            return f'{name}="#{_mark(address)}"'
        if re.match(r"[a-z]+:|$", address):
            return match[0]
        if name == "src":
            picture = ROOT / PurePosixPath(page.source).parent / unescape(address)
            return f'src="{html.data_uri(picture.read_bytes())}"'
        return f'href="{escape(target(address))}"'

    body = re.sub(r'(<h. id=)"([^"]*)"', lambda found: f'{found[1]}"{_mark(found[2])}"', body)
    return re.sub(r'\b(href|src)="([^"]*)"', replaced, body)


def _mark(heading: str) -> str:
    """A heading as an address within a page, in GitHub's way, by which our links are written."""
    return re.sub(r"[^\w -]", "", unquote(unescape(heading)).lower()).strip().replace(" ", "-")


def _leading_to_live(body: str) -> str:
    """The README's line about the live page with a link to it."""
    assert LIVE_LINE in body, f"the README says nowhere that `make live` {LIVE_LINE}"
    before, name = LIVE_LINE.split(" ", 1)
    return body.replace(LIVE_LINE, f'{before} <a href="{LIVE}">{name}</a>')


def _contents(page: Page, every: Sequence[Page], live: bool) -> str:
    """All pages by their groups, this one marked; on a narrow page they are folded away."""
    items = "".join(_group(name, page, every) for name in GROUPS)
    beside = {**({"The live page": LIVE} if live else {}), "All public names": REFERENCE}
    links = "".join(
        f'<p><a href="{_way(page, place)}">{words}</a></p>' for words, place in beside.items()
    )
    return (
        f'<nav aria-label="Contents"><details><summary>Contents: {escape(page.title)}</summary>'
        f"</details><div>{items}{links}</div></nav>"
    )


def _group(name: str, page: Page, every: Sequence[Page]) -> str:
    links = "".join(_item(each, page) for each in every if each.group == name)
    return f"<p>{escape(name)}</p><ul>{links}</ul>"


def _item(each: Page, page: Page) -> str:
    here = html.attributes({"aria-current": "page" if each == page else ""})
    return f'<li><a href="{_way(page, each.path)}"{here}>{escape(each.title)}</a></li>'


def _neighbours(page: Page, before: Page | None, after: Page | None) -> str:
    return f'<nav aria-label="Neighbours">{"".join(_steps(page, before, after))}</nav>'


def _steps(page: Page, before: Page | None, after: Page | None) -> Iterator[str]:
    for near, sign in ((before, "← {}"), (after, "{} →")):
        if near is not None:
            words = sign.format(escape(near.title))
            yield f'<a href="{_way(page, near.path)}">{words}</a>'


def _way(page: Page, path: str) -> str:
    return relpath(path, str(PurePosixPath(page.path).parent))


if __name__ == "__main__":
    place, *live = map(Path, sys.argv[1:] or ["build/site"])
    write(place, *live)
    print((place / "index.html").resolve())
