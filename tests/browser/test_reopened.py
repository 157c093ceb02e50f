"""A notebook that was saved, closed and opened again shows what was seen last, without a kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
from driver import Notebook, Opener
from nbconvert import HTMLExporter
from playwright.sync_api import BrowserContext

CODE = """
import torch; torch.set_num_threads(1)
import sagviz as sv
model = sv.load()
playground = sv.Playground(model, prompt="a fox", steps=3)
playground
"""


def reopen(context: BrowserContext, address: str) -> Notebook:
    page = context.new_page()
    page.goto(address)
    page.locator(".jp-Cell").first.wait_for()
    return Notebook(page)


def test_what_was_seen_last_is_seen_again(
    open_notebook: Opener, lab: tuple[str, Path], context: BrowserContext
) -> None:
    notebook = open_notebook("reopened", CODE)
    page, still = notebook.page, ".sag-still"
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_alt_text("CFG + SAG: a fox").first.wait_for()
    page.wait_for_function("() => document.querySelectorAll('.sag-still img').length === 2")
    assert not page.locator(still).is_visible(), "not beside the live widget"
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    address, root = lab
    path = root / "reopened.ipynb"
    while "data:image" not in path.read_text():
        page.wait_for_timeout(200)
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    again = reopen(context, f"{address}/workspaces/again/tree/reopened.ipynb?reset")
    again.page.locator(still).wait_for()
    again.page.wait_for_timeout(3000)  # for what comes late
    assert again.page.locator(f"{still} img:visible").count() == 2
    assert (
        again.page.get_by_text("Error displaying widget")
        .and_(again.page.locator(":visible"))
        .count()
        == 0
    )
    again.page.close()
    saved = nbformat.read(path, as_version=4)
    outputs = [each for cell in saved.cells for each in cell.get("outputs", [])]
    assert outputs[-1].data["text/html"].count("<img") == 2
    html, _ = HTMLExporter().from_notebook_node(saved)
    assert html.count('<div class="sag-still">') == 1
