"""A process that is killed at any moment loses nothing that was finished, and leaves no half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from effort import LONG, MOMENTS
from sources import ROOT

NAMES = ["trace save", "vote", *["sweep", "batch report", "live export"] * LONG]
TESTS = ROOT / "tests"
Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def told(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What came of each work, from one process for all of them."""
    home = tmp_path_factory.mktemp("kills")
    command = [sys.executable, "-W", "ignore", "-m", "faults.kills"]
    done = subprocess.run(
        [*command, str(folder), str(home), str(MOMENTS), *NAMES],
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="forks")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_finished_outlives_a_kill_at_any_moment(
    told: Told, name: str, record_property: Callable[[str, object], None]
) -> None:
    """And nothing half is taken for whole: the worker has checked it after each kill, and says so
    in the end.
    """
    assert name in told, "the worker stopped: its own error stands above"
    found = told[name]
    assert found["kills"] == MOMENTS
    words = f"{found['kills']} kills, {found['finished']} finished things, none lost, none half"
    record_property("measured", f"{name}: {words}")
