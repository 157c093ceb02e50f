"""The player in JupyterLab: as the Scrubber, and as what a trace shows of itself."""

from __future__ import annotations

import pytest
from driver import Notebook, Opener, serious_faults
from playwright.sync_api import Locator, Page

SETUP = """
import sagviz as sv
model = sv.load()
traces = sv.compare(model, "a fox on a blue background", seed=7, steps=4, progress=False)
scrubber = sv.Scrubber(traces, index=1, panes=["x_t", "mask", "x0_guided"])
scrubber
"""
IMAGE = "canvas => canvas.toDataURL()"
PRESS = """(slider, keys) => {
    const press = (key) => new KeyboardEvent('keydown', { key, bubbles: true });
    for (const key of keys) slider.dispatchEvent(press(key));
}"""
# a colour in any of CSS's ways, as three bytes
BYTES = """const bytes = (colour) => {
    const pen = new OffscreenCanvas(1, 1).getContext('2d');
    pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)]; };"""
PAPER = f"""player => {{ {BYTES}
    return bytes(getComputedStyle(player.parentElement).backgroundColor); }}"""
STROKES = f"""lines => {{ {BYTES}
    return lines.map(line => bytes(getComputedStyle(line).stroke)); }}"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Opener) -> Notebook:
    return open_notebook("player")


@pytest.fixture(scope="module")
def sent(notebook: Notebook) -> list[object]:
    """What the page sends to the kernel, from now on."""
    frames: list[object] = []
    notebook.page.on(
        "websocket", lambda socket: socket.on("framesent", lambda frame: frames.append(frame))
    )
    notebook.page.evaluate(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.reconnect()"
    )
    return frames


@pytest.fixture(scope="module")
def scrubber(notebook: Notebook, sent: list[object]) -> Locator:
    notebook.run(SETUP, timeout=120)
    player = notebook.page.locator(".sagviz-player").first
    player.wait_for()
    assert sent, "no socket was seen"
    return player


def step(scrubber: Locator, page: Page, key: str) -> None:
    scrubber.locator(".step").focus()
    page.keyboard.press(key)


def test_a_step_changes_the_pictures_and_sends_nothing(
    notebook: Notebook, scrubber: Locator, sent: list[object]
) -> None:
    pictures = scrubber.locator("canvas:visible")
    assert pictures.count() == 6
    assert scrubber.locator(".readout").inner_text() == "Step 2 of 4"
    before = [canvas.evaluate(IMAGE) for canvas in pictures.all()]
    step(scrubber, notebook.page, "ArrowRight")
    after = [canvas.evaluate(IMAGE) for canvas in pictures.all()]
    scrubber.locator(".readout", has_text="Step 3 of 4").wait_for()
    # all but the mask that A has not
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 5
    notebook.page.wait_for_timeout(1500)  # the hand rests
    frames = len(sent)
    scrubber.locator(".step").evaluate(PRESS, ["Home", "End", "f", "f", "d", "Home"])
    assert len(sent) == frames
    notebook.until("(scrubber.index, scrubber.view) == (0, 'difference')", 20)


def test_an_observer_is_told(notebook: Notebook, scrubber: Locator) -> None:
    notebook.run("seen = []\nscrubber.observe(lambda change: seen.append(change.new), 'index')")
    step(scrubber, notebook.page, "End")
    notebook.until("seen == [3]", 20)
    step(scrubber, notebook.page, "ArrowLeft")
    notebook.until("scrubber.index == 2", 20)


def test_python_moves_the_page(notebook: Notebook, scrubber: Locator) -> None:
    notebook.run(
        "scrubber.index, scrubber.view, scrubber.panes = 0, 'beside', ['attention', 'image']"
    )
    notebook.page.wait_for_function(
        "() => document.querySelector('.sagviz-player .readout').textContent === 'Step 1 of 4'"
    )
    assert scrubber.locator("figure:visible figcaption").all_inner_texts() == [
        "attention Aₜ",
        "finished picture",
    ]
    notebook.run("scrubber.playing = True")
    notebook.until("scrubber.index == 3 and not scrubber.playing", 20)


def test_keys_of_the_player_are_not_the_notebooks(notebook: Notebook, scrubber: Locator) -> None:
    cells = notebook.page.locator(".jp-Notebook .jp-Cell").count()
    for _ in range(2):
        step(scrubber, notebook.page, "d")  # two of them would delete a cell
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == cells


def test_it_is_accessible(notebook: Notebook, scrubber: Locator) -> None:
    scrubber.get_by_text("Choose pictures").click()
    assert serious_faults(notebook.page, ".sagviz-player") == []


def test_dark_notebooks_have_contrast(notebook: Notebook, scrubber: Locator) -> None:
    """Text 4.5:1, which axe measures, and curves 3:1, against what is behind them."""
    page = notebook.page
    for theme in ("Dark", "Light"):
        page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })",
            f"JupyterLab {theme}",
        )
        body = page.locator(f"body[data-jp-theme-light={str(theme == 'Light').lower()}]")
        body.wait_for(state="attached")
        assert serious_faults(page, ".sagviz-player") == []
        ground = luminance(scrubber.evaluate(PAPER))
        strokes = scrubber.locator(".chart .line").evaluate_all(STROKES)
        assert len(strokes) == 8
        for stroke in strokes:
            light, dark = sorted((luminance(stroke), ground), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, (theme, stroke)


def luminance(colour: list[int]) -> float:
    """Relative luminance, as WCAG has it."""
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_trace_shows_itself_alive(notebook: Notebook) -> None:
    output = notebook.run("traces[1]")
    player = output.locator(".sagviz-player")
    player.wait_for()
    before = player.locator(".pane.x0_guided canvas").first.evaluate(IMAGE)
    player.locator(".knob.cfg input[type=number]").fill("9")
    assert player.locator(".pane.x0_guided canvas").first.evaluate(IMAGE) != before


def test_closing_leaves_nothing(notebook: Notebook, scrubber: Locator) -> None:
    assert scrubber.is_visible()
    notebook.run("scrubber.close()\nleft = scrubber.stage.comm")
    notebook.page.wait_for_function("() => !document.querySelector('.sag-view .sagviz-player')")
    assert notebook.value("left") is None
