"""Tests of several workers that share one machine, and those that need it for themselves because
they measure time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TURN = Path(__file__)  # any two files that all workers can open: what is locked is not written
USE = Path(__file__).with_name("conftest.py")


@contextmanager
def machine(alone: bool, turn: Path = TURN, use: Path = USE) -> Iterator[None]:
    """A test's time on the machine: beside the others, or alone once those that have begun are
    done.

    Who waits to be alone keeps the turn, so that no stream of others passes by.
    """
    with turn.open() as waiting, use.open() as using:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        fcntl.flock(using, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(waiting, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(using, fcntl.LOCK_UN)  # a forked child may still have the file open


def shared(folders: pytest.TempPathFactory) -> Path:
    """The folder that all workers of a run have in common."""
    own = folders.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own  # pytest-xdist's workers
