"""The widgets in Notebook 7: its page is another, its kernel and its widgets are JupyterLab's."""

from __future__ import annotations

from pathlib import Path

from driver import jupyter, new_notebook, pixels
from playwright.sync_api import BrowserContext

SETUP = """
import torch
torch.set_num_threads(1)
import sagviz as sv
model = sv.load()
playground = sv.Playground(model, prompt="a fox on a blue background", seed=7, steps=4)
playground
"""


def test_the_playground_runs_and_the_others_open(context: BrowserContext, tmp_path: Path) -> None:
    with jupyter(tmp_path, "notebook") as server:
        notebook = new_notebook(context, server, "classic")
        notebook.run(SETUP, timeout=90)
        page = notebook.page
        handle = page.locator(".sag-cfg-scale .noUi-handle")
        handle.focus()
        # the arrow keys fold the notebook's headings here, whatever has the focus
        handle.press("PageUp")
        notebook.until("playground.cfg_scale == 3.5")
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator(".sag-status", has_text="CFG 3.5").wait_for()
        sides = [
            pixels(page.locator(f".sag-picture img[alt^='{side}:']"))
            for side in ("CFG", "CFG + SAG")
        ]
        assert sides[0] != sides[1]
        for number, code in enumerate(
            (
                "sv.Preference([playground.traces])",
                "sv.Scrubber(playground.traces)",
                "sv.Microscope(model, playground.traces[1])",
            ),
            start=2,
        ):
            notebook.run(code)
            page.locator(".sag-view").nth(number - 1).wait_for()
        assert page.get_by_text("Error displaying widget").count() == 0
        notebook.close()
