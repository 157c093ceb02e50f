"""`FileStore`: what a folder and an fsspec address have in common, the names of the files and what
they mean.

A run has `<key>.sagtrace` when it is done, or `<key>.failed` with the reason. A damaged file is set
aside as `<key>.damaged`. `sweep.json` is the plan of the sweep that was begun last.
"""

from __future__ import annotations

import functools
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from sagviz.errors import ArgumentError, RunError, SagvizError, TraceError, first_sentence, warn
from sagviz.records import strict
from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Failure, Measures, measures

PLAN = "sweep.json"
Result = TypeVar("Result")
S = TypeVar("S", bound="FileStore")
P = ParamSpec("P")


def reaches(method: Callable[Concatenate[S, P], Result]) -> Callable[Concatenate[S, P], Result]:
    """A decorator of what asks the place for something: that it has no access, no credentials or
    no time is one sentence, whatever its system or protocol raises.
    """

    @functools.wraps(method)
    def asked(self: S, *args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return method(self, *args, **kwargs)
        except SagvizError:
            raise
        except Exception as error:  # each fsspec protocol has its own kinds
            raise RunError(unreachable(self.place, error)) from error

    return asked


def unreachable(place: str, error: BaseException) -> str:
    """The sentence about a place that does not answer as it should."""
    return (
        f"the store {place} cannot be reached ({type(error).__name__}: {first_sentence(error)});"
        " check its access and credentials and run the same again, what is finished there stays"
    )


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
            self._begin(strict.dumps(plan, sort_keys=True).encode())
        except Exception as error:  # each fsspec protocol has its own kinds: no such bucket, ...
            cause = error.__cause__ or error
            raise ArgumentError(
                f"cannot write to the store {self.place} ({first_sentence(cause)}); give another"
                " folder or address"
            ) from error

    @reaches
    def plan(self) -> dict[str, Any]:
        """What `begin` wrote down."""
        try:
            return strict.loads(self._read(PLAN))
        except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError) as error:
            raise ArgumentError(
                f"{self.place} is not the store of a sweep ({error}); give the folder or address of"
                " sweep(store=)"
            ) from error

    @reaches
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

    @reaches
    def status(self, key: str) -> str:
        """ "done", "running", "failed" or "pending". A look, no check of the file."""
        if self._exists(f"{key}.sagtrace"):
            return "done"
        if self._is_claimed(key):
            return "running"
        return "failed" if self.failure(key) else "pending"

    def whole(self, keys: Iterable[str]) -> Iterator[bool]:
        return self._each(self.holds, keys)

    @reaches
    def holds(self, key: str) -> bool:
        """Whether the run is there and its checksum is right."""
        try:
            self.load(key)
        except TraceError as error:
            if _was_refused(error.__cause__):
                raise RunError(unreachable(self.place, error)) from error
            return False
        return True

    def measures(self, keys: Iterable[str]) -> Iterator[Measures]:
        return self._each(self._measures, keys)

    @reaches
    def _measures(self, key: str) -> Measures:
        return self._peek(key) or measures(self.load(key))

    @reaches
    def save(self, key: str, trace: Trace) -> None:
        """Write a finished run; a damaged file that was there is set aside and warned of."""
        name, aside = f"{key}.sagtrace", f"{key}.damaged"
        if self._exists(name) and not self.holds(key):
            self._move(name, aside)
            warn(f"{name} was damaged; it is made again, the old file is {self.place}/{aside}")
        self.write(name, trace.to_bytes())
        self._remove(f"{key}.failed")

    @reaches
    def failure(self, key: str) -> Failure | None:
        """Why a run failed; `None` where it did not, or where that is damaged: then it is tried
        again.
        """
        try:
            return Failure.read(self._read(f"{key}.failed"))
        except FileNotFoundError:
            return None

    @reaches
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


def _was_refused(cause: BaseException | None) -> bool:
    """Whether a file is there and the system does not give it."""
    return isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
