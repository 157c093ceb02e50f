"""`Remote`: the cells of a sweep at an fsspec address, such as "s3://bucket/runs"; `store_at` opens
what an address names.
"""

from __future__ import annotations

import json
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fsspec.core import split_protocol, url_to_fs

from sagviz.errors import ArgumentError, SagvizWarning, TraceError
from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Measures, measures, peek
from sagviz.sweeps.store import PLAN, Failure, Folder

AT_ONCE = 32  # requests on the way when many cells are read
LOCAL = (None, "file", "local")  # protocols of folders
Result = TypeVar("Result")


def store_at(place: str | Path, *, make: bool = True) -> Folder | Remote:
    """The store at a path or an fsspec address. Where it is missing it is made, or refused with
    `make=False`.

    Raises:
        ArgumentError: it is missing, cannot be made, or nothing is installed that reads such an
            address.
    """
    protocol, path = split_protocol(str(place))
    if protocol not in LOCAL:
        return Remote(str(place))
    if not make and not Path(path).is_dir():
        raise ArgumentError(f"no folder {place}; give the one that sweep(store=) wrote to")
    return Folder(path)


class Remote:
    """Cells as objects at an fsspec address, under the names that they have in a `Folder`.

    An object store shows an object whole or not at all, so that one put is all that a cell takes.
    It has no locks: two sweeps that share an address at one time may both make a cell, and the
    second puts the same object in place of the first. Where an address is of another kind (SFTP,
    HDFS) a killed process may leave half a file, which its checksum gives away.

    Args:
        address: protocol and path; settings of the protocol come from its own environment variables
            and files.
    """

    def __init__(self, address: str) -> None:
        try:  # what others wrote a moment ago has to be seen
            self._files, self._root = url_to_fs(address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ArgumentError(
                f"the store {address} cannot be reached ({error}); install its package, or give a"
                " folder"
            ) from error
        self._address = address

    def __repr__(self) -> str:
        return f"Remote({self._address!r})"

    @property
    def address(self) -> str | None:
        """`None` for "memory://", which each process has its own of."""
        return None if self._address.startswith("memory:") else self._address

    def begin(self, plan: dict[str, Any]) -> None:
        """Write the plan down."""
        try:
            # which does nothing where there are no folders
            self._files.makedirs(self._root, exist_ok=True)
            self.write(PLAN, json.dumps(plan, sort_keys=True).encode())
        # each protocol has its own kinds: no credentials, no such bucket, no network
        except Exception as error:
            raise ArgumentError(
                f"cannot write to the store {self._address} ({error}); give another address"
            ) from error

    def write(self, name: str, content: bytes) -> str:
        """An object beside the cells; where it is."""
        self._files.pipe_file(self._path(name), content)
        return f"{self._address.rstrip('/')}/{name}"

    def plan(self) -> dict[str, Any]:
        """What `begin` wrote down."""
        try:
            return json.loads(self._files.cat_file(self._path(PLAN)))
        except Exception as error:
            raise ArgumentError(
                f"{self._address} is not the store of a sweep ({error}); give the address of"
                " sweep(store=)"
            ) from error

    def look(self) -> dict[str, str]:
        """The status of all cells that are not pending, from one listing. Nobody is seen running."""
        try:
            names = [
                path.rpartition("/")[2].rpartition(".")
                for path in self._files.ls(self._root, detail=False)
            ]
        except FileNotFoundError:
            return {}
        failed = [key for key, _, ending in names if ending == "failed"]
        return dict.fromkeys(failed, "failed") | {
            key: "done" for key, _, ending in names if ending == "sagtrace"
        }

    def whole(self, keys: Iterable[str]) -> Iterator[bool]:
        return _at_once(self.holds, keys)

    def measures(self, keys: Iterable[str]) -> Iterator[Measures]:
        return _at_once(self._measures, keys)

    def status(self, key: str) -> str:
        """Of a cell: "done", "failed" or "pending". A look, no check of the object."""
        if self._files.exists(self._file(key)):
            return "done"
        return "failed" if self.failure(key) else "pending"

    def holds(self, key: str) -> bool:
        """Whether the cell is there and its checksum is right."""
        try:
            self.load(key)
        except TraceError:
            return False
        return True

    def load(self, key: str) -> Trace:
        name = f"{self._address.rstrip('/')}/{key}.sagtrace"
        try:
            content = self._files.cat_file(self._file(key))
        except FileNotFoundError as error:
            raise TraceError(f"{name} cannot be read as a trace: there is nothing") from error
        return Trace.from_bytes(content, name)

    def save(self, key: str, trace: Trace) -> None:
        """Put a finished cell; a damaged object that was there is set aside, never lost in silence."""
        path = self._file(key)
        if self._files.exists(path) and not self.holds(key):
            self._files.mv(path, self._path(f"{key}.damaged"))
            warnings.warn(
                f"{path} was damaged; it is made again, the old one ends in .damaged",
                SagvizWarning,
                stacklevel=2,
            )
        self._files.pipe_file(path, trace.to_bytes())
        with suppress(FileNotFoundError):
            self._files.rm_file(self._reason(key))

    def failure(self, key: str) -> Failure | None:
        try:
            return Failure(**json.loads(self._files.cat_file(self._reason(key))))
        # there is none, or it cannot be read: then the cell is tried again
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def fail(self, key: str, error: str) -> None:
        content = Failure(error, secrets.token_hex(8))._asdict()
        self._files.pipe_file(self._reason(key), json.dumps(content).encode())

    def claim(self, key: str) -> AbstractContextManager[None]:
        del key  # see above
        return nullcontext()

    def _measures(self, key: str) -> Measures:
        def read(offset: int, length: int) -> bytes:
            return self._files.cat_file(self._file(key), start=offset, end=offset + length)

        return peek(read) or measures(self.load(key))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _file(self, key: str) -> str:
        return self._path(f"{key}.sagtrace")

    def _reason(self, key: str) -> str:
        return self._path(f"{key}.failed")


def _at_once(action: Callable[[str], Result], keys: Iterable[str]) -> Iterator[Result]:
    """What the action makes of each key, in order, with many requests on the way and few results
    waiting.
    """
    left = iter(keys)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while some := list(islice(left, 16 * AT_ONCE)):
            yield from threads.map(action, some)
