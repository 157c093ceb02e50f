"""A damaged file of weights is refused, or is another model: never the same one silently."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from effort import MOMENTS
from tiny import is_one_sentence

import sagviz as sv
from sagviz.errors import ArgumentError, ModelError
from sagviz.sweeps import begin

KINDS = ("truncated", "flipped", "zeroed", "longer")


def damaged(content: bytes, kind: str, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    if kind == "truncated":
        return content[:place]
    if kind == "longer":
        return content + rng.randbytes(1 + place % 100)
    piece = bytes([content[place] ^ 1 << rng.randrange(8)]) if kind == "flipped" else bytes(512)
    return content[:place] + piece + content[place + len(piece) :]


def loaded(folder: Path) -> sv.Model | None:
    """`None` where it is refused."""
    try:
        return sv.load(folder)
    except ModelError as error:
        if not is_one_sentence(error):
            raise
        return None


@pytest.mark.slow
@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_weights_are_refused_or_another_model(
    folder: Path, tmp_path: Path, part: str, kind: str, record_property: Callable[..., None]
) -> None:
    """One bit of a weight that is another number is still a number: then the fingerprint says that
    the model is another one, and a sweep of the whole one is not gone on with.
    """
    copy, rng, refused = tmp_path / "model", random.Random(f"{part} {kind}"), 0
    shutil.copytree(folder, copy)
    path = copy / f"{part}.safetensors"
    content = path.read_bytes()
    laid = begin(sv.load(copy), "a fox", steps=1, store=tmp_path / "store")
    for _ in range(MOMENTS):
        changed = damaged(content, kind, rng)
        path.unlink()
        path.write_bytes(changed)
        found = loaded(copy)
        refused += found is None
        if found is not None and changed != content:
            with pytest.raises(ArgumentError, match="other weights"):
                list(laid.run(found))
    path.unlink()
    path.write_bytes(content)
    assert len(list(laid.run(sv.load(copy)))) == 1
    record_property("measured", f"{MOMENTS} files {kind}: {refused} refused")
