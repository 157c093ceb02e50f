"""The Microscope in a real page: every slider, the pointer, the brush, a branch and its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from driver import Notebook, Opener, eventually, pixels, serious_faults

import sagviz as sv

SETUP = """
import torch; torch.set_num_threads(1)
import sagviz as sv
from sagviz import CFG, SAG
model = sv.load()
guidance = CFG(3.0) + SAG(1.0)
trace = sv.trace(
    model, "a fox on a blue background", seed=7, steps=12, guidance=guidance, progress=False
)
"""
OPEN = "scope = sv.Microscope(model, trace)\nscope"
CHANGED = '.sag-results img[alt^="under these settings"]'
LIT = """() => [...document.querySelectorAll('.sag-microscope :is([data-shows], .widget-hbox)')]
    .filter(node => node.offsetParent && getComputedStyle(node).outline.includes('solid 3px'))
    .map(node => node.dataset.shows
        ?? [...node.classList].find(name => name.startsWith('sag-of-')))"""
MASK = '.sag-panes img[alt^="mask"]'


@pytest.fixture(scope="module")
def notebook(open_notebook: Opener) -> Notebook:
    notebook = open_notebook("microscope", SETUP, OPEN)
    notebook.page.locator(CHANGED).wait_for()
    return notebook


@pytest.fixture(autouse=True)
def fresh(notebook: Notebook) -> None:
    notebook.run("scope.reset()\nscope.hidden = False\nscope.index = 6")


def tab(notebook: Notebook, name: str) -> None:
    notebook.page.get_by_role("tab", name=name).click()


def changes(notebook: Notebook, picture: str, before: str) -> None:
    """Wait until a picture has other pixels."""
    eventually(lambda: pixels(notebook.page.locator(picture)) != before, f"another {picture}")


@pytest.mark.parametrize(
    ("name", "step", "calls"),
    [
        ("cfg-scale", 0.1, 0),
        ("sag-scale", 0.05, 0),
        ("threshold", 0.05, 1),
        ("blur-sigma", 0.1, 1),
        ("index", 1, 0),
    ],
)
def test_every_slider(notebook: Notebook, name: str, step: float, calls: int) -> None:
    trait, page = name.replace("-", "_"), notebook.page
    start, before = notebook.value(f"scope.{trait}"), pixels(page.locator(CHANGED))
    handle = page.locator(f".sag-{name} .noUi-handle")
    handle.focus()
    for _ in range(4):
        handle.press("ArrowRight")
    shown = start + 4 * step
    written = shown + (name == "index")  # people count from 1
    notebook.until(f"abs(scope.{trait} - {shown}) < 1e-6")
    changes(notebook, CHANGED, before)
    page.locator(".sag-cost", has_text=f"{calls} U-Net call").wait_for()
    page.wait_for_function(
        f"() => Math.abs(document.querySelector('.sag-{name} input').value - {written}) < 1e-6"
    )
    if name != "index":
        page.locator(f".sag-reset-{name}").click()
        notebook.until(f"scope.{trait} == {start}")


def test_menus(notebook: Notebook) -> None:
    before = pixels(notebook.page.locator(MASK))
    notebook.page.locator(".sag-layer select").select_option(index=1)
    changes(notebook, MASK, before)
    notebook.page.locator(".sag-heads select").select_option("head 2")
    notebook.until("scope.heads == (2,)")
    notebook.page.locator(".sag-blur-kernel select").select_option("3")
    notebook.until("scope.step.guidance.get(SAG).blur_kernel == 3")
    notebook.page.locator(".sag-reset-all").click()
    notebook.until("scope.layer == 'mid' and scope.heads is None and scope.blur_kernel is None")


def test_terms_switch_off_and_on(notebook: Notebook) -> None:
    notebook.page.get_by_label("SAG acts").uncheck()
    notebook.page.locator(MASK).wait_for(state="detached")
    notebook.page.get_by_label("SAG acts").check()
    notebook.page.locator(MASK).wait_for()


def test_pointer_and_keys_choose_a_place(notebook: Notebook) -> None:
    tab(notebook, "Look from a place")
    surface = notebook.page.locator(".sag-surface").first
    box = surface.bounding_box()
    assert box is not None
    surface.click(position={"x": box["width"] * 9.5 / 16, "y": box["height"] * 5.5 / 16})
    notebook.page.locator(".sag-place-bars", has_text="fox").wait_for()
    assert notebook.value("scope.place") == [5, 9]
    surface.press("ArrowDown")
    notebook.until("scope.place == (6, 9)")
    row = notebook.page.get_by_label("row", exact=True).first
    row.fill("2")
    row.press("Enter")
    notebook.until("scope.place == (2, 9)")


def test_predict_paint_reveal_use(notebook: Notebook) -> None:
    page, whole = notebook.page, pixels(notebook.page.locator(MASK))
    tab(notebook, "Paint the mask")
    page.get_by_label("cover map and mask").check()
    changes(notebook, MASK, whole)
    box = page.locator(".sag-surface").nth(1).bounding_box()
    assert box is not None
    cell = box["width"] / 16
    page.mouse.move(box["x"] + 4.5 * cell, box["y"] + 3.5 * cell)
    page.mouse.down()
    page.mouse.move(box["x"] + 11.5 * cell, box["y"] + 3.5 * cell, steps=4)
    page.mouse.up()
    notebook.until("scope.mask_tab.cells.sum() == 8 and scope.mask_tab.cells[3, 4:12].sum() == 8")
    page.locator(".sag-surface").nth(1).press("ArrowDown")
    page.keyboard.press("Space")
    notebook.until("scope.mask_tab.cells.sum() == 9")
    page.locator(".sag-reveal").click()
    page.locator(".sag-overlap-words", has_text="IoU").wait_for()
    share = notebook.value("sv.measure.iou(scope.mask_tab.cells, scope.attended)")
    assert f"{share:.2f}" in page.locator(".sag-overlap-words").inner_text()
    assert pixels(page.locator(MASK)) == whole
    page.locator(".sag-use-what-is-painted").click()
    notebook.until("scope.mask is not None and scope.step.mask.sum() == 9")
    for name in ("random", "inverted"):
        page.locator(f".sag-{name}").click()
        notebook.until(
            f"scope.step.guidance.get(SAG).mask_source == '{name}' and scope.step.mask.sum() =="
            " scope.attended.sum()"
        )
    page.get_by_role("button", name="Mₜ again").click()
    notebook.until("scope.step.guidance.get(SAG).mask_source == 'attention'")


def test_go_on_and_cancel(notebook: Notebook, tmp_path: Path) -> None:
    notebook.run("scope.cfg_scale = 8.0")
    tab(notebook, "Go on from here")
    notebook.page.locator(".sag-go-on").click()
    notebook.page.locator(".sag-branch-words", has_text="From step 7 on: CFG 8").wait_for()
    assert notebook.value("len(scope.branched)") == 12
    assert notebook.page.locator(".sag-end img:visible").count() == 2
    page = notebook.page
    page.get_by_role("button", name="Compare step by step").click()
    player = page.locator(".jp-OutputArea-output .sagviz-player").first
    player.wait_for()
    assert player.locator(".formula").all_inner_texts() == [
        "ε̃ = ε(xₜ) + 3 · ΔCFG + 1 · ΔSAG",
        "ε̃ = ε(xₜ) + 8 · ΔCFG + 1 · ΔSAG",
    ]
    page.get_by_role("button", name="Save the branch").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download run").click()
    saved.value.save_as(tmp_path / saved.value.suggested_filename)
    loaded = sv.Trace.load(tmp_path / saved.value.suggested_filename)
    assert loaded.settings.branched_at == 6
    assert notebook.value("list(scope.branched.pictures[0][-30:])") == [*loaded.pictures[0][-30:]]


def test_a_term_lights_up_with_its_picture_and_its_part_of_the_formula(notebook: Notebook) -> None:
    """By the pointer over any of them, and by the keyboard in its control."""
    page = notebook.page
    page.locator(".sag-panes figure[data-shows=cfg]").hover()
    assert sorted(set(page.evaluate(LIT))) == ["cfg", "sag-of-cfg"]
    assert page.evaluate(LIT).count("cfg") == 2
    page.mouse.move(1, 1)
    assert page.evaluate(LIT) == []
    page.locator(".sag-threshold input").first.focus()
    assert page.evaluate(LIT).count("sag") == 2
    page.locator(".sag-threshold input").first.blur()


def test_cancel_stops_a_long_branch(notebook: Notebook) -> None:
    notebook.run(
        "long = sv.Microscope(model, sv.trace(model, 'a fox', steps=400, keep=[0],"
        " progress=False))\nlong"
    )
    page = notebook.page
    page.get_by_role("tab", name="Go on from here").last.click()
    page.locator(".sag-go-on").last.click()
    notebook.until("long.branch_tab.bar.value > 2")
    page.locator(".sag-cancel").last.click()
    notebook.until("not long.branch_tab.worker.busy", timeout=10)
    assert 2 < notebook.value("len(long.branched)") < 400
    page.locator(".sag-branch-words", has_text="stopped after step").wait_for()
    notebook.run("long.close()")


def test_code_is_shown(notebook: Notebook) -> None:
    notebook.run("scope.sag_scale = 0.5")
    tab(notebook, "As code")
    text = notebook.page.locator(".sag-code textarea")
    notebook.page.wait_for_function(
        "() => document.querySelector('.sag-code textarea').value.includes('SAG(0.5)')"
    )
    assert notebook.value(f"scope.code.value == {text.input_value()!r}")
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    notebook.page.locator(".sag-copy").click()
    notebook.page.get_by_role("status").get_by_text("copied").wait_for()
    copied = notebook.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == text.input_value()
    notebook.run(copied)
    shown = notebook.outputs[-1]["data"]
    assert "image/png" in shown, "a cell with this code draws the picture"


def test_opening_changes_nothing(notebook: Notebook) -> None:
    """Numbers between the sliders' steps, of a run of one's own or typed, stay what they are."""
    notebook.run("""
