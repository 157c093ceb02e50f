"""Runs one at a time, in fair order: visitors take turns."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from sagviz.errors import SagvizError

LOOK = 0.2  # seconds between two looks at whether a waiting run was cancelled


class Waiting(Protocol):
    """Who waits.

    Attributes:
        served: when the last run began, counted in runs of all; 0 before the first.
    """

    served: int

    def tell_place(self, before: int) -> None:
        """Show how many runs come before; 0 for none, or where nothing waits."""


@dataclass(eq=False)
class _Ticket:
    who: Waiting


class Turns:
    """A queue of runs, the next of which is that of the visitor who was served longest ago; whoever
    asks for a second one waits for everyone's first.

    Example:
        >>> import threading
        >>> from sagviz.widgets.app.turns import Turns
        >>> class Pupil:
        ...     served = 0
        ...     def tell_place(self, before): print(before, "before")
        >>> with Turns().turn(Pupil(), threading.Event()):
        ...     print("runs")
        0 before
        runs
        0 before
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._at_work: _Ticket | None = None
        self._count = itertools.count(1)

    @property
    def waiting(self) -> int:
        """How many runs wait."""
        return len(self._waiting)

    @contextmanager
    def turn(self, who: Waiting, stop: threading.Event) -> Iterator[None]:
        """Around a run: wait until it is its turn.

        Raises:
            SagvizError: `stop` was set meanwhile.
        """
        ticket = _Ticket(who)
        self._wait(ticket, stop)
        try:
            yield
        finally:
            with self._changed:
                self._at_work = None
                self._tell()
            who.tell_place(0)

    def _wait(self, ticket: _Ticket, stop: threading.Event) -> None:
        with self._changed:
            self._waiting.append(ticket)
            self._tell()
            while not stop.is_set() and (self._at_work or self._order()[0] is not ticket):
                self._changed.wait(LOOK)
            self._waiting.remove(ticket)
            if not stop.is_set():
                self._at_work, ticket.who.served = ticket, next(self._count)
            self._tell()
        if self._at_work is not ticket:
            ticket.who.tell_place(0)
            raise SagvizError("the run was cancelled while it waited for its turn")

    def _order(self) -> list[_Ticket]:
        """Everyone's first run before anyone's second, then by who was served longest ago, then by
        arrival.
        """
        rounds, keys = Counter[int](), dict[_Ticket, tuple[int, int]]()
        for ticket in self._waiting:
            keys[ticket] = (rounds[id(ticket.who)], ticket.who.served)
            rounds[id(ticket.who)] += 1
        return sorted(self._waiting, key=keys.__getitem__)

    def _tell(self) -> None:
        """Everyone who waits hears the place of the first of their runs."""
        told = set[int]()
        for place, ticket in enumerate(self._order(), start=self._at_work is not None):
            if id(ticket.who) not in told:
                told.add(id(ticket.who))
                ticket.who.tell_place(place)
        self._changed.notify_all()
