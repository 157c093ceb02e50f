"""Tests of several workers that share one machine, and those that need it for themselves because
they measure time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def machine(place: Path | None, alone: bool) -> Iterator[None]:
    """A test's turn: beside the others, or alone once those that have begun are done.

    Args:
        place: A file that the workers of one run have in common, for locks; None where there is
            but one worker.
        alone: Whether nothing may run beside it.
    """
    if place is None:
        yield
        return
    with open(f"{place}.turn", "w") as turn, open(f"{place}.use", "w") as use:
        # Who waits to be alone keeps the turn, so that no stream of others passes by.
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(use, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(use, fcntl.LOCK_UN)  # a forked child has the file open, too
