"""Pictures from files and bytes, which somebody else may have written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from sagviz.errors import ArgumentError, first_sentence


def from_file(file: Path | BinaryIO, name: str = "") -> Image.Image:
    """The picture in a file, turned as its camera noted; an error calls it by `name`, or by its
    path.

    Raises:
        ArgumentError: it cannot be read as one.
    """
    return ImageOps.exif_transpose(_decoded(file, name or str(file)))


def from_png(content: bytes) -> Image.Image:
    """The picture in PNG bytes.

    Raises:
        ArgumentError: they are none.
    """
    return _decoded(io.BytesIO(content), "this picture", ["PNG"])


def _decoded(file: Path | BinaryIO, name: str, formats: list[str] | None = None) -> Image.Image:
    try:
        picture = Image.open(file, formats=formats)
        picture.load()
    except Exception as error:  # each of Pillow's decoders has its own kinds for damaged bytes
        raise ArgumentError(
            f"{name} cannot be read as a picture ({first_sentence(error)}); give a PNG, JPEG or"
            " WebP"
        ) from error
    return picture


def png_texts(start: bytes) -> dict[str, str]:
    """The text chunks of a PNG, as `to_png` wrote them. They stand before the pixels, so that the
    beginning of the file is enough; their checksums are checked.

    Raises:
        ValueError: it is no PNG, the texts are damaged, or `start` ends before they do.
    """
    found = png_start(start).info.items()
    return {str(name): text for name, text in found if isinstance(text, str)}


def png_start(start: bytes) -> Image.Image:
    """A PNG's size and texts, from its beginning; its pixels are not read.

    Raises:
        ValueError: it is no PNG, the texts are damaged, or `start` ends before they do.
    """
    try:
        return Image.open(io.BytesIO(start), formats=["PNG"])
    except Exception as error:  # Pillow's kinds for what it cannot read, or finds too large
        raise ValueError(f"not the beginning of a PNG ({error})") from error
