"""Words of people, models and files that try to be HTML, in each field of each page: Chromium runs
none of it, and makes no element of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import nbformat
import pytest
from driver import Opener
from hostile.draws import INJECTIONS
from playwright.sync_api import Browser, Dialog, Page

import sagviz as sv
from sagviz import CFG, SAG, html
from sagviz.player import fragment, page
from sagviz.player.live.page import whole
from sagviz.player.live.parts import config
from sagviz.reports.index import write_index
from sagviz.reports.jobs import Job, file_name
from sagviz.reports.page import to_html
from sagviz.reports.parameters import Parameters

EVIL = " ".join(INJECTIONS)
# what any of them would make where it is taken for HTML, and what it would do there
MADE = "[onerror], [onload], [onfocus], iframe, a[href^='javascript'], main script:not([type])"
BOTH = CFG(3.0) + SAG(1.0)


@pytest.fixture(scope="module")
def evil(model: sv.Model) -> sv.Trace:
    """A run of which all words are evil; those of its scheduler are checked when it is loaded."""
    trace = sv.trace(model, EVIL, steps=2, guidance=BOTH, negative_prompt=EVIL, progress=False)
    settings = replace(trace.settings, model=EVIL, fingerprint=EVIL, inputs={EVIL: (EVIL,)})
    return replace(trace, settings=settings)


def of_report(trace: sv.Trace, folder: Path) -> Path:
    """The report's page around each kind of output that a kernel sends."""
    rich = {"text/html": fragment(trace), "text/plain": EVIL}
    outputs = [
        nbformat.v4.new_output("display_data", rich),
        nbformat.v4.new_output("display_data", {"text/plain": EVIL}),
        nbformat.v4.new_output("stream", name="stdout", text=EVIL),
        nbformat.v4.new_output("error", ename=EVIL, evalue=EVIL, traceback=[EVIL]),
    ]
    cells = [nbformat.v4.new_code_cell(EVIL, outputs=outputs)]
    content = to_html(nbformat.v4.new_notebook(cells=cells), EVIL)
    return html.write_page(folder / "report.html", content)


def of_index(trace: sv.Trace, folder: Path) -> Path:
    """A report that was made, one whose notebook somebody broke, and a row that was refused."""
    jobs = [Job(3, error=EVIL)]
    for row, picture in ((1, trace.pictures[0]), (2, trace.pictures[0][:20])):
        parameters = Parameters(prompt=EVIL, negative_prompt=EVIL, model=EVIL, seed=row)
        page_ = folder / f"{file_name(parameters)}.html"
        rich = {"text/html": html.img(picture, EVIL)}
        cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", rich)])
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), page_.with_suffix(".ipynb"))
        jobs.append(Job(row, parameters, page_))
    path = write_index(folder, jobs)
    assert path.read_text().count("<img") == 1
    return path


def of_sweep(trace: sv.Trace, folder: Path) -> Path:
    """A grid; its store's reasons and cells are shown by `_repr_html_`."""
    model = sv.load()
    made = sv.sweep(model, [EVIL, "a fox"], steps=1, guidance=BOTH, progress=False, keep=None)
    made.store.fail(made.cells[0].key, EVIL)
    del trace
    path = made.to_html(folder / "grid.html")
    body = path.read_text() + made._repr_html_()
    return html.write_page(path, body)


def of_widgets(trace: sv.Trace, folder: Path) -> Path:
    """The static faces, which notebooks keep and show without a kernel."""
    model = sv.load()
    made = sv.sweep(model, [EVIL, "a fox"], steps=1, progress=False)
    made.store.fail(made.cells[1].key, EVIL)
    pairs = [(trace.image, trace.image)]
    vote = sv.Preference(pairs, names=(EVIL, EVIL + " "))
    vote.vote("left")
    faces: list[Any] = [
        sv.Playground(
            model, prompt=EVIL, negative_prompt=EVIL, steps=1, examples=[{"prompt": EVIL}]
        ),
        sv.Scrubber(trace),
        sv.Grid(made, model),
        sv.Microscope(model, sv.trace(model, EVIL, steps=1, guidance=BOTH, progress=False)),
        vote,
    ]
    faces[0].notice.fail(ValueError(EVIL))
    faces[1].notice.warn(EVIL)
    faces[2].notice.say(EVIL)
    body = "".join(face.static_html() for face in faces)
    for face in faces:
        face.close()
    return html.write_page(folder / "widgets.html", html.page(EVIL, body, ""))


def of_live(trace: sv.Trace, folder: Path) -> Path:
    """The live page with another's recorded run; it computes nothing, for it has no networks."""
    model = sv.load()
    made = {"script": "", "files": {}, "config": config(model), "notice": EVIL}
    return html.write_page(folder / "live.html", whole(made, [trace, trace], model))


