"""What a report's kernel finds, and what it leaves."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import pytest

from sagviz.guidance import Guidance
from sagviz.reports.kernel import REMEMBERED, WarmKernel, run

MEMORY = "import psutil\nprint(psutil.Process().memory_info().rss)"
ANNOUNCED = """
import sys, threading
from sagviz.reports import announced

over = threading.Event()

def send() -> None:
    while not over.wait(1e-4):
        sys.stderr.flush()

threading.Thread(target=send).start()
for done in range(500):
    announced()(done, 500)
over.set()
"""
HELD = "many = [bytes(1000) for _ in range(100_000)]\nimport sys\nsys.behind = bytes(1000)"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """It prints whether it has run here before."""
    return _with_cell(tmp_path / "one.ipynb", "print('here' in globals())\nhere = 1")


def _with_cell(path: Path, code: str) -> Path:
    cell = nbformat.v4.new_code_cell(code)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "kernel"
    made.mkdir()
    return made


def test_each_notebook_finds_the_kernel_empty_and_the_same_client(
    notebook: Path, folder: Path
) -> None:
    """A client that connects leaves 19 KiB in a kernel."""
    clients = set[Any]()
    with closing(WarmKernel(folder, {})) as kernel:
        for _ in range(3):
            (cell,) = run(notebook, {}, Guidance(), folder, False, kernel).cells
            assert cell.execution_count == 1
            assert cell.outputs[0].text == "False\n"
            clients.add(kernel.emptied()["km"].talk)
            (session,) = {client.session for client in clients}
            assert session.digest_history_size == REMEMBERED
        kernel.stop()
    assert len(clients) == 1


def test_no_step_stays_in_the_notebook(tmp_path: Path, folder: Path) -> None:
    """Whenever the kernel sends off what it has to say."""
    announces = _with_cell(tmp_path / "announces.ipynb", ANNOUNCED)
    (cell,) = run(announces, {}, Guidance(), folder, False).cells
    assert not cell.outputs


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_a_notebook_held_goes_back_to_the_system(tmp_path: Path, folder: Path) -> None:
    """Though what lies behind it on the heap stays."""
    small = _with_cell(tmp_path / "small.ipynb", MEMORY)
    large = _with_cell(tmp_path / "large.ipynb", f"{HELD}\n{MEMORY}")
    with closing(WarmKernel(folder, {})) as kernel:
        cells = [
            run(each, {}, Guidance(), folder, False, kernel).cells[0] for each in (large, small)
        ]
        kernel.stop()
    held, left = (int(cell.outputs[0].text) for cell in cells)
    assert left < held - 80e6


def test_a_kernel_that_died_is_replaced(notebook: Path, folder: Path) -> None:
    with closing(WarmKernel(folder, {})) as kernel:
        run(notebook, {}, Guidance(), folder, False, kernel)
        kernel.emptied()["km"].shutdown_kernel(now=True)
        (cell,) = run(notebook, {}, Guidance(), folder, False, kernel).cells
        assert cell.outputs[0].text == "False\n"
        kernel.stop()


def test_the_users_own_history_stays_as_it_is(
    notebook: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPython keeps all that was ever run, in a file of the user's."""
    own = tmp_path / "ipython"
    monkeypatch.setenv("IPYTHONDIR", str(own))
    run(notebook, {}, Guidance(), folder, False)
    assert own.exists(), "the kernel looks there"
    assert not [*own.rglob("history*")]
