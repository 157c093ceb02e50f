"""`Store`: what a sweep asks of the place where its runs are kept.

There are three: `memory_store.Memory`, `folder_store.Folder`, `fsspec_store.Remote`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Measures


class Failure(NamedTuple):
    """Why a run failed, and a token that tells one attempt from the next."""

    error: str
    attempt: str

    @staticmethod
    def now(error: str) -> Failure:
        """Of an attempt that has just failed."""
        return Failure(error, secrets.token_hex(8))


class Store(Protocol):
    """A place that keeps one trace or failure for each key.

    `address` is what other processes find it by, `None` where they cannot. A status is "done",
    "running" (some process works on it), "failed" or "pending". `look` has the status of every key
    that is not pending, from one listing; `whole` and `measures` go through many keys, in their
    order, as fast as the place allows. `claim` gives the sole right to make a run, until the end of
    the block; `None` while another process has it.
    """

    @property
    def address(self) -> str | None: ...
    def begin(self, plan: dict[str, Any]) -> None: ...
    def look(self) -> dict[str, str]: ...
    def whole(self, keys: Iterable[str]) -> Iterator[bool]: ...
    def measures(self, keys: Iterable[str]) -> Iterator[Measures]: ...
    def status(self, key: str) -> str: ...
    def holds(self, key: str) -> bool: ...
    def load(self, key: str) -> Trace: ...
    def save(self, key: str, trace: Trace) -> None: ...
    def failure(self, key: str) -> Failure | None: ...
    def fail(self, key: str, error: str) -> None: ...
    def claim(self, key: str) -> AbstractContextManager[None] | None: ...
