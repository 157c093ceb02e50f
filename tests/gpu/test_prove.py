"""The proof itself, on the CPU and tiny networks: what it says is so, or needs a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpu.prove import CHECKS, main

DASK = "dask"  # cannot be started under the tests' guard of the network; tests/sweeps has it


@pytest.mark.slow(60)
def test_each_line_holds_or_needs_a_gpu(tmp_path: Path) -> None:
    names = [name for name in CHECKS if name != DASK]
    report = main(["--device", "cpu", "--toy", "--out", str(tmp_path), "--only", *names])
    assert {each.check for each in report.rows} == set(names)
    assert [each for each in report.rows if not each.is_fine] == []
    assert json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert "| sdxl | SDXL: start noise" in (tmp_path / "gpu.md").read_text()
