"""Work beside the notebook: `Worker` for what takes long and can be stopped, `Later` for what a
dragged slider sets off.

A kernel handles no click while a cell of its main thread is busy, so that a Cancel button needs the
work elsewhere.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from sagviz.errors import SagvizError
from sagviz.widgets.common.host import carried, current_host
from sagviz.widgets.common.stop_button import heed_stop_button

PAUSE = 0.15  # seconds without a newer wish before work begins


class Worker:
    """Does one piece of work at a time; `stop` is set when it should end early, also by the stop
    button of the kernel, and the work looks at it between steps.

    Args:
        threaded: whether to use a thread; `None` is where a kernel or a server is there to go on
            meanwhile.
    """

    def __init__(self, threaded: bool | None = None) -> None:
        self.threaded = threaded
        self.stop = threading.Event()
        self._at_work = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._at_work.locked()

    def start(self, work: Callable[[], None], *, here: bool = False) -> None:
        """Begin in the thread, or do all of it here, which is also the way where there is no
        kernel.

        Args:
            work: takes nothing and returns nothing; in a thread it has to show its own errors.
            here: whether to come back only at its end.

        Raises:
            SagvizError: the last piece of work has not ended.
        """
        if not self._at_work.acquire(blocking=False):
            raise SagvizError("a run is under way; wait for its end or cancel it")
        self.stop.clear()
        if not here and (goes_on() if self.threaded is None else self.threaded):
            self._thread = threading.Thread(
                target=carried(self._do), args=(work,), name="sagviz", daemon=True
            )
            heed_stop_button(self)
            self._thread.start()
        else:
            self._do(work)

    def turn(self) -> AbstractContextManager[None]:
        """Around a run within the work: a server lets it wait for those of other visitors.

        Raises:
            SagvizError: it was cancelled while it waited.
        """
        host = current_host()
        return nullcontext() if host is None else host.turn(self.stop)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the work in a thread; whether it came within the time."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.busy

    def cancel(self) -> None:
        """Ask the work to end after its current step."""
        self.stop.set()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._at_work.release()


class Later:
    """Does the newest thing that it is given, in a thread, once nothing newer has come for a
    moment: dragging a slider asks for many values and means the last one. What is being done ends
    first, so that no two mix their settings.

    Without a kernel or a server, in scripts and tests, it does each at once.

    Args:
        pause: seconds without anything newer.
    """

    def __init__(self, pause: float = PAUSE) -> None:
        self.pause = pause
        self._timer: threading.Timer | None = None
        self._turn = threading.Lock()

    @property
    def pending(self) -> bool:
        """Whether something waits for its time."""
        return self._timer is not None and not self._timer.finished.is_set()

    def do(self, work: Callable[[], None]) -> None:
        """Take the place of what was to be done; `work` has to show its own errors."""
        self.forget()
        if not goes_on():
            work()
            return
        self._timer = threading.Timer(self.pause, carried(self._begin), [work])
        self._timer.daemon = True
        self._timer.start()

    def forget(self) -> None:
        """Do nothing of what waits."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _begin(self, work: Callable[[], None]) -> None:
        with self._turn:
            if threading.current_thread() is self._timer:  # else a newer one has come meanwhile
                self._timer = None
                work()


def goes_on() -> bool:
    """Whether the page is answered while a thread works: by a kernel, or by a server."""
    return has_kernel() or current_host() is not None


def has_kernel() -> bool:
    """Whether this is a notebook's kernel, and not a script or a test."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None
