"""What a run is given beside its settings, and what its texts come to."""

from __future__ import annotations

from sagviz.models import Conditioning, Model
from sagviz.records.settings import Text


def conditioning(model: Model, text: Text, size: tuple[int, int]) -> Conditioning:
    """What the U-Net is given for a text, for a picture of `size` = (height, width) pixels."""
    return model.embed(text.words, size=size, clip_skip=text.clip_skip)
