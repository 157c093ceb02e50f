"""How long a step takes on the screen, beside a bare `<img>` swap: from the press of a key to the
frame that answers it.

Chromium itself tells both ends (its trace event EventLatency, from the key's arrival to the frame's
presentation). Both are pressed in turn in the same page, so that a busy machine slows both; the
ratio of medians is what counts. The bare swap changes one picture of 512 x 512 pixels (WebP) by a
range input and one line of script. A press falls anywhere between two frames, so that single times
spread over some ten milliseconds: it takes a few hundred for medians that stay.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bounds import bounded
from driver import VIEWPORT, chromium, jupyter, new_notebook
from evidence import Line, record
from playwright.sync_api import Page

import sagviz as sv

# Puts a bare slider with a picture into the page, which swaps pictures made from the player's own,
# and returns nothing.
BARE = """count => {
    const slider = document.createElement('input'), image = document.createElement('img');
    const frames = [];
    Object.assign(slider, {type: 'range', min: 0, max: count - 1, value: 0, className: 'bare'});
    image.className = 'bare-picture';
    image.style = 'position: fixed; right: 0; bottom: 0; z-index: 9';  // seen, as the player is
    const player = document.querySelector('.sagviz-player'), step = player.querySelector('.step');
    for (let i = 0; i < count; i++) {
        step.value = i;
        step.dispatchEvent(new Event('input'));
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 512;
        canvas.getContext('2d').drawImage(player.querySelector('canvas'), 0, 0, 512, 512);
        frames.push(canvas.toDataURL('image/webp', 0.85));
    }
    slider.oninput = () => image.src = frames[slider.value];
    image.src = frames[0];
    step.value = 0;
    step.dispatchEvent(new Event('input'));
    document.body.append(slider, image);
}"""
FIRST = """slider => {
    const input = document.querySelector(slider);
    input.value = 0;
    input.dispatchEvent(new Event('input'));
}"""
SLIDERS = {"bare <img>": ".bare", "player": ".sagviz-player .step"}


@contextmanager
def latencies(page: Page) -> Iterator[list[float]]:
    """Milliseconds from each key press to the frame that answers it, in the order of the presses;
    filled at the end.
    """
    session, events, ended = (
        page.context.new_cdp_session(page),
        list[dict[str, Any]](),
        list[object](),
    )
    session.on("Tracing.dataCollected", lambda message: events.extend(message["value"]))
    session.on("Tracing.tracingComplete", lambda message: ended.append(message))
    session.send(
        "Tracing.start",
        {
            "traceConfig": {"includedCategories": ["input.scrolling"]},
            "transferMode": "ReportEvents",
        },
    )
    found: list[float] = []
    yield found
    page.wait_for_timeout(200)  # for the last frame
    session.send("Tracing.end")
    while not ended:
        page.wait_for_timeout(50)
    started: dict[str, float] = {}
    times: dict[float, float] = {}
    for event in sorted(
        (event for event in events if event["name"] == "EventLatency"),
        key=lambda event: event["ts"],
    ):
        key = event["id2"]["local"]
        if event["ph"] == "b" and event["args"]["event_latency"]["event_type"] == "KEY_PRESSED":
            started[key] = event["ts"]
        elif event["ph"] == "e" and key in started:
            begun = started.pop(key)
            times[begun] = (event["ts"] - begun) / 1e3
    found.extend(times[begun] for begun in sorted(times))
    session.detach()


def compare(page: Page, steps: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of both, and of how many presses."""
    page.locator(".sagviz-player").first.wait_for()
    page.evaluate(BARE, steps)
    page.wait_for_timeout(500)
    rng, times = random.Random(0), list[float]()
    for _ in range(repeats):
        for slider in SLIDERS.values():
            page.evaluate(FIRST, slider)
        with latencies(page) as round_:
            for _ in range(steps - 1):
                for slider in SLIDERS.values():
                    page.focus(slider)
                    # anywhere between two frames of the screen
                    page.wait_for_timeout(50 + 20 * rng.random())
                    page.keyboard.press("ArrowRight")
        for slider in SLIDERS.values():
            assert page.input_value(slider) == str(steps - 1), f"presses were lost at {slider}"
        # Chromium may answer two keys by one frame, or tell of one too many: who is who is then not
        # sure.
        if len(round_) == 2 * (steps - 1):
            times += round_
    assert times, "no round in which each press was answered by a frame of its own"
    return {name: statistics.median(times[place::2]) for place, name in enumerate(SLIDERS)} | {
        "presses": len(times) / 2
    }


def told(place: str, medians: dict[str, float], more: str = "") -> Line:
    bare, own, presses = medians.values()
    return bounded(
        f"a step in {place}, key press to frame, time over that of a bare `<img>` swap",
        own / bare,
        "<= 1.25",
        f"{own / bare:.2f} ({own:.1f} ms beside {bare:.1f} ms, medians of {presses:.0f}{more})",
    )


def page_file(browser: Any, trace: sv.Trace, folder: Path, repeats: int) -> Line:
    """The player's page, opened from the disk."""
    page = browser.new_page(viewport=VIEWPORT)
    page.goto(trace.to_html(folder / "player.html").as_uri())
    return told("the player's page", compare(page, len(trace), repeats))


def scrubber_in_lab(browser: Any, trace: sv.Trace, folder: Path, repeats: int) -> Line:
    """The Scrubber in JupyterLab, and how many messages the page sent meanwhile."""
    with jupyter(folder) as lab:
        context = browser.new_context(viewport=VIEWPORT)
        sent: list[object] = []
        context.on(
            "page",
            lambda page: page.on(
                "websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame))
            ),
        )
        notebook = new_notebook(context, lab, "scrubber")
        notebook.run(
            "import sagviz as"
            f" sv\nsv.Scrubber(sv.Trace.load({str(trace.save(folder / 'run.sagtrace'))!r}))"
        )
        notebook.page.locator(".sagviz-player").first.wait_for()
        notebook.page.wait_for_timeout(1000)
        assert sent, "no socket was seen"
        before = len(sent)
        medians = compare(notebook.page, len(trace), repeats)
        more = f"; {len(sent) - before} messages to the kernel"
        return told("the Scrubber in JupyterLab", medians, more)


PLACES = (page_file, scrubber_in_lab)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="runs through all steps (20)")
    repeats = parser.parse_args().repeats
    trace = sv.trace(
        sv.load(),
        "a fox on a blue background",
        seed=7,
        steps=12,
        guidance=sv.CFG(3.0) + sv.SAG(1.0),
        progress=False,
    )
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        lines = [measure(browser, trace, Path(folder), repeats) for measure in PLACES]
    record("Speed in the browser", "make bench TABLES=browser", lines)


if __name__ == "__main__":
    main()
