"""`sagviz app` in a real Chromium: several visitors on one model, the token, the queue, the limits,
the vote, the end.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from driver import VIEWPORT, App, app, serious_faults
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import sagviz as sv
from sagviz.mini.examples import EXAMPLES
from sagviz.widgets.preference import LOOK

STEPS, PAIRS, VISITORS = 300, 2, 4
SEED = EXAMPLES[0]["seed"]  # what the form says at first
HERE = ".sag-prompt input, #status.ended"  # the form, or why there is none
PATIENCE = 120_000  # ms, beside other work
FACES = """new Set([...document.querySelectorAll('button, input, select, a, label, .lm-TabBar-tab')]
    .filter(node => node.offsetParent).map(node => getComputedStyle(node).fontFamily)).size"""
FAINTEST = """Math.min(...[...document.querySelectorAll('button:disabled')]
    .map(node => getComputedStyle(node).opacity))"""
# bars of tabs and lines of controls whose parts do not share a line
IN_PARTS = """[...document.querySelectorAll(
        '.lm-TabBar-content, .widget-checkbox, .sag-flow:has(> .sag-seed)')]
    .filter(node => node.offsetParent).filter(node => {
        const boxes = [...node.querySelectorAll('.lm-TabBar-tab, input, span')]
            .filter(each => each.offsetParent).map(each => each.getBoundingClientRect());
        const middles = boxes.map(({ top, height }) => top + height / 2);
        return Math.max(...middles) - Math.min(...middles) > 2;
    }).map(node => node.textContent)"""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    flags = f"--steps={STEPS} --pairs={PAIRS} --visitors={VISITORS}".split()
    with app(tmp_path_factory.mktemp("app"), *flags) as made:
        yield made


@pytest.fixture
def visit(served: App, browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(): the app's page in a browser context of its own, closed after the test; it must
    reach nothing but the app.
    """
    contexts, asked = [], list[str]()

    def open_(**options: Any) -> Page:
        contexts.append(browser.new_context(**{"viewport": VIEWPORT, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(served.address)
        page.wait_for_selector(HERE)
        return page

    yield open_
    for context in contexts:
        context.close()
    scheme, place = urlsplit(served.address)[:2]
    others = [url for url in asked if urlsplit(url)[:2] != (scheme, place)]
    assert [url for url in others if not url.startswith(("data:", "blob:"))] == []


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def ask(page: Page, prompt: str, steps: int) -> None:
    """Fill the form and press Run."""
    for name, value in (("prompt", prompt), ("steps", str(steps))):
        box = page.locator(f".sag-{name} input").first
        box.fill(value)
        box.press("Tab")
    press(page, "Run")


def picture(page: Page) -> Image.Image:
    """The downloadable picture with SAG, once it is there."""
    links = page.locator("a[download]")
    expect(links).to_have_count(2)
    href = links.last.get_attribute("href") or ""
    return Image.open(io.BytesIO(base64.b64decode(href.partition(",")[2])))


def test_three_visitors_have_their_own_pictures_from_one_model(visit: Callable[..., Page]) -> None:
    prompts = ["a fox", "a penguin", "a rocket"]
    pages = [visit() for _ in prompts]
    for page, prompt in zip(pages, prompts, strict=True):
        ask(page, prompt, 20)
    model = sv.load()
    for page, prompt in zip(pages, prompts, strict=True):
        made = picture(page)
        expected = sv.compare(model, prompt, seed=SEED, steps=20, progress=False)[1].image
        assert made.tobytes() == expected.tobytes(), "as alone"
        assert json.loads(made.info["sagviz"])["prompt"] == prompt
        shown = page.locator(".sag-history").inner_html()
        assert prompt in shown
        assert not any(other in shown for other in prompts if other != prompt)


def test_the_place_in_the_queue_is_shown_and_a_waiting_run_can_be_cancelled(
    visit: Callable[..., Page],
) -> None:
    first, second, third = (visit() for _ in range(3))
    ask(first, "a fox", STEPS)
    expect(first.get_by_role("button", name="Cancel")).to_be_enabled()
    ask(second, "a cat", STEPS)
    expect(second.locator(".sag-place")).to_have_text("Your run waits for its turn: 1 before it.")
    ask(third, "a cake", 10)
    expect(third.locator(".sag-place")).to_contain_text("2 before it")
    press(second, "Cancel")
    expect(second.locator(".sag-error")).to_have_text(
        "the run was cancelled while it waited for its turn"
    )
    expect(second.locator(".sag-place")).to_have_text("")
    expect(third.locator(".sag-place")).to_contain_text("1 before it")
    press(first, "Cancel")
    picture(third)


def test_microscope_and_parts_that_run_on_the_page_work(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_role("tab", name="Take a step apart").click()
    expect(page.locator(".sag-which")).to_contain_text("seed 0, CFG 3, SAG 1, 50 steps")
    scale = page.locator(".sag-sag-scale input:visible").first
    scale.fill("0")
    scale.press("Tab")
    expect(page.locator(".sag-cost")).to_contain_text("0 U-Net calls")
    expect(page.locator(".sag-results")).to_contain_text("SAG 0")
    page.get_by_role("tab", name="As code").click()
    expect(page.get_by_role("button", name="Copy")).to_be_visible()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["wide light", "narrow dark"]
)
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    visit: Callable[..., Page], width: int, scheme: str
) -> None:
    page = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for name in ("Make pictures", "Take a step apart", "Vote"):
        page.get_by_role("tab", name=name).click()
        page.locator(".sag-view:visible").first.wait_for()
        assert serious_faults(page, "body") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(FACES) == 1, "one font"
        assert page.evaluate(FAINTEST) >= 0.75, "of what cannot be pressed, for a contrast of 4.5"
        assert page.evaluate(IN_PARTS) == [], "tabs in one row, what belongs together in one line"


def test_limits_are_refused_with_a_sentence(visit: Callable[..., Page]) -> None:
    page = visit()
    ask(page, "a fox", STEPS + 1)
    expect(page.locator(".sag-error")).to_contain_text(
        f"this run asks for {STEPS + 1} steps; in this class a run may have {STEPS}"
    )
    for _ in range(VISITORS - 1):
        visit()
    expect(visit().locator("#status")).to_contain_text(f"the class is full: {VISITORS} pages")
    page.context.close()
    visit().get_by_role("button", name="Run", exact=True).wait_for()


def status(address: str) -> int:
    try:
        return int(urlopen(address, timeout=30).status)
    except HTTPError as error:
        return error.code


def test_without_the_token_there_is_nothing(served: App) -> None:
    parts = urlsplit(served.address)
    root, token = f"http://{parts.netloc}/", parts.path.strip("/")
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    names = ("", "page.js", "widgets.js", "live")
    for start in ("", f"{wrong}/", f"{token[:-1]}/", f"x/{token}/", f"../{token}x/"):
        assert {status(f"{root}{start}{name}") for name in names} == {403}
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://{parts.netloc}/{start}live")
    for name in ("server.py", "../server.py", "%2e%2e/server.py", "..%2fserver.py", "/etc/passwd"):
        assert status(f"{served.address}{name}") == 404
    for name in ("", "page.css", "modules.js", "page.js", "widgets.js", "anywidget.js"):
        answer = urlopen(f"{served.address}{name}", timeout=30)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_page_that_sends_nonsense_is_alone_with_it(
    served: App, visit: Callable[..., Page]
) -> None:
    live = served.address.replace("http", "ws") + "live"
    for message in ("{", "[]", '{"buffers": 1000}', '{"id": "1", "comm": "x", "buffers": 0}'):
        with connect(live) as line:
            line.send(message)
            if "1000" in message:
                line.send("text, and no buffer")
    page = visit()
    for _ in range(60):  # seconds: the class is full until all four have left
        if not page.locator("#status.ended").count():
            break
        page.wait_for_timeout(1000)
        page.reload()
        page.wait_for_selector(HERE)
    page.get_by_role("button", name="Run", exact=True).wait_for()


@pytest.mark.alone
def test_first_paint_within_8_seconds(visit: Callable[..., Page]) -> None:
    began = time.perf_counter()
    visit()
    assert time.perf_counter() - began < 8


def test_votes_come_together(served: App, visit: Callable[..., Page]) -> None:
    for side in ("Left is better", "No difference"):
        page = visit()
        page.get_by_role("tab", name="Vote").click()
        for number in range(PAIRS):
            expect(page.get_by_text(f"Pair {number + 1} of {PAIRS}")).to_be_visible()
            page.wait_for_timeout(1000 * LOOK)
            press(page, side)
        expect(page.get_by_text("The vote is over")).to_be_visible()
    deadline = time.monotonic() + 20
    while "2 people" not in served.said and time.monotonic() < deadline:
        time.sleep(0.1)
    result = json.loads(Path(f"{served.folder}.json").read_text())
    assert (result["people"], result["ties"], sum(result["wins"])) == (2, PAIRS, PAIRS)
    low, high = result["interval"]
    assert 0 <= low <= result["share"] <= high <= 1
    assert "95 % interval" in served.said


def test_the_end_is_said_to_the_pages_and_to_the_host(
    served: App, visit: Callable[..., Page]
) -> None:
    """The last of this file, because it ends the app."""
    page = visit()
    ask(page, "a fox", STEPS)
    assert served.end() == 0
    expect(page.locator("#status")).to_have_text("The class is over: the host has ended it.")
    assert "The class is over. 2 people" in served.said
    assert f"Making {PAIRS} pairs of pictures to vote on: 100%" in served.said
    assert "Traceback" not in served.said
