"""How long a step takes in the page, beside a bare `<img>` swap: from the press of a key until the picture holds new pixels,
and until the frame after that is done, with everything else that changes in it.

Both are pressed in turn in the same page, so that a busy machine slows both; the ratio of medians is what counts. The bare swap
changes one picture of 512 x 512 pixels (WebP) by a range input and one line of script. A press falls anywhere between two frames,
so that single times spread over some ten milliseconds: it takes a few hundred for medians that stay. With tests/browser on
PYTHONPATH:

    PYTHONPATH=tests/browser python tests/benchmarks/browser.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from driver import VIEWPORT, chromium, jupyter, new_notebook
from playwright.sync_api import Page

import sagviz as sv

# Puts a bare slider with a picture into the page, which swaps pictures made from the player's own, and returns nothing.
BARE = """count => {
    const slider = document.createElement('input'), image = document.createElement('img'), frames = [];
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
    slider.addEventListener('keydown', () => { slider.value++; slider.oninput(); });
    image.src = frames[0];
    step.value = 0;
    step.dispatchEvent(new Event('input'));
    document.body.append(slider, image);
}"""
# Presses the right arrow; milliseconds until the picture's pixels are others, and until the frame after that is done.
PRESS = """async ([slider, picture]) => {
    const [input, shown] = [document.querySelector(slider), document.querySelector(picture)];
    const small = new OffscreenCanvas(16, 16).getContext('2d', {willReadFrequently: true});
    const pixels = () => { small.drawImage(shown, 0, 0, 16, 16); return small.getImageData(0, 0, 16, 16).data.join(); };
    const turn = () => new Promise(then => {
        const {port1, port2} = new MessageChannel();
        port1.onmessage = then;
        port2.postMessage(0);
    });
    // Anywhere between two frames of the screen: else a press comes ever at the same time after the one before, whose painting
    // puts off this start and so shortens this wait.
    await new Promise(then => setTimeout(then, 30 + 20 * Math.random()));
    const before = pixels(), start = performance.now();
    input.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true, cancelable: true}));
    while (pixels() === before) await turn();
    const changed = performance.now() - start;
    await new Promise(requestAnimationFrame);
    await turn();
    return [changed, performance.now() - start];
}"""
FIRST = """slider => {
    const input = document.querySelector(slider);
    input.value = 0;
    input.dispatchEvent(new Event('input'));
}"""
TARGETS = {"bare <img>": [".bare", ".bare-picture"], "player": [".sagviz-player .step", ".sagviz-player canvas"]}


def compare(page: Page, steps: int, repeats: int) -> dict[str, list[float]]:
    """Median milliseconds of both: until new pixels, until the frame is done."""
    page.locator(".sagviz-player").first.wait_for()
    page.evaluate(BARE, steps)
    page.wait_for_timeout(500)
    times: dict[str, list[list[float]]] = {name: [] for name in TARGETS}
    for _ in range(repeats):
        for slider, _ in TARGETS.values():
            page.evaluate(FIRST, slider)
        page.wait_for_timeout(100)
        for _ in range(steps - 1):
            for name, target in TARGETS.items():
                times[name].append(page.evaluate(PRESS, target))
    return {name: [statistics.median(column) for column in zip(*taken, strict=True)] for name, taken in times.items()}


def told(place: str, medians: dict[str, list[float]], more: str = "") -> str:
    pairs = zip(("new pixels", "frame done"), *medians.values(), strict=True)
    parts = [f"{what} {own:.1f} ms, bare <img> swap {bare:.1f} ms, ratio {own / bare:.2f}" for what, bare, own in pairs]
    return f"{place}: {'; '.join(parts)}{more}"


def page_file(browser: Any, trace: sv.Trace, folder: Path, repeats: int) -> str:
    """The player's page, opened from the disk."""
    page = browser.new_page(viewport=VIEWPORT)
    page.goto(trace.to_html(folder / "player.html").as_uri())
    return told("player page", compare(page, len(trace), repeats))


def scrubber_in_lab(browser: Any, trace: sv.Trace, folder: Path, repeats: int) -> str:
    """The Scrubber in JupyterLab, and how many messages the page sent meanwhile."""
    with jupyter(folder) as lab:
        context = browser.new_context(viewport=VIEWPORT)
        sent: list[object] = []
        context.on(
            "page", lambda page: page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
        )
        notebook = new_notebook(context, lab, "scrubber")
        notebook.run(f"import sagviz as sv\nsv.Scrubber(sv.Trace.load({str(trace.save(folder / 'run.sagtrace'))!r}))")
        notebook.page.locator(".sagviz-player").wait_for()
        notebook.page.wait_for_timeout(1000)
        assert sent, "no socket was seen"
        before = len(sent)
        medians = compare(notebook.page, len(trace), repeats)
        return told("Scrubber in JupyterLab", medians, f", {len(sent) - before} messages to the kernel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="runs through all steps (20)")
    repeats = parser.parse_args().repeats
    trace = sv.trace(
        sv.load(), "a fox on a blue background", seed=7, steps=12, guidance=sv.CFG(3.0) + sv.SAG(1.0), progress=False
    )
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        print(page_file(browser, trace, Path(folder), repeats))
        print(scrubber_in_lab(browser, trace, Path(folder), repeats))


if __name__ == "__main__":
    main()
