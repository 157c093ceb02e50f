"""Disks that are full, or may only be read: a small one of memory where this may be mounted, else
what POSIX allows to everybody.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 64 * 2**20


class Disk:
    """A folder whose disk obeys.

    Attributes:
        mounted: whether it is a disk of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = self._mount(f"size={SIZE}")

    def end(self) -> None:
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)

    @contextmanager
    def full(self, room: int) -> Iterator[None]:
        """Meanwhile there are so many bytes of room, or no file gets larger than that."""
        if not self.mounted:
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            return
        disk = os.statvfs(self.folder)
        filler = self.folder / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - room)
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Meanwhile nothing can be written there."""
        if self.mounted:
            self._mount("remount,ro")
        else:
            self.folder.chmod(0o500)
        try:
            yield
        finally:
            self._mount("remount,rw") if self.mounted else self.folder.chmod(0o700)

    def _mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        try:
            return not subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode
        except FileNotFoundError:
            return False
