"""`FileStore`: what a folder and an fsspec address have in common, the names of the files and what
they mean.

A run has `<key>.sagtrace` when it is done, or `<key>.failed` with the reason. A damaged file is set
aside as `<key>.damaged`. `sweep.json` is the plan of the sweep that was begun last.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sagviz.errors import ArgumentError, TraceError, warn
from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Failure, Measures, measures

PLAN = "sweep.json"
Result = TypeVar("Result")


class FileStore(ABC):
    """Runs in files, each with a checksum. A subclass says how files are listed, read and written.

    Attributes:
        place: the path or address, as people know it.
    """

    place: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r})"

    def begin(self, plan: dict[str, Any]) -> None:
        """Write the plan down, and clear what killed processes left half-written."""
        try:
            self._begin(json.dumps(plan, sort_keys=True).encode())
        except Exception as error:  # each fsspec protocol has its own kinds: no such bucket, ...
            raise ArgumentError(
                f"cannot write to the store {self.place} ({error}); give another folder or address"
            ) from error

    def plan(self) -> dict[str, Any]:
        """What `begin` wrote down."""
        try:
            return json.loads(self._read(PLAN))
        except Exception as error:
            raise ArgumentError(
                f"{self.place} is not the store of a sweep ({error}); give the folder or address of"
                " sweep(store=)"
            ) from error

    def look(self) -> dict[str, str]:
        """The status of all keys that are not pending, as `status` has it."""
        keys = defaultdict[str, list[str]](list)
        for name in self._names():
            key, _, ending = name.rpartition(".")
            keys[ending].append(key)
        reasons = zip(keys["failed"], self._each(self.failure, keys["failed"]), strict=True)
        running = [key for key in keys["lock"] if key != PLAN and self._is_claimed(key)]
        statuses = {key: "failed" for key, reason in reasons if reason}
        statuses |= dict.fromkeys(running, "running")
        return statuses | dict.fromkeys(keys["sagtrace"], "done")

    def status(self, key: str) -> str:
        """ "done", "running", "failed" or "pending". A look, no check of the file."""
        if self._exists(f"{key}.sagtrace"):
            return "done"
        if self._is_claimed(key):
            return "running"
        return "failed" if self.failure(key) else "pending"

    def whole(self, keys: Iterable[str]) -> Iterator[bool]:
        return self._each(self.holds, keys)

    def holds(self, key: str) -> bool:
        """Whether the run is there and its checksum is right."""
        try:
            self.load(key)
        except TraceError:
            return False
        return True

    def measures(self, keys: Iterable[str]) -> Iterator[Measures]:
        return self._each(lambda key: self._peek(key) or measures(self.load(key)), keys)

    def save(self, key: str, trace: Trace) -> None:
        """Write a finished run; a damaged file that was there is set aside and warned of."""
        name, aside = f"{key}.sagtrace", f"{key}.damaged"
        if self._exists(name) and not self.holds(key):
            self._move(name, aside)
            warn(f"{name} was damaged; it is made again, the old file is {self.place}/{aside}")
        self.write(name, trace.to_bytes())
        self._remove(f"{key}.failed")

    def failure(self, key: str) -> Failure | None:
        try:
            return Failure(**json.loads(self._read(f"{key}.failed")))
        # there is none, or it cannot be read: then the run is tried again
        except (OSError, ValueError, TypeError):
            return None

    def fail(self, key: str, error: str) -> None:
        self.write(f"{key}.failed", json.dumps(Failure.now(error)._asdict()).encode())

    @abstractmethod
    def load(self, key: str) -> Trace:
        """The trace of a run, checked.

        Raises:
            TraceError: it is not there, or damaged.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> str:
        """A file beside the runs, whole or absent; where it is."""

    @abstractmethod
    def _begin(self, plan: bytes) -> None: ...
    @abstractmethod
    def _names(self) -> Iterable[str]: ...
    @abstractmethod
    def _read(self, name: str) -> bytes: ...
    @abstractmethod
    def _exists(self, name: str) -> bool: ...
    @abstractmethod
    def _move(self, name: str, to: str) -> None: ...
    @abstractmethod
    def _remove(self, name: str) -> None:
        """Remove the file if it is there."""

    @abstractmethod
    def _is_claimed(self, key: str) -> bool: ...
    @abstractmethod
    def _peek(self, key: str) -> Measures | None:
        """The measures of a run, without its tensors where that is possible."""

    @abstractmethod
    def _each(self, action: Callable[[str], Result], keys: Iterable[str]) -> Iterator[Result]:
        """What the action makes of each key, in order."""
