"""A notebook with all five widgets, saved once and opened again in each way that people open one:
each widget shows what was seen of it last.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from driver import Opener, jupyter
from nbconvert import HTMLExporter
from nbformat.sign import NotebookNotary
from playwright.sync_api import Browser, BrowserContext, Locator, Page

CELLS = (
    """
import torch; torch.set_num_threads(1)
import sagviz as sv
model = sv.load()
playground = sv.Playground(model, prompt="a fox", steps=3)
playground""",
    "traces = sv.compare(model, 'a cat', steps=4, progress=False)\nsv.Scrubber(traces, index=0)",
    "sv.Microscope(model, traces[1])",
    """
sweep = sv.sweep(model, "a cake", seeds=[1, 2], steps=2, keep=None, progress=False)
sv.Grid(sweep)""",
    "sv.Preference([traces, traces, traces])",
)
# what was seen last of each, in words and in alt texts
WORDS = {
    "Playground": ("CFG scale: 4.25", "a fox, seed 0, CFG 4.25, SAG 1, 3 steps"),
    "Scrubber": ("Step 4, the last of 4",),
    "Microscope": ("SAG scale: 1.5", "CFG 3 + SAG 1.5, decoded"),
    "Grid": ("2 cells: 2 done.", "“a cake”, seed 2, plain, 2 steps"),
    "Preference": ("Pair 2 of 3",),
}
ALTS = {
    "Playground": ("CFG: a fox, seed 0", "CFG + SAG: a fox, seed 0"),
    "Microscope": (
        "the run's own guided x̂₀: CFG 3 + SAG 1",
        "under these settings: CFG 3 + SAG 1.5",
    ),
    "Grid": ("“a cake”, seed 1", "“a cake”, seed 2"),
    "Preference": ("Left: picture of pair 2", "Right: picture of pair 2"),
}
SEEN = """() => {
    const faces = [...document.querySelectorAll('.sag-still')].filter(face => face.offsetParent);
    const alts = faces.flatMap(face => [...face.querySelectorAll('img')])
        .filter(image => image.offsetParent && image.naturalWidth > 1).map(image => image.alt);
    return [faces.map(face => face.innerText.replace(/\\s+/g, ' ')), alts]; }"""
EXCUSES = ("Error displaying widget", "model not found", "Loading widget")


class Left(HTMLParser):
    """What a forge's sanitizer leaves of HTML: words, and the alt texts of pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.alts, self.inside = "", list[str](), ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        if tag == "img":
            self.alts.append(dict(attributes).get("alt") or "")

    def handle_endtag(self, _tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.words += data


@pytest.fixture(scope="module")
def saved(open_notebook: Opener, lab: tuple[str, Path]) -> nbformat.NotebookNode:
    """The notebook's file after each widget was used."""
    notebook = open_notebook("used", *CELLS)
    page = notebook.page
    views = [page.locator(".jp-OutputArea-output > .sag-view").nth(n) for n in range(len(CELLS))]
    playground, scrubber, microscope, grid, preference = views
    fill(playground.locator(".sag-cfg-scale input"), "4.25")
    playground.get_by_role("button", name="Run", exact=True).click()
    page.get_by_alt_text("CFG + SAG: a fox, seed 0").first.wait_for()
    scrubber.locator(".step").press("End")
    fill(microscope.locator(".sag-sag-scale input"), "1.5")
    grid.locator(".sag-square").nth(1).click()
    grid.locator(".sag-opened .sagviz-player").wait_for()
    preference.get_by_role("button", name="Left is better").click()
    assert not page.locator(".sag-still:visible").count(), "none beside its live widget"
    wanted = [each for every in WORDS.values() for each in every]
    for _ in range(60):
        page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(500)
        found = nbformat.read(lab[1] / "used.ipynb", as_version=4)
        if all(words in Left(faces(found)).words for words in wanted):
            break
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    return found


def fill(box: Locator, text: str) -> None:
    box.fill(text)
    box.press("Enter")


def faces(notebook: nbformat.NotebookNode) -> str:
    """The HTML that stands in the file."""
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    return "".join(each.get("data", {}).get("text/html", "") for each in outputs)


def check(words: str, alts: list[str]) -> None:
    for name, every in WORDS.items():
        assert [each for each in every if each not in words] == [], name
    for name, every in ALTS.items():
        assert [each for each in every if not any(a.startswith(each) for a in alts)] == [], name


def check_page(page: Page) -> None:
    """The faces are seen, and no excuse for a widget that is gone."""
    page.set_viewport_size({"width": 1280, "height": 9000})  # what is out of sight is not laid out
    page.locator(".sag-still:visible").nth(len(CELLS) - 1).wait_for()
    page.wait_for_timeout(3000)  # for what comes late
    words, alts = page.evaluate(SEEN)
    check(" ".join(words), alts)
    for excuse in EXCUSES:
        assert page.get_by_text(excuse).and_(page.locator(":visible")).count() == 0


def write(notebook: nbformat.NotebookNode, path: Path, *, trusted: bool = True) -> None:
    nbformat.write(notebook, path)
    if trusted:
        NotebookNotary(data_dir=str(path.parents[1] / "data")).sign(nbformat.read(path, 4))


@pytest.mark.parametrize("way", ["fresh kernel", "no kernel", "untrusted"])
def test_in_jupyterlab(
    way: str, saved: nbformat.NotebookNode, lab: tuple[str, Path], context: BrowserContext
) -> None:
    address, root = lab
    notebook, name = nbformat.from_dict(saved), way.replace(" ", "-")
    if way == "no kernel":
        notebook.metadata.kernelspec = {"name": "none", "display_name": "none"}
    if way == "untrusted":
        notebook.metadata.copied = "from elsewhere"
    write(notebook, root / f"{name}.ipynb", trusted=way != "untrusted")
    page = context.new_page()
    page.goto(f"{address}/workspaces/{name}/tree/{name}.ipynb?reset")
    page.locator(".jp-Cell").first.wait_for()
    if way == "no kernel":
        page.get_by_role("button", name="No Kernel").last.click()
    check_page(page)
    alive = page.locator(".sagviz-player .readout", has_text="Step 4 of 4").count()
    assert alive == (way != "untrusted")
    page.close()


def test_in_notebook_7(
    saved: nbformat.NotebookNode, context: BrowserContext, tmp_path: Path
) -> None:
    with jupyter(tmp_path, "notebook") as (address, root):
        write(saved, root / "again.ipynb")
        page = context.new_page()
        page.goto(f"{address}s/again.ipynb")
        check_page(page)
        page.close()


def test_as_a_page_of_nbconvert(
    saved: nbformat.NotebookNode, browser: Browser, tmp_path: Path
) -> None:
    html, _ = HTMLExporter().from_notebook_node(saved)
    (tmp_path / "used.html").write_text(html, encoding="utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((tmp_path / "used.html").as_uri())
    check_page(page)
    context.close()


def test_where_scripts_and_styles_are_taken_out(saved: nbformat.NotebookNode) -> None:
    left = Left(faces(saved))
    check(left.words, left.alts)


def test_a_restart_leaves_the_faces_and_no_broken_chains(open_notebook: Opener) -> None:
    page = open_notebook("restarted", *CELLS[:2]).page
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.locator(".sag-still:visible").nth(1).wait_for()
    assert not page.locator(".sag-view:visible").count()
