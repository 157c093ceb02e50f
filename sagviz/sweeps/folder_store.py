"""`Folder`: the runs of a sweep in a folder, which outlives the process and is shared between
processes.

While a process works on a run it holds `<key>.lock`, which the system releases when that process
dies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sagviz.errors import ArgumentError, RunError
from sagviz.files import PART, expanded, is_written, save, write_whole
from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Measures, peek
from sagviz.sweeps.file_store import PLAN, FileStore, Result, reaches


class Folder(FileStore):
    """A folder of runs, each a whole file with a checksum.

    Args:
        path: made where it is missing.

    Raises:
        ArgumentError: it cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.place = expanded(path), str(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                f"the store {path} cannot be made ({error.strerror}); give a folder"
            ) from error

    @property
    def address(self) -> str:
        """Absolute, because another process has another current folder."""
        return str(self.path.resolve())

    def load(self, key: str) -> Trace:
        return Trace.load(self.path / f"{key}.sagtrace")

    def write(self, name: str, content: bytes) -> str:
        return str(save(self.path / name, content, RunError))

    @reaches
    def claim(self, key: str) -> AbstractContextManager[None] | None:
        """The sole right to make a run, given back at the end of the block; `None` while another
        process has it.
        """
        lock = FileLock(self.path / f"{key}.lock", thread_local=False)
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
            # Removed while it is held. Who opened it before and locks it after finds the run
            # finished, and leaves it.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()

    def _is_claimed(self, key: str) -> bool:
        """Whether a process holds the run. The lock file that a killed one left is removed; of one
        that may not be opened, as of a store that may only be read, nobody can tell.
        """
        if not self._exists(f"{key}.lock"):
            return False
        try:
            claim = self.claim(key)
        except RunError:
            return True
        if claim is None:
            return True
        with claim:
            return False

    def _begin(self, plan: bytes) -> None:
        while (claim := self.claim(PLAN)) is None:
            time.sleep(0.01)
        with claim:
            write_whole(self.path / PLAN, plan)
        for part in self.path.glob(f"*{PART}"):
            self._clear(part)
        for lock in self.path.glob("*.lock"):
            self._is_claimed(lock.stem)

    def _clear(self, part: Path) -> None:
        """Remove a temporary file, unless a process writes it, or holds the run that it is for."""
        if is_written(part):
            return
        key = PLAN if part.name.startswith(f".{PLAN}") else part.name.lstrip(".").partition(".")[0]
        with suppress(OSError):
            claim = self.claim(key)
            if claim is not None:
                with claim:
                    part.unlink()

    def _names(self) -> Iterable[str]:
        return os.listdir(self.path)

    def _read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def _exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def _move(self, name: str, to: str) -> None:
        os.replace(self.path / name, self.path / to)

    def _remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def _peek(self, key: str) -> Measures | None:
        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        with suppress(OSError), (self.path / f"{key}.sagtrace").open("rb", buffering=0) as file:
            return peek(read)
        return None

    def _each(self, action: Callable[[str], Result], keys: Iterable[str]) -> Iterator[Result]:
        return map(action, keys)