PAGES: dict[str, Callable[[sv.Trace, Path], Path]] = {
    "player": lambda trace, folder: page([trace, trace], folder / "fox.html"),
    "report": of_report,
    "index": of_index,
    "grid": of_sweep,
    "widgets": of_widgets,
    "live": of_live,
}


def _hear_dialogs(page: Page, ran: list[str]) -> None:
    """Each dialog of a script that ran is noted, and closed."""

    def heard(dialog: Dialog) -> None:
        ran.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", heard)


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what ran on it."""
    opened, ran = browser.new_context(offline=True).new_page(), list[str]()
    _hear_dialogs(opened, ran)
    yield opened, ran
    opened.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_no_word_becomes_html(
    evil: sv.Trace, tab: tuple[Page, list[str]], name: str, tmp_path: Path
) -> None:
    opened, ran = tab
    file = PAGES[name](evil, tmp_path)
    assert "Content-Security-Policy" in file.read_text()[:1000]
    opened.goto(file.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    for press in opened.locator(".sagviz-grid button").all():
        press.click()
    opened.wait_for_timeout(300)
    assert opened.locator(MADE).evaluate_all("all => all.map(each => each.outerHTML)") == []
    assert ran == []
    shown = opened.locator("body").inner_text()
    assert "<script>alert(1)</script>" in shown, "the words are shown as words"


@pytest.mark.slow
def test_no_word_of_an_address_or_a_reader_becomes_html(
    live_file: Path, tab: tuple[Page, list[str]]
) -> None:
    """In the live page, which makes its sentences itself: each of the corpus comes as the address
    of a friend, which is run, and is typed into a field that cannot have it.
    """
    opened, ran = tab
    fields = "prompt", "negative", "mask", "cfg", "sag", "step", "panes", "view", "scales"
    opened.goto(live_file.as_uri())
    opened.locator(".status", has_text="Ready").wait_for(timeout=120_000)
    for words in INJECTIONS:
        address = dict.fromkeys(fields, words) | {"seed": "1", "steps": "1"}
        opened.evaluate("address => { location.hash = address }", urlencode(address))
        opened.locator(".run-title", has_text=words.strip()).last.wait_for(timeout=60_000)
        opened.locator(".status", has_text="Done").wait_for(timeout=60_000)
        opened.locator("[name=seed]").fill(words)
        opened.locator("[name=prompt]").press("Enter")
        told = opened.locator(".ask .fault").inner_text()
        assert told.startswith(f"Seed is {words.strip()[:50]}")
        made = opened.locator(MADE).evaluate_all("all => all.map(each => each.outerHTML)")
        assert (made, ran) == ([], []), words


def test_the_corpus_is_dangerous_where_it_is_not_escaped(
    tab: tuple[Page, list[str]], tmp_path: Path
) -> None:
    """What the test above would see; and a page of ours runs nothing even then."""
    opened, ran = tab
    file = tmp_path / "plain.html"
    file.write_text(f"<!DOCTYPE html><body><p title='{EVIL}'>{EVIL}</body>", encoding="utf-8")
    opened.goto(file.as_uri())
    opened.wait_for_timeout(300)
    assert len(ran) >= 3
    assert opened.locator(MADE).count() >= 3
    ran.clear()
    opened.goto(html.write_page(file, html.page("t", f"<p title='{EVIL}'>{EVIL}", "")).as_uri())
    opened.wait_for_timeout(300)
    assert ran == []


@pytest.mark.slow
def test_no_word_becomes_html_in_a_notebook(open_notebook: Opener) -> None:
    """The widgets themselves, where no policy of ours holds."""
    setup = f"""
import sagviz as sv
from sagviz import CFG, SAG
evil = {EVIL!r}
model = sv.load()
made = sv.sweep(model, [evil, "a fox"], steps=1, progress=False)
made.store.fail(made.cells[1].key, evil)
trace = sv.trace(model, evil, steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False)
vote = sv.Preference([(trace.image, trace.image)], names=(evil, evil + " "))
vote.vote("left")
own = [dict(prompt=evil)]
play = sv.Playground(model, prompt=evil, negative_prompt=evil, steps=1, examples=own)
play.run()
play.notice.fail(ValueError(evil))
import ipywidgets
"""
    notebook = open_notebook("injection", setup)
    ran = list[str]()
    _hear_dialogs(notebook.page, ran)
    notebook.run("ipywidgets.VBox([play, sv.Scrubber(trace), vote])")
    notebook.run("ipywidgets.VBox([sv.Grid(made, model), sv.Microscope(model, trace)])")
    notebook.run("made")
    notebook.run("trace")
    notebook.page.wait_for_timeout(3000)
    output = notebook.page.locator(".jp-OutputArea")
    inside = "[onerror], [onload], [onfocus], a[href^='javascript'], iframe[srcdoc]"
    assert output.locator(inside).evaluate_all("all => all.map(each => each.outerHTML)") == []
    assert ran == []
