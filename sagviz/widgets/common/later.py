"""Dragging a slider asks for many values and means the last one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sagviz.widgets.common.worker import has_kernel

PAUSE = 0.15  # seconds without a newer wish before work begins


class Later:
    """Does the newest thing that it was told, in a thread, once nothing newer has come for a
    moment.

    Without a kernel, in scripts and tests, it does each at once.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    @property
    def pending(self) -> bool:
        """Whether something waits for its time."""
        return self._timer is not None and not self._timer.finished.is_set()

    def do(self, work: Callable[[], None]) -> None:
        """Take the place of what was to be done; `work` has to show its own errors."""
        self.forget()
        if not has_kernel():
            work()
            return
        self._timer = threading.Timer(PAUSE, self._begin, [work])
        self._timer.daemon = True
        self._timer.start()

    def forget(self) -> None:
        """Do nothing of what waits."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, work: Callable[[], None]) -> None:
        if self._timer is not None and threading.current_thread() is self._timer:
            self._timer = None
            work()
