"""The Grid in a real page: crossed, opened by mouse and keys, filled in, cancelled, downloaded."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from driver import Notebook, Opener, pixels, serious_faults
from playwright.sync_api import Locator

from sagviz.image import from_png

SETUP = """
import torch
torch.set_num_threads(1)
import sagviz as sv
from sagviz import CFG, SAG
from sagviz.sweeps import begin
model = sv.load()
prompts = ["a fox on a blue background", "a cat <script>1</script>"]
guidance = [CFG(w) + SAG(s) for w in (1.0, 3.0) for s in (0.0, 1.0)]
sweep = begin(model, prompts, seeds=[7, 8], steps=4, guidance=guidance, store="cells", keep=None)
made = sweep.run(model, batch=6)
for _ in range(6):
    next(made)
broken = sweep.select(prompt=prompts[1], seed=7, cfg_scale=3, sag_scale=0)[0]
sweep.store.fail(broken.key, "OutOfMemoryError: <b>no</b> memory is left")
grid = sv.Grid(sweep, model=model, fixed={"seed": 7})
grid
"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Opener) -> Notebook:
    return open_notebook("grid", SETUP)


def square(notebook: Notebook, *words: str) -> Locator:
    """The button whose words contain all these."""
    found = notebook.page.locator(".sag-square")
    for each in words:
        found = found.and_(notebook.page.locator(f".sag-square[title*='{each}']"))
    return found


def choose(notebook: Notebook, label: str, option: str) -> None:
    notebook.page.locator(".sag-view").get_by_label(label, exact=True).select_option(option)


def press(notebook: Notebook, name: str) -> None:
    notebook.page.locator(".sag-view").get_by_role("button", name=name, exact=True).click()


def heads(notebook: Notebook, scope: str) -> list[str]:
    return notebook.page.locator(f".sag-board th[scope={scope}]").all_inner_texts()


def test_axes_in_words_pictures_with_alt_texts_and_marks(notebook: Notebook) -> None:
    page = notebook.page
    page.locator(".sag-square img").nth(1).wait_for()
    assert heads(notebook, "col") == ["CFG scale 1", "CFG scale 3"]
    assert heads(notebook, "row") == ["“a fox on a blue background”", "“a cat <script>1</script>”"]
    alts = page.locator(".sag-square img").evaluate_all("images => images.map(image => image.alt)")
    assert alts == [
        f"“a fox on a blue background”, seed 7, CFG {w} + SAG 0, 4 steps" for w in (1, 3)
    ]
    assert page.locator(".sag-is-pending").inner_text() == "not run yet"
    failed = page.locator(".sag-is-failed")
    assert "OutOfMemoryError: <b>no</b> memory is left" in (failed.get_attribute("title") or "")
    assert failed.get_attribute("aria-label") == failed.get_attribute("title")
    sizes = page.locator(".sag-square").evaluate_all(
        "all => all.map(one => [one.offsetWidth, one.offsetHeight].join())"
    )
    assert len(set(sizes)) == 1
    assert serious_faults(page, ".sag-view") == []


def test_other_axes_and_values(notebook: Notebook) -> None:
    page = notebook.page
    before = pixels(square(notebook, "a fox", "CFG 3 + SAG 0").locator("img"))
    choose(notebook, "SAG scale", "SAG scale 1")
    after = square(notebook, "a fox", "CFG 3 + SAG 1").locator("img")
    after.wait_for()
    assert pixels(after) != before
    choose(notebook, "rows", "SAG scale")
    page.locator(".sag-board th", has_text="SAG scale 0").wait_for()
    assert heads(notebook, "row") == ["SAG scale 0", "SAG scale 1"]
    choose(notebook, "columns", "SAG scale")  # the two change places
    page.locator(".sag-board th[scope=row]", has_text="CFG scale 1").wait_for()
    assert heads(notebook, "col") == ["SAG scale 0", "SAG scale 1"]
    choose(notebook, "under pictures", "sharpness")
    page.get_by_text("sharpness under each picture").wait_for()
    told = notebook.value(
        "grid.sweep.table().query('sag_scale == 0 and cfg_scale == 1 and seed =="
        " 7').sharpness.iloc[0]"
    )
    assert square(notebook, "a fox", "CFG 1 + SAG 0").locator("span").inner_text() == f"{told:.3g}"


