"""Notebooks are documents that run: short cells, outputs that a reader sees, nothing that a
platform would trip over.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import papermill
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MAX_BYTES = 2**20
ENCODED = re.compile(r"[A-Za-z0-9+/=]{80,}")  # pictures and players' data; it may spell anything
PLACE = re.compile(
    r"/(?:home|root|work|tmp|usr|Users|content|private)/|[A-Z]:\\|site-packages|ipykernel"
)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def check_outputs(path: Path) -> None:
    """What a notebook shows is neither an error, nor a warning, nor where it was made."""
    for output in (output for cell in code_cells(path) for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        words = ENCODED.sub("", str(output))
        assert "Warning" not in words
        assert PLACE.search(words) is None, PLACE.search(words)


@pytest.mark.slow(45)
def test_it_runs_and_leaves_nothing_behind(path: Path, tmp_path: Path) -> None:
    """As papermill runs it, in a folder of its own; its asserts hold."""
    (folder := tmp_path / "here").mkdir()
    papermill.execute_notebook(
        path, tmp_path / path.name, cwd=folder, kernel_name="python3", progress_bar=False
    )
    check_outputs(tmp_path / path.name)
    assert not list(folder.iterdir())


def test_its_committed_outputs_can_be_shown_to_anybody(path: Path) -> None:
    check_outputs(path)
    assert path.stat().st_size <= MAX_BYTES
    metadata = nbformat.read(path, 4).metadata
    assert "widgets" not in metadata
    assert "papermill" not in metadata


def test_cells_are_short_and_ran_in_order(path: Path) -> None:
    cells = code_cells(path)
    assert len(cells) <= 25
    written = [cell for cell in cells if "parameters" not in cell.metadata.get("tags", [])]
    assert max(len(cell.source.splitlines()) for cell in written) <= 12
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("<img" in str(cell.outputs) for cell in cells) >= 3, (
        "a reader on the web sees no picture"
    )


def test_every_picture_has_words(path: Path) -> None:
    shown = "".join(
        output.data.get("text/html", "")
        for cell in code_cells(path)
        for output in cell.outputs
        if "data" in output
    )
    assert len(re.findall(r"<img\b", shown)) == len(re.findall(r'<img\b[^>]*\balt="[^"]+"', shown))


def test_its_links_lead_somewhere(path: Path) -> None:
    prose = "\n".join(
        cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"
    )
    for name in re.findall(r"\]\(([^):]+)\)", prose):
        assert (path.parent / name).exists(), name


def test_it_installs_only_where_sagviz_is_missing(path: Path) -> None:
    (setup,) = [
        cell.source
        for cell in nbformat.read(path, 4).cells
        if "setup" in cell.metadata.get("tags", [])
    ]
    assert 'find_spec("sagviz") is None' in setup
    assert setup.rstrip().splitlines()[-1].startswith("    %pip install -q"), (
        "installs inside the condition only"
    )
    assert "%pip install -q torch" not in setup


def test_it_opens_on_colab_and_paperspace(path: Path) -> None:
    first = nbformat.read(path, 4).cells[0]
    assert f"notebooks/{path.name}" in first.source
    assert "colab.research.google.com" in first.source
    assert "console.paperspace.com" in first.source
    assert "hide" in first.metadata.tags, "links to other machines, which a report does not need"


def test_the_article_stands_where_its_table_says() -> None:
    folder = NOTEBOOKS[0].parents[1] / "docs"
    rows = re.findall(r"\]\((.+\.ipynb)\) \| (.+) \|$", (folder / "article.md").read_text(), re.M)
    assert len(rows) > 20
    for name, heading in rows:
        cells = nbformat.read(folder / name, 4).cells
        lines = [line for cell in cells for line in cell.source.splitlines()]
        assert f"## {heading}" in lines, (name, heading)
