"""A real JupyterLab and a real Chromium. They are a must: where one is missing, the tests fail.

They end with the last test of a file: an open browser's event loop is in the way of papermill's,
and of another browser's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import VIEWPORT, Notebook, Opener, chromium, jupyter, new_notebook
from filelock import FileLock
from playwright.sync_api import Browser, BrowserContext
from side_by_side import shared
from sources import ROOT

import sagviz as sv
from sagviz.player.live.runtime import PACKAGE as RUNTIME


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def live_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The live page of the miniature, made once for all workers: half a minute."""
    path = shared(tmp_path_factory) / "live.html"
    with FileLock(path.with_suffix(".lock")):
        return (
            path
            if path.exists()
            else sv.live_page(sv.load(), path, runtime=ROOT / "build" / RUNTIME)
        )


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=VIEWPORT, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, root folder) of a JupyterLab that only these tests use."""
    with jupyter(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def open_notebook(lab: tuple[str, Path], context: BrowserContext) -> Iterator[Opener]:
    """open_notebook(name, *cells): a new notebook in JupyterLab with these cells run; closed after
    the module's tests.
    """
    opened: list[Notebook] = []

    def open_(name: str, *cells: str, timeout: float = 90) -> Notebook:
        opened.append(new_notebook(context, lab, name, timeout))
        for cell in cells:
            opened[-1].run(cell, timeout)
        return opened[-1]

    yield open_
    for notebook in opened:
        notebook.close()
