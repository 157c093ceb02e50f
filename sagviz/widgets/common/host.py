"""Who shows the widgets: a notebook, or a server with several visitors, whose runs wait for one
another and have limits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sagviz.sampling.prepare import Run


class Host(Protocol):
    """What a server has for the widgets of one of its visitors."""

    def turn(self, stop: threading.Event) -> AbstractContextManager[None]:
        """Around a run: wait until it may begin.

        Raises:
            SagvizError: `stop` was set meanwhile.
        """

    def check(self, runs: Sequence[Run]) -> None:
        """Refuse runs that are over the server's limits.

        Raises:
            ArgumentError: says which limit.
        """


_host: ContextVar[Host | None] = ContextVar("host", default=None)


def current_host() -> Host | None:
    """The server's part for the visitor at work in this thread; `None` in notebooks and scripts."""
    return _host.get()


@contextmanager
def hosted_by(host: Host | None) -> Iterator[None]:
    """Around what a visitor sets off: widgets that are made here are the visitor's."""
    before = _host.set(host)
    try:
        yield
    finally:
        _host.reset(before)


def carried(work: Callable[..., None]) -> Callable[..., None]:
    """The work, to be done in another thread for the visitor of this one."""
    host = current_host()

    def do(*arguments: object) -> None:
        with hosted_by(host):
            work(*arguments)

    return do


def check_limits(runs: Sequence[Run]) -> None:
    """Refuse runs that are over the limits of the server, where one shows the widgets."""
    host = current_host()
    if host is not None:
        host.check(runs)
