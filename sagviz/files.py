"""Files that are whole or absent: no reader, and no run after a crash, meets half of one."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from sagviz.errors import ArgumentError, SagvizError

PART = ".part"  # how the name of a temporary file ends
ADVICE = "give a file in a folder that exists and may be written to"
LONG = 3600  # seconds in which every write ends
LONGEST = 200  # bytes of a name that its temporary file repeats: systems allow 255


def expanded(path: str | Path) -> Path:
    """A path as a user gives it: `~` at its front is the home folder, as in a shell.

    Raises:
        ArgumentError: it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"the path is {path!r}; give the name of a file or folder as a text")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody of that name lives here: then it is a name like any other
        return Path(path)


def from_home(place: str) -> str:
    """A path or a hub's name as it is given, but for a path from `~`: without it."""
    return str(expanded(place)) if place.startswith("~") else place


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write a file under a temporary name in the same folder, bring it to the disk, then give it
    its name.

    The temporary file is `.<name>.<process>-<random>.part`; only a killed process leaves it behind.

    Raises:
        OSError: the folder is missing, full or closed to writing; what was at `path` is as before.
    """
    path = expanded(path)
    name = os.fsdecode(os.fsencode(path.name)[:LONGEST])
    part = path.with_name(f".{name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()
    return path


def is_written(part: Path) -> bool:
    """Whether the process that writes a temporary file lives on this machine. What is old was left
    behind by another of that number.
    """
    writer = part.name.split(".")[-2].partition("-")[0]
    if os.name == "nt" or not writer.isdecimal():  # on Windows the question would end the process
        return False
    try:
        young = time.time() - part.stat().st_mtime < LONG
        os.kill(int(writer), 0)
    except PermissionError:  # another user's process
        return young
    except (OSError, OverflowError):
        return False
    return young


def save(path: str | Path, content: bytes, raises: type[SagvizError] = ArgumentError) -> Path:
    """`write_whole`, with a sentence where it fails.

    Raises:
        SagvizError: of the kind `raises`; what was at `path` is as before.
    """
    try:
        return write_whole(path, content)
    except OSError as error:
        raise raises(f"cannot write {path}: {error.strerror}; {ADVICE}") from error


def check_place(path: Path, raises: type[SagvizError] = ArgumentError) -> None:
    """Refuse a place where no file can be written, before the work that it is for.

    Raises:
        SagvizError: of the kind `raises`.
    """
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise raises(f"cannot write {path}; {ADVICE}")
