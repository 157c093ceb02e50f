"""The common parts in a real page."""

from __future__ import annotations

import pytest
from driver import Notebook, Opener, eventually, pixels, serious_faults

SETUP = """
import traitlets
from PIL import Image
from sagviz.image import to_jpeg
from sagviz.widgets.common.controls import action_button, control
from sagviz.widgets.common.layout import flow
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Amount, Choice, Whole
from sagviz.widgets.common.view import View

class SampleSettings(WidgetSettings):
    widget = "Sample"
    steps = Whole(50, min=1, max=999, help="how many steps, 1 to 999 (50)")
    scale = Amount(3.0, min=0, max=10, help="guidance scale, 0 to 10 (3)")
    kind = Choice(["plain", "fancy"], "plain", help="which kind (plain)")
    prompt = traitlets.Unicode("", help="what to draw, in words")
    fixed = traitlets.Bool(False, help="whether the seed stays")

class Sample(View):
    settings_type = SampleSettings

    def __init__(self, **options):
        super().__init__(**options)
        names = [("steps", 1), ("scale", 0.1), ("kind", 1), ("prompt", 1), ("fixed", 1)]
        controls = [control(self.settings, name, name.title(), step) for name, step in names]
        self.left, self.right = Picture("Left", 256), Picture("Right", 256, sharp=True)
        self.go = action_button(self.notice, "Go", "make a picture", self.draw)
        self.fill(*controls, self.go, flow(self.left, self.right))

    def draw(self):
        if self.kind == "fancy":
            raise ValueError("<b>no</b>")
        for picture in (self.left, self.right):
            colour = (self.steps % 256, int(20 * self.scale), 99)
            picture.show(to_jpeg(Image.new("RGB", (64, 64), colour)), f"scale {self.scale}")

sample = Sample()
sample
"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Opener) -> Notebook:
    return open_notebook("parts", SETUP)


def test_slider_and_box_stay_equal(notebook: Notebook) -> None:
    handle = notebook.page.locator(".sag-scale .noUi-handle")
    handle.focus()
    for _ in range(3):
        handle.press("ArrowRight")
    box = notebook.page.get_by_label("Scale")
    notebook.page.wait_for_function(
        "() => document.querySelector('.sag-scale input').value === '3.3'"
    )
    box.fill("7.5")
    box.press("Enter")
    notebook.page.wait_for_function(
        "() => document.querySelector('.sag-scale .noUi-handle').ariaValueNow === '75.0'"
    )
    assert notebook.value("sample.scale") == 7.5
    for typed, nearest in (("7.25", 72), ("1.234", 12), ("0.33", 3)):
        box.fill(typed)
        box.press("Enter")
        notebook.until(f"sample.scale == {typed}")
        page = notebook.page
        page.locator(f".sag-scale .noUi-handle[aria-valuenow^='{nearest}']").wait_for()
        page.wait_for_timeout(300)
        assert notebook.value("sample.scale") == float(typed), "the slider says nothing of itself"
        assert box.input_value() == typed


def test_pictures_change_and_nothing_moves(notebook: Notebook) -> None:
    page = notebook.page
    page.get_by_role("button", name="Go").scroll_into_view_if_needed()
    before = page.locator(".sag-picture").last.bounding_box()
    page.get_by_role("button", name="Go").click()
    picture = page.get_by_alt_text("Left: scale").first
    first = pixels(picture)
    assert page.locator(".sag-picture").last.bounding_box() == before
    notebook.run("sample.steps = 200")
    page.get_by_role("button", name="Go").click()
    eventually(lambda: pixels(picture) != first, "another picture")


def test_error_is_shown_under_the_widget_which_stays_usable(notebook: Notebook) -> None:
    page = notebook.page
    page.get_by_label("Kind").select_option("fancy")
    page.get_by_role("button", name="Go").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "<b>no</b>" in alert.inner_text()
    page.get_by_label("Kind").select_option("plain")
    page.get_by_role("button", name="Go").click()
    alert.wait_for(state="detached")


def test_axe_finds_nothing_serious(notebook: Notebook) -> None:
    assert serious_faults(notebook.page, ".sag-view") == []


def test_narrow_pages_wrap(notebook: Notebook) -> None:
    """At the width of a phone no part of the widget is wider than its output."""
    page = notebook.page
    page.set_viewport_size({"width": 640, "height": 900})
    page.wait_for_timeout(300)
    overflow = page.evaluate(
        """() => {
            const view = document.querySelector('.sag-view');
            const edge = view.parentElement.getBoundingClientRect().right;
            return [...view.querySelectorAll('*')]
                .filter(part => part.getBoundingClientRect().right > edge + 1)
                .map(part => part.className); }"""
    )
    assert overflow == []
