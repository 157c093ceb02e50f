"""The static site, from files alone: links, formulas, players, and what axe says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from driver import chromium, serious_faults
from sources import ROOT

SHOWN = ("index.html", "notebooks/05_sag_by_hand.html", "docs/howto/python.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, live_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("made") / "site"
    subprocess.run([sys.executable, ROOT / "docs" / "site.py", folder, live_file], check=True)
    return folder


def has_mark(page: str, fragment: str) -> bool:
    return not fragment or f'id="{unquote(fragment)}"' in page


@pytest.mark.slow
def test_every_link_resolves_and_every_page_can_be_read(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if "api" not in path.relative_to(site).parts]
    pages.remove(site / "live.html")  # no article; see below
    assert len(pages) > 20
    missing, outside = [], list[str]()
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        page.on("pageerror", lambda error: outside.append(str(error)))
        page.on("request", lambda request: outside.append(request.url))
        for path in pages:
            page.goto(path.as_uri())
            for address in page.locator("a[href]").evaluate_all("all => all.map(a => a.href)"):
                parts = urlsplit(address)
                target = Path(unquote(parts.path))
                if parts.scheme == "file" and not (
                    target.is_file() and has_mark(target.read_text(), parts.fragment)
                ):
                    missing.append(f"{path.name}: {address}")
            assert page.locator("article h1").count() == 1, path
            assert "$$" not in page.locator("article").inner_text(), path
            formulas = "".join(page.locator("math").all_text_contents())
            assert "\\" not in formulas, f"{path}: {formulas}"  # what the converter does not know
    assert missing == []
    assert [each for each in outside if not each.startswith(("file:", "data:"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_read_on_a_screen_and_on_a_phone(site: Path, width: int) -> None:
    with chromium() as browser:
        for scheme in ("light", "dark"):
            context = browser.new_context(
                offline=True, color_scheme=scheme, viewport={"width": width, "height": 900}
            )
            page = context.new_page()
            for name in SHOWN:
                page.goto((site / name).as_uri())
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, name
                assert serious_faults(page, "body") == []


@pytest.mark.slow
def test_players_run_without_a_network(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        page.goto((site / "notebooks" / "report.html").as_uri())
        step = page.locator(".sagviz-player .step").first
        before = step.input_value()
        step.focus()
        page.keyboard.press("ArrowRight")
        assert step.input_value() == str(int(before) + 1)


@pytest.mark.slow
def test_the_index_leads_to_the_live_page(site: Path) -> None:
    """From the README's line about it, and from every page's contents."""
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        page.goto((site / "notebooks" / "report.html").as_uri())
        assert (
            page.get_by_role("link", name="The live page").get_attribute("href") == "../live.html"
        )
        page.goto((site / "index.html").as_uri())
        page.locator("article").get_by_role("link", name="the live page").click()
        page.locator(".sagviz-player .pane.x0_hat canvas").first.wait_for()
        assert page.url.startswith((site / "live.html").as_uri())
        assert serious_faults(page, "body") == []
