"""A process that works all day: its memory does not climb from run to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("memory_worker.py")
BOUND = 2.0  # MiB over 300 runs: half of what a single kept latent of each would make

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def climb(*arguments: str) -> float:
    """MiB, from a fresh process."""
    done = subprocess.run([sys.executable, "-W", "ignore", str(WORKER), *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.slow
def test_memory_has_no_slope_over_300_runs(folder: Path) -> None:
    assert climb("runs", str(folder)) < BOUND


def test_a_leak_of_a_latent_a_run_would_be_seen() -> None:
    """The measure itself, on a leak of 16 KiB a run."""
    assert climb("leak") > BOUND
