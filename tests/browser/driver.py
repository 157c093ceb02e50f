"""What the browser tests share: a notebook that is driven, pictures compared by their pixels, faults of accessibility."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page


class Notebook:
    """A notebook that is open in JupyterLab, driven by commands and read from its model rather than its page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def run(self, code: str, timeout: float = 60) -> Locator:
        """Add a cell, run it to its end, fail on an error; the cell's output."""
        number: int = self.page.evaluate(
            """async code => {
                const notebook = jupyterapp.shell.currentWidget.content, cells = notebook.model.sharedModel;
                const number = cells.cells.length;
                cells.insertCell(number, {cell_type: 'code', source: code});
                notebook.activeCellIndex = number;
                jupyterapp.commands.execute('notebook:run-cell');
                return number;
            }""",
            code,
        )
        self.page.wait_for_function(
            """number => { const cell = jupyterapp.shell.currentWidget.content.widgets[number];
                return cell && cell.model.executionCount !== null && cell.model.executionState !== 'running'; }""",
            arg=number,
            timeout=timeout * 1000,
        )
        outputs: list[dict[str, Any]] = self.page.evaluate(
            "number => jupyterapp.shell.currentWidget.content.widgets[number].model.outputs.toJSON()", number
        )
        errors = [f"{output['ename']}: {output['evalue']}" for output in outputs if output["output_type"] == "error"]
        assert not errors, errors
        self.outputs = outputs
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".jp-OutputArea").first

    def value(self, expression: str, timeout: float = 60) -> Any:
        """What an expression is in the kernel, by way of JSON."""
        self.run(f"import json; print(json.dumps({expression}))", timeout)
        return json.loads("".join(output["text"] for output in self.outputs if output["output_type"] == "stream"))

    def until(self, expression: str, timeout: float = 60) -> None:
        """Wait until an expression is true in the kernel, which stays free between two looks."""
        deadline = time.monotonic() + timeout
        while not self.value(f"bool({expression})"):
            assert time.monotonic() < deadline, f"not within {timeout} s: {expression}"
            time.sleep(0.1)


Opener = Callable[..., Notebook]  # what the fixture open_notebook gives


def pixels(picture: Locator) -> str:
    """A picture's pixels as a hash; its address changes even where they do not."""
    return picture.evaluate(
        """async image => {
            await image.decode();
            const canvas = document.createElement('canvas');
            canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
            const drawing = canvas.getContext('2d');
            drawing.drawImage(image, 0, 0);
            const bytes = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
            const hash = await crypto.subtle.digest('SHA-256', bytes);
            return Array.from(new Uint8Array(hash)).map(byte => byte.toString(16)).join('');
        }"""
    )


def serious_faults(page: Page, selector: str) -> list[str]:
    """What axe finds serious or critical there, but for ipywidgets' slider handles, each of which has a number box beside it."""
    found = Axe().run(page, context={"include": [[selector]]}).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:160]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if not ("noUi-handle" in node["html"] and violation["id"] == "aria-input-field-name")
    ]
