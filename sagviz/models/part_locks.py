"""One lock for each network and tokenizer, whoever works with it: several models may share them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

from sagviz.attention.compiled import plain

_locks: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_looking = threading.Lock()


class PartsLock:
    """The locks of several objects, as one that a thread may take again while it has it.

    All take them in the same order, so that no two threads wait for each other.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        with _looking:
            found = {
                id(part): _locks.setdefault(part, threading.RLock()) for part in map(plain, parts)
            }
        self._locks = [found[key] for key in sorted(found)]

    def __enter__(self) -> None:
        with ExitStack() as taken:
            for lock in self._locks:
                taken.enter_context(lock)
            taken.pop_all()  # all of them are there, and stay

    def __exit__(self, *_: object) -> None:
        for lock in reversed(self._locks):
            lock.release()
