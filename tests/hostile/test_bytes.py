"""A trace's file byte by byte: damaged, cut, and with headers that ask for more than there is."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from effort import EXAMPLES, USUAL_EXAMPLES
from limits import budget
from tiny import is_one_sentence

import sagviz as sv
from sagviz.errors import TraceError
from sagviz.records.trace_file import FORMAT

MOST = 64 * 2**20  # bytes that a hostile file may be given
BITS = 1 if EXAMPLES == USUAL_EXAMPLES else 3  # of each byte that are flipped


@pytest.fixture(scope="module")
def content(model: sv.Model) -> bytes:
    """A small file with all kinds of parts."""
    guidance = sv.CFG(3.0) + sv.SAG(1.0)
    trace = sv.trace(model, "a fox", steps=1, guidance=guidance, size=(16, 16), progress=False)
    return trace.to_bytes()


def refused(content: bytes) -> None:
    with pytest.raises(TraceError) as error:
        sv.Trace.from_bytes(content, "fox.sagtrace")
    assert is_one_sentence(error.value)


@pytest.mark.slow
def test_a_file_with_any_byte_flipped_is_refused(
    content: bytes, record_property: Callable[..., None]
) -> None:
    for place in range(len(content)):
        for bit in range(BITS):
            damaged = bytearray(content)
            damaged[place] ^= 1 << (place + bit) % 8
            refused(bytes(damaged))
    record_property("measured", f"{len(content):,} bytes, {BITS} bits of each")


@pytest.mark.slow
def test_a_file_cut_at_any_length_is_refused(
    content: bytes, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """From memory, and here and there from the disk."""
    for length in range(len(content)):
        refused(content[:length])
    path = tmp_path / "fox.sagtrace"
    for length in range(0, len(content), 499):
        path.write_bytes(content[:length])
        with pytest.raises(TraceError):
            sv.Trace.load(path)
    record_property("measured", f"{len(content):,} lengths")


def file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, an object or JSON as it is, and of this length by its
    own account.
    """
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], *offsets: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": list(offsets)}


def noted(meta: str) -> dict[str, Any]:
    """A header's notes with the checksum of a file without tensors."""
    digest = hashlib.sha256(meta.encode()).hexdigest()
    return {"__metadata__": {"format": FORMAT, "meta": meta, "sha256": digest}}


def named(name: str, data: bytes = bytes(4)) -> bytes:
    """A file whose checksum fits, with a tensor of that name."""
    meta = "{}"
    said = f"{name}torch.float32(1,)".encode()
    digest = hashlib.sha256(meta.encode() + said + data).hexdigest()
    notes = {"format": FORMAT, "meta": meta, "sha256": digest}
    return file({"__metadata__": notes, name: tensor([1], 0, 4)}, data)


DEEP = b"[" * 100_000
HOSTILE: dict[str, bytes] = {
    "a header of terabytes": file(b"{}", length=2**40),
    "a header of all that 64 bits count": file(b"{}", length=2**64 - 1),
    "a header of 100 MB that is not there": file(b"{}", length=10**8),
    "a tensor of terabytes": file({"a": tensor([2**40], 0, 2**42)}),
    "a shape that overflows": file({"a": tensor([2**33, 2**33], 0, 4)}, bytes(4)),
    "a tensor that ends before it begins": file({"a": tensor([1], 4, 0)}, bytes(4)),
    "tensors that overlap": file({n: tensor([1], 0, 4) for n in "ab"}, bytes(4)),
    "numbers below zero": file({"a": tensor([-1], -4, 0)}, bytes(4)),
    "a kind of number that is none": file({"a": tensor([1], 0, 4, kind="F33")}, bytes(4)),
    "numbers that NumPy does not have": file(
        {**noted("{}"), "a": tensor([2], 0, 4, kind="BF16")}, bytes(4)
    ),
    "deep JSON": file(DEEP),
    "deep notes": file(noted(DEEP.decode())),
    "deep settings": file(noted('{"settings":' * 900 + "1" + "}" * 900)),
    "notes that are none": file({"__metadata__": None}),
    "notes that are no texts": file({"__metadata__": {"format": {"a": 1}}}),
    "a name that leaves the folder": named("../../../../etc/passwd"),
    "a name with a NUL": named("a\0b"),
    "a name of nobody": named("0.x_t.more"),
    "a name twice": file(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        bytes(8),
    ),
    "notes twice": file(b'{"__metadata__":{"format":"a"},"__metadata__":{"format":"b"}}'),
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_header_that_lies_is_refused_within_64_megabytes(what: str, tmp_path: Path) -> None:
    path = tmp_path / "fox.sagtrace"
    path.write_bytes(HOSTILE[what])
    with budget(MOST):
        refused(HOSTILE[what])
        with pytest.raises(TraceError) as error:
            sv.Trace.load(path)
    assert is_one_sentence(error.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


BOMB = zlib.compress(bytes(16 * 2**20))
PICTURES = {
    "of more pixels than there is memory": png(2**31 - 1, 2**31 - 1),
    "of some more pixels than the run had": png(9000, 9000),
    "with 16 MB of text in a few kilobytes": png(16, 16, chunk(b"zTXt", b"sagviz\0\0" + BOMB)),
    "without pixels": png(16, 16),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("what", PICTURES)
def test_a_picture_that_lies_is_refused_within_64_megabytes(model: sv.Model, what: str) -> None:
    """As a picture of a trace whose checksum fits, and as a picture to start from."""
    made = sv.trace(model, "a fox", steps=1, size=(16, 16), progress=False)
    content = sv.Trace(made.settings, made.steps, 1, (PICTURES[what],)).to_bytes()
    with budget(MOST), pytest.raises(sv.SagvizError) as error:
        _ = sv.Trace.from_bytes(content).images
    assert is_one_sentence(error.value)
