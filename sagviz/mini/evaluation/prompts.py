"""What the miniature is measured on: prompts and renders, each fixed by its number."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from sagviz.mini.scenes import Label, scene
from sagviz.mini.world import BACKGROUNDS, NAMES, OBJECTS, RELATIONS, caption


def one_object_prompts(count: int) -> list[tuple[str, str | None]]:
    """`count` objects, each as often as the others, every second one on a named background:
    (object, background).
    """
    colours = list(BACKGROUNDS)
    return [
        (
            NAMES[i % len(NAMES)],
            colours[(i // 2 + i // len(NAMES)) % len(colours)] if i % 2 else None,
        )
        for i in range(count)
    ]


def two_object_prompts(count: int) -> list[tuple[tuple[str, str], str, str | None]]:
    """`count` random pairs, the four relations in turn, half of them on a named background."""
    prompts, relations, colours = [], list(RELATIONS), list(BACKGROUNDS)
    for i in range(count):
        first, second = np.random.default_rng((4, i)).choice(NAMES, size=2, replace=False).tolist()
        prompts.append(
            (
                (first, second),
                relations[i % 4],
                colours[i // 2 % len(colours)] if i // 4 % 2 else None,
            )
        )
    return prompts


def held_out(
    count: int, seed: int = 2, wanted: Callable[[str], bool] | None = None
) -> tuple[np.ndarray, list[Label]]:
    """Renders that training has not seen: pixels (N, 64, 64, 3) and what is on them; only captions
    that are `wanted`.
    """
    drawn = (scene(np.random.default_rng((seed, index))) for index in itertools.count())
    scenes = list(
        itertools.islice((each for each in drawn if wanted is None or wanted(each.caption)), count)
    )
    pixels = np.stack([np.asarray(each.image) for each in scenes])
    return pixels, [each.label for each in scenes]


def sheet_prompts() -> list[str]:
    """64 prompts of every kind: 40 of one object, half of them on a background, and 24 of two."""
    names, colours, relations = list(OBJECTS), list(BACKGROUNDS), [*RELATIONS, "and"]
    one = [
        caption((names[i % 48],), background=colours[i % 10] if i % 2 else None) for i in range(40)
    ]
    pairs = [(names[(7 * i + 3) % 48], names[(11 * i + 20) % 48]) for i in range(24)]
    return one + [
        caption(pair, relations[i % 5], colours[i % 10] if i % 2 else None)
        for i, pair in enumerate(pairs)
    ]
