"""What the browser tests share: a notebook that is driven, pictures compared by their pixels,
faults of accessibility.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    Locator,
    Page,
    ViewportSize,
    sync_playwright,
)

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage"
)
VIEWPORT: ViewportSize = {"width": 1280, "height": 1000}
FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
}


class Notebook:
    """A notebook that is open in JupyterLab, driven by commands and read from its model rather than
    its page.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    def run(self, code: str, timeout: float = 60) -> Locator:
        """Add a cell, run it to its end, fail on an error; the cell's output."""
        number, outputs = self.page.evaluate(
            """async ([source, milliseconds]) => {
                const notebook = jupyterapp.shell.currentWidget.content;
                const cells = notebook.model.sharedModel;
                const number = cells.cells.length;
                cells.insertCell(number, {cell_type: 'code', source});
                notebook.activeCellIndex = number;
                await Promise.race([
                    jupyterapp.commands.execute('notebook:run-cell'),
                    new Promise((_, fail) => setTimeout(
                        () => fail(new Error(`not within ${milliseconds} ms: ${source}`)),
                        milliseconds)),
                ]);
                return [number, notebook.widgets[number].model.outputs.toJSON()];
            }""",
            [code, timeout * 1000],
        )
        errors = [
            f"{output['ename']}: {output['evalue']}"
            for output in outputs
            if output["output_type"] == "error"
        ]
        assert not errors, errors
        self.outputs = outputs
        return (
            self.page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".jp-OutputArea").first
        )

    def value(self, expression: str, timeout: float = 60) -> Any:
        """What an expression is in the kernel, by way of JSON; asked without a cell, since cells
        that are far from the one in view are taken out of the page.
        """
        said, error = self.page.evaluate(
            """([code, milliseconds]) => new Promise((done, fail) => {
                const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
                let said = '', error = '';
                const asked = kernel.requestExecute({ code, store_history: false });
                asked.onIOPub = ({ content, header: { msg_type } }) => {
                    if (msg_type === 'stream' && content.name === 'stdout') said += content.text;
                    if (msg_type === 'error') error = `${content.ename}: ${content.evalue}`;
                };
                asked.done.then(() => done([said, error]), fail);
                setTimeout(() => fail(new Error(`no answer: ${code}`)), milliseconds);
            })""",
            [f"import json; print(json.dumps({expression}))", timeout * 1000],
        )
        assert not error, error
        return json.loads(said)

    def close(self) -> None:
        """Leave no kernel and no page behind."""
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()

    def until(self, expression: str, timeout: float = 60) -> None:
        """Wait until an expression is true in the kernel, which stays free between two looks."""
        eventually(lambda: self.value(f"bool({expression})"), expression, timeout)


def eventually(holds: Callable[[], object], what: str, timeout: float = 30) -> None:
    """Look again and again until it holds, however slow the machine is."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.1)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own browser."""
    with sync_playwright() as playwright:
        browser = launched(playwright.chromium)
        yield browser
        browser.close()


def launched(kind: BrowserType, flags: str = FLAGS) -> Browser:
    """The system's own browser with these flags, beside another one of this process."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise RuntimeError("no chromium or google-chrome on PATH: apt-get install chromium")
    return kind.launch(executable_path=path, args=flags.split())


@contextmanager
def jupyter(home: Path, app: str = "lab") -> Iterator[tuple[str, Path]]:
    """JupyterLab ("lab") or Notebook 7 ("notebook") with settings of its own under `home`:
    (address, folder of the notebooks).
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = (
        home
        / "settings"
        / "@jupyterlab"
        / "apputils-extension"
        / "notification.jupyterlab-settings"
    )
    settings.parent.mkdir(parents=True)
    # no pop-up over the notebook
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    root = home / "notebooks"
    root.mkdir()
    flags = (
        f"--no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0"
        f" --ServerApp.root_dir={root} --IdentityProvider.token= --ServerApp.password="
        " --ServerApp.disable_check_xsrf=True --LabApp.expose_app_in_browser=True"
        " --JupyterNotebookApp.expose_app_in_browser=True"
    )
    with open(home / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", {"lab": "jupyterlab"}.get(app, app), *flags.split()],
            env={**os.environ, **{name: str(home / folder) for name, folder in FOLDERS.items()}},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status", process, home / "log")
        yield f"http://127.0.0.1:{port}/{app}", root
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:  # its kernels end with it
            process.kill()
            process.wait()


class App:
    """`sagviz app`, running.

    Attributes:
        address: of its page, with the token.
        folder: for its votes.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path, folder: Path) -> None:
        self.process, self.log, self.folder = process, log, folder

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text()

    @property
    def address(self) -> str:
        found = re.search(r"^Open (http://\S+/)$", self.said, re.MULTILINE)
        return found.group(1) if found else ""

    def end(self) -> int:
        """Ctrl-C: the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@contextmanager
def app(home: Path, *flags: str) -> Iterator[App]:
    """`sagviz app` with these flags, its page open for visitors."""
    log, folder = home / "log", home / "votes"
    command = [sys.executable, "-m", "sagviz", "app", "--host=127.0.0.1", "--port=0", *flags]
    with log.open("w") as said:
        process = subprocess.Popen(
            [*command, "--votes", str(folder)], stdout=said, stderr=subprocess.STDOUT, text=True
        )
    made = App(process, log, folder)
    try:
        deadline = time.monotonic() + 600
        while not made.address:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sagviz app did not start:\n{made.said}")
            time.sleep(0.2)
        yield made
    finally:
        process.kill()
        process.wait(20)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"Jupyter did not start:\n{log.read_text()}")


def new_notebook(
    context: BrowserContext, lab: tuple[str, Path], name: str, timeout: float = 90
) -> Notebook:
    """An empty notebook in a page of its own, its kernel idle."""
    address, root = lab
    content = nbformat.v4.new_notebook()
    content.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(content, root / f"{name}.ipynb")
    page = context.new_page()
    page.set_default_timeout(timeout * 1000)
    page.goto(
        f"{address}/workspaces/{name}/tree/{name}.ipynb?reset"
        if address.endswith("/lab")
        else f"{address}s/{name}.ipynb"
    )
    page.wait_for_function("() => window.jupyterapp !== undefined")
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    page.set_default_timeout(30_000)
    return Notebook(page)


Opener = Callable[..., Notebook]  # what the fixture open_notebook gives


def pixels(picture: Locator) -> str:
    """A picture's pixels as a hash; its address changes even where they do not."""
    return picture.evaluate("""async image => {
            await image.decode();
            const canvas = document.createElement('canvas');
            canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
            const drawing = canvas.getContext('2d');
            drawing.drawImage(image, 0, 0);
            const bytes = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
            const hash = await crypto.subtle.digest('SHA-256', bytes);
            return Array.from(new Uint8Array(hash)).map(byte => byte.toString(16)).join('');
        }""")


def serious_faults(page: Page, selector: str) -> list[str]:
    """What axe finds serious or critical there, but for ipywidgets' slider handles, each of which
    has a number box beside it.
    """
    found = Axe().run(page, context={"include": [[selector]]}).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:160]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if not ("noUi-handle" in node["html"] and violation["id"] == "aria-input-field-name")
    ]
