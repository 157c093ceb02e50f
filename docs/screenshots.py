"""Makes the screenshots of the widgets, in a real JupyterLab, and of the player, as a file in a
browser: `make render`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Page

import sagviz as sv
from sagviz import CFG, SAG

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))
from driver import chromium, jupyter, new_notebook  # noqa: E402

VIEWPORT = {"width": 1360, "height": 2600}  # tall, so that no widget has to be scrolled
MAX_BYTES = 400_000

SETUP = """
import sagviz as sv
from sagviz import CFG, SAG
model = sv.load()
fox = "a fox on a blue background"
trace = sv.trace(model, fox, seed=7, guidance=CFG(3.0) + SAG(1.0), progress=False)
scales = [CFG(w) + SAG(s) for s in (1.0, 0.0) for w in (0.0, 1.0, 2.0, 3.0, 7.0)]
others = ["a penguin on a yellow background", "a rocket on a black background"]
sweep = sv.sweep(model, [fox, *others], seeds=7, steps=25, guidance=scales, progress=False)
pairs = [sv.compare(model, fox, seed=seed, progress=False) for seed in range(7, 10)]
"""


def playground(page: Page) -> None:
    """Three runs, the last one from an example."""
    for example in (
        "a fox on a blue background",
        "a penguin on a yellow background",
        "a cat left of a cake on a pink background",
    ):
        page.get_by_role("button", name=example, exact=True).click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator(".sag-status", has_text=example).wait_for(timeout=120_000)


def grid(page: Page) -> None:
    """All pictures have come."""
    page.locator(".sag-square img").nth(14).wait_for()


def nothing(page: Page) -> None:
    """As it opens."""


WIDGETS: dict[str, tuple[str, Callable[[Page], None]]] = {
    "playground": ("sv.Playground(model)", playground),
    "scrubber": ("sv.Scrubber(trace, model, index=20)", nothing),
    "microscope": ("sv.Microscope(model, trace)", nothing),
    "grid": (
        'sv.Grid(sweep, model=model, columns="cfg_scale", measure="sharpness", selected=(0, 3))',
        grid,
    ),
    "preference": ("sv.Preference(pairs)", nothing),
}


def shoot_widgets(context: BrowserContext, lab: tuple[str, Path]) -> None:
    """Each widget alone, without the notebook around it."""
    notebook = new_notebook(context, lab, "screenshots")
    notebook.run(SETUP, timeout=300)
    for name, (code, act) in WIDGETS.items():
        notebook.run(f"widget = {code}\nwidget", timeout=300)
        act(notebook.page)
        notebook.page.wait_for_timeout(1500)
        notebook.page.locator(".sag-view").first.screenshot(path=DOCS / f"{name}.png")
        notebook.run("widget.close()")
        # its static face would push the next widget below what JupyterLab draws
        clear = "jupyterapp.commands.execute('notebook:clear-all-cell-outputs')"
        notebook.page.evaluate(f"() => {clear}")
    notebook.close()


def shoot_player(context: BrowserContext) -> None:
    """The file that `to_html` writes."""
    trace = sv.trace(
        sv.load(),
        "a fox on a blue background",
        seed=7,
        guidance=CFG(3.0) + SAG(1.0),
        progress=False,
    )
    page = context.new_page()
    with tempfile.TemporaryDirectory() as folder:
        page.goto(trace.to_html(Path(folder) / "fox.html").as_uri())
        page.set_viewport_size({"width": 900, "height": 700})
        page.get_by_role("slider").first.fill("20")
        page.evaluate("() => document.activeElement.blur()")
        page.wait_for_timeout(500)
        page.screenshot(path=DOCS / "player.png", full_page=True)
    page.close()


def main() -> None:
    with (
        chromium() as browser,
        tempfile.TemporaryDirectory() as folder,
        jupyter(Path(folder)) as lab,
    ):
        context = browser.new_context(viewport=VIEWPORT)
        shoot_widgets(context, lab)
        shoot_player(context)
    for name in (*WIDGETS, "player"):
        size = (DOCS / f"{name}.png").stat().st_size
        print(f"{name}.png {size / 1000:.0f} kB")
        assert size <= MAX_BYTES, f"{name}.png has {size} bytes, more than {MAX_BYTES}"


if __name__ == "__main__":
    main()
