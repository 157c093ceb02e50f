"""Notebooks are documents: short cells, outputs that a reader on the web sees, nothing that a platform would trip over."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_it_is_small_and_carries_no_widget_state(path: Path) -> None:
    assert path.stat().st_size <= 2**20
    metadata = nbformat.read(path, 4).metadata
    assert "widgets" not in metadata
    assert "papermill" not in metadata


def test_cells_are_short_and_ran_in_order(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert len(cells) <= 25
    assert max(len(cell.source.splitlines()) for cell in cells) <= 12
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert sum("<img" in str(cell.outputs) for cell in cells) >= 3, "a reader on the web sees no picture"


def test_it_installs_only_where_sagviz_is_missing(path: Path) -> None:
    (setup,) = [cell.source for cell in nbformat.read(path, 4).cells if "setup" in cell.metadata.get("tags", [])]
    assert 'find_spec("sagviz") is None' in setup
    assert setup.rstrip().splitlines()[-1].startswith("    %pip install -q"), "installs inside the condition only"
    assert "%pip install -q torch" not in setup


def test_it_opens_on_colab_and_paperspace(path: Path) -> None:
    first = nbformat.read(path, 4).cells[0]
    assert f"notebooks/{path.name}" in first.source
    assert "colab.research.google.com" in first.source
    assert "console.paperspace.com" in first.source
    assert "hide" in first.metadata.tags, "badges are fetched from the web, which a report must not need"
