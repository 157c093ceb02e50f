"""What a judge sees on pictures of the miniature's world, for notebooks that count."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from sagviz.image import PictureLike, as_image
from sagviz.mini.training.autoencoder import to_tensor
from sagviz.mini.training.judge import Judge, load_judge, look
from sagviz.mini.world import NAMES

SURE = 0.9  # from here on a picture counts as clear, as in the model card


def seen(pictures: Sequence[PictureLike]) -> list[tuple[str, float]]:
    """The likeliest object of each picture, and how sure the judge is of it, 0 to 1.

    The judge is a small network that has learned from renders, and never saw a generated picture.

    Args:
        pictures: of 64 x 64 pixels.

    Example:
        >>> import numpy as np
        >>> from sagviz.mini import course, scenes
        >>> picture = scenes.scene(np.random.default_rng(5), ("fox",), "blue").image
        >>> [(name, round(sure, 2)) for name, sure in course.seen([picture])]
        [('fox', 1.0)]
    """
    pixels = np.stack([np.asarray(as_image(picture).convert("RGB")) for picture in pictures])
    best = look(_judge(), to_tensor(pixels)).objects.sigmoid().max(dim=1)
    names = [NAMES[index] for index in best.indices.tolist()]
    return list(zip(names, best.values.tolist(), strict=True))


def clear(pictures: Sequence[PictureLike]) -> list[bool]:
    """Which pictures hold an object of which the judge is at least 90 % sure.

    Args:
        pictures: of 64 x 64 pixels.

    Example:
        >>> from PIL import Image
        >>> from sagviz.mini import course
        >>> course.clear([Image.new("RGB", (64, 64), "red")])
        [False]
    """
    return [sure >= SURE for _, sure in seen(pictures)]


@cache
def _judge() -> Judge:
    return load_judge()
