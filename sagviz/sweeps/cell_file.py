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

from sagviz.image import png_texts
from sagviz.records.trace import Trace

INDEX = 2**14  # bytes that have the index of most traces
LONGEST = 10**8  # bytes of an index, as safetensors allows
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


def measures(trace: Trace) -> Measures:
    """What was measured of each picture of a run, and of the run, when it was made."""
    return [json.loads(picture.info["measures"]) for picture in trace.images]


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
        texts = [png_texts(read(length + begin, min(TEXTS, end - begin))) for begin, end in places]
        return [json.loads(each["measures"]) for each in texts] or None
    except (ValueError, KeyError, TypeError):
        return None


def _is_picture(name: str) -> bool:
    return name.startswith("picture.")
