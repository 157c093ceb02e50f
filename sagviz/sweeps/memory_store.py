"""`Memory`: the runs of a sweep for as long as its process lasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Failure, Measures, measures


class Memory:
    """Traces that last as long as the `Sweep` that holds them."""

    def __init__(self) -> None:
        self._traces: dict[str, Trace] = {}
        self._failures: dict[str, Failure] = {}

    @property
    def address(self) -> None:
        """No other process can reach it."""

    def begin(self, plan: dict[str, Any]) -> None:
        """Nothing is left over from before."""

    def look(self) -> dict[str, str]:
        return dict.fromkeys(self._failures, "failed") | dict.fromkeys(self._traces, "done")

    def whole(self, keys: Iterable[str]) -> Iterator[bool]:
        return map(self.holds, keys)

    def measures(self, keys: Iterable[str]) -> Iterator[Measures]:
        return (measures(self._traces[key]) for key in keys)

    def status(self, key: str) -> str:
        return "done" if key in self._traces else "failed" if key in self._failures else "pending"

    def holds(self, key: str) -> bool:
        return key in self._traces

    def load(self, key: str) -> Trace:
        return self._traces[key]

    def save(self, key: str, trace: Trace) -> None:
        self._failures.pop(key, None)
        self._traces[key] = trace

    def failure(self, key: str) -> Failure | None:
        return self._failures.get(key)

    def fail(self, key: str, error: str) -> None:
        self._failures[key] = Failure.now(error)

    def claim(self, key: str) -> AbstractContextManager[None]:
        del key  # nobody else works here
        return nullcontext()
