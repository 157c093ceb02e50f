"""Children that are forked from a process with the model in memory, so that a kill costs no import.

A process that forks has one thread and is no test's: tests start one with `-m faults` or as
`sweep_worker.py`.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable


def forked(action: Callable[[], object]) -> int:
    """Start a child that does this and ends; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)  # a kernel has another
    finally:
        sys.stderr.flush()
        os._exit(status)


def finished(child: int) -> int:
    """Its exit status; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Child:
    """A child that works, and says the name of each thing as soon as it is finished.

    Args:
        work: yields those names.
    """

    def __init__(self, work: Callable[[], Iterable[str]]) -> None:
        self.reads, writes = os.pipe()

        def say() -> None:
            for name in work():
                os.write(writes, f"{name}\n".encode())

        self.process = forked(say)
        os.close(writes)

    def end(self, kill: bool = True) -> tuple[int, set[str]]:
        """Kill it, or wait for its end: its exit status, and what it has said."""
        if kill:
            os.kill(self.process, signal.SIGKILL)
        status = finished(self.process)
        os.set_blocking(self.reads, False)  # its own children may hold the other end
        with open(self.reads, "rb", buffering=0) as said:
            words = said.read() or b""
        return status, set(words.decode().split())
