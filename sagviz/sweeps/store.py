"""Where the cells of a sweep are: `Folder`, which outlives the process and is shared between
processes, or `Memory`.

`remote.Remote` is the third: the same files at an fsspec address.

A folder holds for each cell `<key>.sagtrace` when it is done, or `<key>.failed` with the reason;
while a process works on it, `<key>.lock`, which the system releases when that process dies.
`sweep.json` is the plan of the sweep that was begun last.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock, Timeout

from sagviz.errors import ArgumentError, SagvizWarning, TraceError
from sagviz.files import PART, write_whole
from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Measures, measures, peek

PLAN = "sweep.json"


class Failure(NamedTuple):
    """Why a cell failed, and a token that tells one attempt from the next."""

    error: str
    attempt: str


class Store(Protocol):
    """What a sweep asks of the place where its cells are.

    `address` is what other processes find it by, `None` where they cannot. `look` has the status of
    every cell that is not pending, from one listing; `whole` and `measures` go through many cells,
    in the order of their keys, as fast as the place allows.
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


class Memory:
    """Cells that last as long as the `Sweep` that holds them."""

    def __init__(self) -> None:
        self._traces: dict[str, Trace] = {}
        self._failures: dict[str, Failure] = {}

    @property
    def address(self) -> None:
        """There is no way in."""

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
        self._failures[key] = Failure(error, secrets.token_hex(8))

    def claim(self, key: str) -> AbstractContextManager[None] | None:
        del key  # nobody else works here
        return nullcontext()


class Folder:
    """A folder of cells, each a whole file with a checksum.

    Args:
        path: made where it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                f"the store {path} cannot be made ({error.strerror}); give a folder"
            ) from error

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    @property
    def address(self) -> str:
        """Absolute, because another process has another current folder."""
        return str(self.path.resolve())

    def begin(self, plan: dict[str, Any]) -> None:
        """Write the plan down, and clear what killed processes left half-written."""
        try:
            while (claim := self.claim(PLAN)) is None:
                time.sleep(0.01)
            with claim:
                self.write(PLAN, json.dumps(plan, sort_keys=True).encode())
            for part in self.path.glob(f"*{PART}"):
                self._clear(part)
            for lock in self.path.glob("*.lock"):
                self._is_claimed(lock.stem)
        except OSError as error:
            raise ArgumentError(
                f"cannot write to the store {self.path} ({error.strerror}); give another folder"
            ) from error

    def write(self, name: str, content: bytes) -> str:
        """A file beside the cells, whole or absent; where it is."""
        return str(write_whole(self.path / name, content))

    def plan(self) -> dict[str, Any]:
        """What `begin` wrote down."""
        try:
            return json.loads((self.path / PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"{self.path} is not the store of a sweep ({error}); give the folder of"
                " sweep(store=)"
            ) from error

    def look(self) -> dict[str, str]:
        """The status of all cells that are not pending, as `status` has it."""
        found = dict[str, dict[str, None]]()
        with os.scandir(self.path) as entries:
            for entry in entries:
                key, _, ending = entry.name.rpartition(".")
                found.setdefault(ending, {})[key] = None
        failed = [key for key in found.get("failed", ()) if self.failure(key)]
        running = [key for key in found.get("lock", ()) if key != PLAN and self._is_claimed(key)]
        statuses = dict.fromkeys(failed, "failed") | dict.fromkeys(running, "running")
        return statuses | dict.fromkeys(found.get("sagtrace", ()), "done")

    def whole(self, keys: Iterable[str]) -> Iterator[bool]:
        return map(self.holds, keys)

    def measures(self, keys: Iterable[str]) -> Iterator[Measures]:
        return (self._peek(key) or measures(self.load(key)) for key in keys)

    def status(self, key: str) -> str:
        """Of a cell: "done", "running" in some process, "failed" or "pending". A look, no check of
        the file.
        """
        if self._file(key).exists():
            return "done"
        if self._is_claimed(key):
            return "running"
        return "failed" if self.failure(key) else "pending"

    def holds(self, key: str) -> bool:
        """Whether the cell is there and its checksum is right."""
        try:
            self.load(key)
        except TraceError:
            return False
        return True

    def load(self, key: str) -> Trace:
        return Trace.load(self._file(key))

    def save(self, key: str, trace: Trace) -> None:
        """Write a finished cell; a damaged file that was there is set aside, never lost in silence."""
        path = self._file(key)
        if path.exists() and not self.holds(key):
            aside = path.with_suffix(".damaged")
            os.replace(path, aside)
            warnings.warn(
                f"{path.name} was damaged; it is made again, the old file is {aside}",
                SagvizWarning,
                stacklevel=2,
            )
        trace.save(path)
        self._reason(key).unlink(missing_ok=True)

    def failure(self, key: str) -> Failure | None:
        try:
            return Failure(**json.loads(self._reason(key).read_text(encoding="utf-8")))
        # there is none, or it cannot be read: then the cell is tried again
        except (OSError, ValueError, TypeError):
            return None

    def fail(self, key: str, error: str) -> None:
        content = Failure(error, secrets.token_hex(8))._asdict()
        write_whole(self._reason(key), json.dumps(content).encode())

    def claim(self, key: str) -> AbstractContextManager[None] | None:
        """The sole right to make a cell, given back at the end of the block; `None` while another
        has it.
        """
        lock = FileLock(self._lock(key), thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return self._released(lock)

    @contextmanager
    def _released(self, lock: FileLock) -> Iterator[None]:
        try:
            yield
        finally:
            # Removed while it is held. Who opened it before and locks it after finds the cell
            # settled, and leaves it.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()

    def _peek(self, key: str) -> Measures | None:
        """The measures of a cell, without its tensors where possible."""

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        with suppress(OSError), self._file(key).open("rb", buffering=0) as file:
            return peek(read)
        return None

    def _is_claimed(self, key: str) -> bool:
        """Whether a process holds the cell. The lock file that a killed one left is removed."""
        if not self._lock(key).exists():
            return False
        claim = self.claim(key)
        if claim is None:
            return True
        with claim:
            return False

    def _clear(self, part: Path) -> None:
        """Remove a temporary file, unless a process holds the cell that it is for."""
        key = PLAN if part.name.startswith(f".{PLAN}") else part.name.lstrip(".").partition(".")[0]
        with suppress(OSError):
            claim = self.claim(key)
            if claim is not None:
                with claim:
                    part.unlink()

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.sagtrace"

    def _reason(self, key: str) -> Path:
        return self.path / f"{key}.failed"

    def _lock(self, key: str) -> Path:
        return self.path / f"{key}.lock"
