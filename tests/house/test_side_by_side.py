"""A test that needs the machine for itself gets it, and the others do not starve it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from side_by_side import machine

Turns = Callable[[bool], AbstractContextManager[object]]


class Watched:
    """A busy machine: how many tests run at each moment, and how many ran beside one alone."""

    def __init__(self) -> None:
        self.running, self.beside, self.done = 0, 0, 0
        self.alone, self.guard = False, threading.Lock()

    def test(self, turns: Turns, alone: bool, seconds: float) -> None:
        with turns(alone):
            with self.guard:
                self.running += 1
                self.alone = self.alone or alone
                self.beside += self.alone and self.running > 1
            time.sleep(seconds)
            with self.guard:
                self.running -= 1
                self.alone = self.alone and not alone
                self.done += 1


def crowd(watched: Watched, turns: Turns) -> None:
    """Three workers with short tests, one of which is alone."""

    def work(kind: list[bool]) -> None:
        for alone in kind:
            watched.test(turns, alone, 0.01)

    kinds = [[False] * 20, [False] * 20, [False] * 3 + [True] + [False] * 3]
    workers = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)


def test_nothing_runs_beside_a_test_that_is_alone(tmp_path: Path) -> None:
    watched = Watched()
    for name in ("turn", "use"):
        (tmp_path / name).touch()
    crowd(watched, partial(machine, turn=tmp_path / "turn", use=tmp_path / "use"))
    assert (watched.done, watched.beside) == (47, 0)


def test_without_locks_something_would() -> None:
    watched = Watched()
    crowd(watched, nullcontext)
    assert watched.done == 47
    assert watched.beside > 0
