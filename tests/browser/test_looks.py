"""One look for all widgets: headings, contrast in light and dark, size for a projector."""

from __future__ import annotations

import pytest
from driver import Notebook, Opener, eventually, serious_faults

SETUP = """
import torch; torch.set_num_threads(1)
import sagviz as sv
from IPython.display import display
model = sv.load()
runs = sv.compare(model, "a fox on a blue background", seed=7, steps=4, progress=False)
sweep = sv.sweep(model, "a fox", seeds=[1, 2], steps=2, progress=False)
widgets = [
    sv.Playground(model, prompt="a fox", steps=2),
    sv.Scrubber(runs),
    sv.Microscope(model, runs[1]),
    sv.Grid(sweep, selected=(0, 1)),
    sv.Preference([runs]),
]
"""
NAMES = ["Playground", "Scrubber", "Microscope", "Grid", "Preference"]
VIEWS = ".jp-OutputArea-output > .sag-view"
SMALL = """view => [...view.querySelectorAll('*:not(sub)')].filter(node => node.offsetParent
    && [...node.childNodes].some(each => each.nodeType === 3 && each.textContent.trim())
    && getComputedStyle(node).fontSize !== '0px'
    && parseFloat(getComputedStyle(node).fontSize) < 18)
    .map(node => node.outerHTML.slice(0, 120))"""
LARGEST = """view => Math.max(...[...view.querySelectorAll('img, canvas')]
    .filter(picture => picture.offsetParent).map(picture => picture.clientWidth))"""
BEYOND = """view => [...view.querySelectorAll('img, input, button, select, canvas, p, h3')]
    .filter(node => node.offsetParent && !node.closest('.sag-board, [tabindex="0"]')
        && node.getBoundingClientRect().right > view.getBoundingClientRect().right + 1)
    .map(node => node.outerHTML.slice(0, 120))"""
CUT = """view => [...view.querySelectorAll('.lm-TabBar-tabLabel')]
    .filter(node => node.offsetParent && node.scrollWidth > node.clientWidth + 1)
    .map(node => node.textContent)"""

# lowest contrast of buttons' letters on their own background, which has no other beneath it
CONTRAST = """buttons => Math.min(...buttons.map(button => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const { color, backgroundColor } = getComputedStyle(button);
    const [below, [...above]] = [numbers(backgroundColor), numbers(color)];
    const share = above[3] ?? 1;
    const light = rgb => rgb.slice(0, 3).map(each => each / 255)
        .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0.05);
    const mixed = above.map((each, n) => share * each + (1 - share) * below[n]);
    const pair = [light(below), light(mixed)];
    return Math.max(...pair) / Math.min(...pair); }))"""
CLIPPED = """view => [...view.querySelectorAll('.widget-dropdown select')]
    .filter(menu => menu.offsetParent && (menu.clientWidth < 120 || menu.clientHeight < 22))
    .map(menu => menu.outerHTML.slice(0, 120))"""
TOPS = """view => [...view.querySelectorAll('.sag-sides img')]
    .map(each => each.getBoundingClientRect().top)"""
HANDLES = """view => [...view.querySelectorAll('.sag-number')].filter(node => node.offsetParent
    && node.querySelector('.noUi-handle')).filter(node => {
        const [box, handle] = ['input', '.noUi-handle'].map(
            each => node.querySelector(each).getBoundingClientRect());
        return handle.top < box.bottom && handle.left < box.right;
    }).map(node => node.textContent)"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Opener) -> Notebook:
    notebook = open_notebook("looks", SETUP, "display(*widgets)", timeout=120)
    notebook.page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
    notebook.page.locator(f"{VIEWS} .sagviz-player").first.wait_for()
    return notebook


def test_every_widget_has_a_heading_and_contrast(notebook: Notebook) -> None:
    """4.5:1 in both of JupyterLab's themes, as axe measures it, and under the pointer."""
    page = notebook.page
    views = page.locator(VIEWS)
    assert [view.locator("h3").first.inner_text() for view in views.all()] == NAMES
    for theme in ("Dark", "Light"):
        page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })",
            f"JupyterLab {theme}",
        )
        light = str(theme == "Light").lower()
        page.locator(f"body[data-jp-theme-light={light}]").wait_for(state="attached")
        assert serious_faults(page, VIEWS) == [], theme
        buttons = page.locator(f"{VIEWS} button.mod-primary:enabled:visible")
        assert buttons.count() >= 4
        assert buttons.evaluate_all(CONTRAST) >= 4.5, theme
        buttons.first.hover()
        page.wait_for_timeout(300)  # for a transition
        assert buttons.evaluate_all(CONTRAST) >= 4.5, theme


@pytest.mark.parametrize("width", [600, 390])
def test_menus_pairs_and_sliders_are_whole_however_narrow(notebook: Notebook, width: int) -> None:
    page = notebook.page
    page.set_viewport_size({"width": width, "height": 1000})
    for name, view in zip(NAMES, page.locator(VIEWS).all(), strict=True):
        assert view.evaluate(CLIPPED) == [], name
        assert view.evaluate(HANDLES) == [], name
    left, right = page.locator(VIEWS).last.evaluate(TOPS)
    assert left == right, "left and right, not above and below"


@pytest.mark.parametrize("width", [1440, 390])
def test_large_widgets_are_for_a_projector(notebook: Notebook, width: int) -> None:
    """No letter under 18 px, pictures of 480 px where the page has room, nothing cut off; and back
    again.
    """
    page = notebook.page
    page.set_viewport_size({"width": width, "height": 1000})
    usual = page.locator(VIEWS).evaluate_all(f"all => all.map({LARGEST})")
    notebook.run("for widget in widgets: widget.large = True")
    eventually(lambda: page.locator(f"{VIEWS}.sag-large").count() == len(NAMES), "large widgets")
    page.wait_for_timeout(500)  # for the layout
    for name, view in zip(NAMES, page.locator(VIEWS).all(), strict=True):
        assert view.evaluate(SMALL) == [], name
        assert view.evaluate(BEYOND) == [], name
        assert view.evaluate(CUT) == [], name
        if width > 1000 and name != "Playground":
            assert view.evaluate(LARGEST) >= 480, name
    notebook.run("for widget in widgets: widget.large = False")
    eventually(
        lambda: page.locator(VIEWS).evaluate_all(f"all => all.map({LARGEST})") == usual,
        "the usual sizes",
    )
    page.set_viewport_size({"width": 1280, "height": 1000})