own = CFG(7.25) + SAG(0.33, threshold=1.234, blur_sigma=0.77)
odd = sv.Microscope(model, sv.trace(model, 'a fox', steps=4, guidance=own, progress=False))
odd""")
    page = notebook.page
    view = page.locator(".sag-view").last
    for name, value in (("cfg-scale", "7.25"), ("threshold", "1.234"), ("blur-sigma", "0.77")):
        assert view.locator(f".sag-{name} input").input_value() == value
    page.wait_for_timeout(500)
    assert notebook.value("odd.guidance == own and odd.step.forwards == 0")
    assert "no difference" in notebook.value("odd.results.value")
    box = view.locator(".sag-sag-scale input")
    box.fill("0.777")
    box.press("Enter")
    notebook.until("odd.sag_scale == 0.777")
    page.wait_for_timeout(300)
    assert notebook.value("odd.guidance.get(SAG).scale") == 0.777
    notebook.run("odd.close()")


def test_an_error_shows_below_and_the_next_change_works(notebook: Notebook) -> None:
    notebook.run("scope.blur_kernel = 4")
    notebook.page.locator(".sag-notice .sag-error", has_text="odd").wait_for()
    notebook.page.locator(".sag-reset-blur-kernel").click()
    notebook.page.locator(".sag-notice .sag-error").wait_for(state="detached")


@pytest.mark.parametrize("width", [1280, 700, 480])
def test_nothing_is_cut_off_and_axe_is_content(notebook: Notebook, width: int) -> None:
    page = notebook.page
    page.set_viewport_size({"width": width, "height": 1000})
    if width < 600 and page.locator("#jp-left-stack:visible").count():
        page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
    page.wait_for_timeout(500)
    wide = page.evaluate(
        """() => {
            const view = document.querySelector('.sag-view');
            const edge = view.getBoundingClientRect().right + 1;
            return [...view.querySelectorAll('img, input, button, select, canvas, p')]
                .filter(e => e.offsetParent && e.getBoundingClientRect().right > edge)
                .map(e => e.outerHTML.slice(0, 120)); }"""
    )
    assert wide == []
    for name in ("Look from a place", "Paint the mask", "Go on from here", "As code"):
        tab(notebook, name)
        assert serious_faults(page, ".sag-view") == []
    page.set_viewport_size({"width": 1280, "height": 1000})
