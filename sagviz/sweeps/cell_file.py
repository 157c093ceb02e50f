"""What a store has of one run: why it failed, or its measures, which come out of its trace, or by a
look at the few kilobytes of its file that have them.

The trace is a safetensors file: the length of an index in 8 bytes, the index as JSON, the tensors.
Its pictures are PNG in tensors of bytes, and the measures are a text that stands in each before
the pixels.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from sagviz.errors import TraceError
from sagviz.image import png_texts
from sagviz.records import strict
from sagviz.records.trace import Trace
from sagviz.records.trace_file import UNREADABLE

INDEX = 2**14  # bytes that have the index of most traces
LONGEST = 2**22  # bytes of an index that is looked at: of 40,000 tensors
TEXTS = 2**13  # bytes of a picture that have its texts

Measures = list[dict[str, Any]]  # of each picture of a run, and of the run


class Failure(NamedTuple):
    """Why a run failed, and a token that tells one attempt from the next."""

    error: str
    attempt: str

    @staticmethod
    def now(error: str) -> Failure:
        """Of an attempt that has just failed."""
        return Failure(error, secrets.token_hex(8))

    @staticmethod
    def read(content: bytes) -> Failure | None:
        """What a file has of it; `None` where it is damaged."""
        try:
            found = Failure(**json.loads(content))
        except UNREADABLE:
            return None
        return found if all(isinstance(part, str) for part in found) else None


def measures(trace: Trace) -> Measures:
    """What was measured of each picture of a run, and of the run, when it was made.

    Raises:
        TraceError: no sweep has made this trace.
    """
    try:
        found = list(map(_measured, trace.pictures))
    except UNREADABLE:
        found = []
    if not found:
        raise TraceError(f"{trace!r} has no measures; move its file away and run the sweep again")
    return found


def peek(read: Callable[[int, int], bytes]) -> Measures | None:
    """The same without the trace. Damage elsewhere in the file stays unnoticed; the texts have a
    checksum of their own.

    Args:
        read: gives the bytes of the file from an offset on, as many as it is asked for or there
            are.

    Returns:
        `None` where so little does not have it: then the whole file has to be read.
    """
    try:
        start = read(0, INDEX)
        length = 8 + int.from_bytes(start[:8], "little")
        index = json.loads(
            start[8:length] if length <= len(start) else read(8, min(length, LONGEST) - 8)
        )
        places = [
            index[f"picture.{number}"]["data_offsets"]
            for number in range(sum(map(_is_picture, index)))
        ]
        starts = [read(length + begin, min(TEXTS, end - begin)) for begin, end in places]
        return list(map(_measured, starts)) or None
    except (*UNREADABLE, OverflowError):
        return None


def _measured(start: bytes) -> dict[str, Any]:
    """The measures in the beginning of a picture."""
    return dict(strict.loads(png_texts(start)["measures"]).items())


def _is_picture(name: str) -> bool:
    return name.startswith("picture.")
