"""`Remote`: the runs of a sweep at an fsspec address, such as "s3://bucket/runs"; `store_at` opens
what an address names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from pathlib import Path

from fsspec.core import split_protocol, url_to_fs

from sagviz.errors import ArgumentError, TraceError, first_sentence
from sagviz.files import expanded
from sagviz.records.trace import Trace
from sagviz.sweeps.cell_file import Measures, peek
from sagviz.sweeps.file_store import PLAN, FileStore, Result, reaches
from sagviz.sweeps.folder_store import Folder

AT_ONCE = 32  # requests on the way when many files are read
LOCAL = (None, "file", "local")  # protocols of folders


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
    if not make and not os.path.isdir(expanded(path)):
        raise ArgumentError(f"no folder {place}; give the one that sweep(store=) wrote to")
    return Folder(path)


class Remote(FileStore):
    """Runs as objects at an fsspec address, under the names that they have in a `Folder`.

    An object store shows an object whole or not at all, so that one put is all that a run takes.
    It has no locks: two sweeps that share an address at one time may both make a run, and the
    second puts the same object in place of the first. Where an address is of another kind (SFTP,
    HDFS) a killed process may leave half a file, which its checksum gives away.

    Args:
        address: protocol and path; settings of the protocol come from its own environment variables
            and files.
    """

    def __init__(self, address: str) -> None:
        try:  # what others wrote a moment ago has to be seen
            self._files, self._root = url_to_fs(address, use_listings_cache=False)
        except Exception as error:  # no such protocol, no package for it, no credentials, no answer
            raise ArgumentError(
                f"the store {address} cannot be reached ({first_sentence(error)}); install its"
                " package, check access and credentials, or give a folder"
            ) from error
        self.place = address.rstrip("/")

    @property
    def address(self) -> str | None:
        """`None` for "memory://", which each process has its own of."""
        return None if self.place.startswith("memory:") else self.place

    @reaches
    def load(self, key: str) -> Trace:
        name = f"{key}.sagtrace"
        try:
            content = self._read(name)
        except FileNotFoundError as error:
            raise TraceError(
                f"{self.place}/{name} cannot be read as a trace: there is nothing; run the sweep"
                " again"
            ) from error
        return Trace.from_bytes(content, f"{self.place}/{name}")

    @reaches
    def write(self, name: str, content: bytes) -> str:
        self._files.pipe_file(self._path(name), content)
        return f"{self.place}/{name}"

    def claim(self, key: str) -> AbstractContextManager[None]:
        del key  # see above
        return nullcontext()

    def _is_claimed(self, key: str) -> bool:
        del key  # nobody is seen running
        return False

    def _begin(self, plan: bytes) -> None:
        self._files.makedirs(self._root, exist_ok=True)  # nothing where there are no folders
        self.write(PLAN, plan)

    def _names(self) -> Iterable[str]:
        with suppress(FileNotFoundError):
            paths = self._files.ls(self._root, detail=False)
            return [path.rpartition("/")[2] for path in paths]
        return []

    def _read(self, name: str) -> bytes:
        return self._files.cat_file(self._path(name))

    def _exists(self, name: str) -> bool:
        return self._files.exists(self._path(name))

    def _move(self, name: str, to: str) -> None:
        self._files.mv(self._path(name), self._path(to))

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def _peek(self, key: str) -> Measures | None:
        path = self._path(f"{key}.sagtrace")
        return peek(
            lambda offset, length: self._files.cat_file(path, start=offset, end=offset + length)
        )

    def _each(self, action: Callable[[str], Result], keys: Iterable[str]) -> Iterator[Result]:
        """With many requests on the way and few results waiting."""
        left = iter(keys)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while some := list(islice(left, 16 * AT_ONCE)):
                yield from threads.map(action, some)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"
