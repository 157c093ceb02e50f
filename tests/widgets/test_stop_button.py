"""The kernel's stop button and work in threads."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import IPython
import pytest

from sagviz.widgets.common.worker import Worker


class Loop:
    """A kernel's loop that does at once what it is given."""

    def add_callback(self, call: Callable[..., object], *arguments: Any) -> None:
        call(*arguments)


@pytest.fixture
def interrupts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The interrupts that reach what listened before."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    kernel = SimpleNamespace(kernel=SimpleNamespace(io_loop=Loop()))
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    yield seen
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_cancels_all_work_and_goes_on(interrupts: list[int]) -> None:
    workers, begun = [Worker(), Worker()], threading.Barrier(3)
    for worker in workers:
        worker.start(lambda worker=worker: (begun.wait(10), worker.stop.wait(10))[0])
    begun.wait(10)
    os.kill(os.getpid(), signal.SIGINT)
    assert all(worker.wait(10) for worker in workers)
    assert all(worker.stop.is_set() for worker in workers)
    assert interrupts == [signal.SIGINT]