def test_keyboard_opens_a_cell_in_the_scrubber(notebook: Notebook) -> None:
    page = notebook.page
    square(notebook, "CFG 1 + SAG 0").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.title").endswith("CFG 3 + SAG 1, 4 steps")
    page.keyboard.press("Enter")
    page.locator(".sag-opened .sagviz").wait_for()
    assert square(notebook, "CFG 3 + SAG 1").get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    page.locator(
        ".sag-opened h3", has_text="“a fox on a blue background”, seed 7, CFG 1 + SAG 1, 4 steps"
    ).wait_for()
    assert notebook.value("grid.selected") == [0, 1]
    assert serious_faults(page, ".sag-view") == []


def test_run_fills_in_and_cancel_keeps_what_is_done(notebook: Notebook) -> None:
    page = notebook.page
    notebook.run("grid.columns, grid.rows = 'cfg_scale', 'prompt'")
    square(notebook, "a cat", "CFG 1").and_(page.locator(".sag-is-pending")).wait_for()
    press(notebook, "Run missing cells")
    page.locator(".sag-status", has_text="left").wait_for()
    assert notebook.value("1 + 1") == 2, "the kernel works meanwhile"
    press(notebook, "Cancel")
    notebook.until("not grid.worker.busy")
    left = notebook.value("len(sweep.missing())")
    assert 0 < left < 10
    page.locator(".sag-status", has_text="stopped").wait_for()
    press(notebook, "Run missing cells")
    notebook.until("not grid.worker.busy and not sweep.missing()", timeout=120)
    page.locator(".sag-square img[alt*='a cat']").nth(1).wait_for()
    assert page.locator(".sag-is-failed, .sag-is-pending, .sag-is-running").count() == 0
    page.get_by_text("16 cells: 16 done.").first.wait_for()


def test_downloads(notebook: Notebook, tmp_path: Path) -> None:
    page = notebook.page
    with page.expect_download() as download:
        press(notebook, "Download PNG")
    download.value.save_as(tmp_path / "sweep.png")
    sent = (tmp_path / "sweep.png").read_bytes()
    notebook.run("from base64 import b64encode\nfrom sagviz.image import to_png")
    shown = base64.b64decode(notebook.value("b64encode(to_png(grid.sheet.picture())).decode()"))
    assert from_png(sent).tobytes() == from_png(shown).tobytes()
    with page.expect_download() as download:
        press(notebook, "Download HTML")
    download.value.save_as(tmp_path / "sweep.html")
    other, asked = page.context.new_page(), list[str]()
    other.on("request", lambda request: asked.append(request.url))
    other.on("console", lambda message: asked.append(message.text))
    other.goto((tmp_path / "sweep.html").as_uri())
    assert other.locator("img").count() == 4
    assert other.locator("th[scope=row]").nth(1).inner_text() == "“a cat <script>1</script>”"
    assert serious_faults(other, "body") == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    other.close()


def test_a_cell_of_one_step_is_shown_large_and_run_whole(notebook: Notebook) -> None:
    page = notebook.page
    notebook.run("grid.close()")
    notebook.run(
        "short = sv.sweep(model, prompts[0], seeds=[1, 2], steps=5, guidance=CFG(3.0) + SAG(1.0),"
        " progress=False)\ngrid = sv.Grid(short, model=model)\ngrid"
    )
    square(notebook, "seed 2").locator("img").wait_for()
    square(notebook, "seed 2").click()
    table = page.locator(".sag-settings")
    table.wait_for()
    assert "CFG scale" in table.inner_text()
    press(notebook, "Run this cell with all steps")
    page.locator(".sag-opened .sagviz").wait_for(timeout=60_000)
    assert notebook.value("len(grid.opened.trace)") == 5
    assert serious_faults(page, ".sag-view") == []


def test_narrow_pages_scroll_inside_the_table(notebook: Notebook) -> None:
    page = notebook.page
    page.set_viewport_size({"width": 640, "height": 900})
    page.wait_for_timeout(400)
    overflow = page.evaluate(
        """() => {
            const view = document.querySelector('.sag-view');
            const edge = view.parentElement.getBoundingClientRect().right;
            return [...view.querySelectorAll('*')]
                .filter(part => !part.closest('.sag-board, .sagviz'))
                .filter(part => part.getBoundingClientRect().right > edge + 1)
                .map(part => part.tagName + '.' + part.className); }"""
    )
    assert overflow == []
    board = page.locator(".sag-board").bounding_box()
    assert board is not None
    assert board["x"] + board["width"] <= 640
