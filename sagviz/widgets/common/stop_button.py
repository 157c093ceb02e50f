"""The kernel's stop button, which stops work in threads too: an interrupt itself reaches the cell
that runs and nothing else.
"""

from __future__ import annotations

import signal
import sys
from typing import Any, Protocol
from weakref import WeakSet


class Cancellable(Protocol):
    """What can be asked to end early."""

    def cancel(self) -> None: ...


class StopButton:
    """What an interrupt does while no cell runs: it cancels all work that heeds it, then does what
    it did before.
    """

    def __init__(self, before: Any) -> None:
        self.before, self.heeding = before, WeakSet[Cancellable]()

    def __call__(self, number: int, frame: Any) -> None:
        for work in list(self.heeding):
            work.cancel()
        if callable(self.before):
            self.before(number, frame)


def heed_stop_button(work: Cancellable) -> None:
    """Let the kernel's stop button cancel `work` from now on; without a kernel, nothing."""
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython and ipython.get_ipython(), "kernel", None)
    if kernel is not None:
        # signals are for the main thread, and a kernel has handlers of its own around each message
        kernel.io_loop.add_callback(_heed, work)


def _heed(work: Cancellable) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not isinstance(handler, StopButton):
        handler = StopButton(handler)
        signal.signal(signal.SIGINT, handler)
    handler.heeding.add(work)
