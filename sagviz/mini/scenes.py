"""Scenes of the world: emoji on a graded background, with a caption.

`scene(rng)` composes one picture of 64 x 64 pixels from the sprites in this folder and says what is
on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from PIL import Image

from sagviz.mini.world import BACKGROUNDS, OBJECTS, RELATIONS, SIZES, caption, pick, reworded

SPRITES = Path(__file__).parent / "sprites"
SIZE = 64  # pixels on a side of a scene

PIXELS = {  # sizes of the objects in pixels: (from, below), by number of objects and size word
    (1, ""): (34, 53),
    (1, "small"): (22, 32),
    (1, "large"): (54, 63),
    (2, ""): (24, 31),
    (2, "small"): (15, 21),
    (2, "large"): (32, 37),
}


class Label(TypedDict):
    """What is on a scene: see `Scene`."""

    caption: str
    objects: Sequence[str]
    sizes: Sequence[str]
    background: str
    relation: str | None


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it. `relation` is `None` where there is one object; a size is "",
    "small" or "large". `mask` is how much of each pixel the objects cover, 0 to 255.
    """

    image: Image.Image
    mask: Image.Image
    objects: tuple[str, ...]
    sizes: tuple[str, ...]
    background: str
    relation: str | None
    caption: str

    @property
    def label(self) -> Label:
        """All but picture and mask."""
        return cast(Label, {name: getattr(self, name) for name in Label.__annotations__})


@cache
def sprite(name: str) -> Image.Image:
    """The emoji of that name, RGBA, 128 x 128."""
    with Image.open(SPRITES / f"{OBJECTS[name]}.webp") as image:
        return image.convert("RGBA")


def backdrop(name: str, rng: np.random.Generator) -> Image.Image:
    """The named colour, softly graded in a random direction, its brightness a little off."""
    angle, strength, offset = rng.uniform(0, 2 * np.pi), rng.uniform(4, 22), rng.uniform(-8, 8)
    ramp = np.linspace(-0.5, 0.5, SIZE)
    shade = offset + strength * (np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None])
    pixels = np.asarray(BACKGROUNDS[name], dtype=np.float64) + shade[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def paste(
    image: Image.Image,
    mask: Image.Image,
    name: str,
    centre: tuple[float, float],
    size: int,
    mirror: bool,
) -> None:
    """Put an object on the picture and its outline on the mask; `centre` in pixels, `size` in
    pixels on a side.
    """
    emoji = sprite(name).resize((size, size), Image.Resampling.LANCZOS)
    if mirror:
        emoji = emoji.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    corner = (round(centre[0] - size / 2), round(centre[1] - size / 2))
    image.paste(emoji, corner, emoji)
    mask.paste(255, corner, emoji)


def scene(
    rng: np.random.Generator, objects: tuple[str, ...] | None = None, background: str | None = None
) -> Scene:
    """Compose a scene of one object or two, each as often. What is given is not drawn at random.

    One object in four is small or large, and one pair in eight one of each, which the caption
    always says; all others are of plain size. The background is named in 60 % of the captions, and
    60 % of them are put as `caption` does.
    """
    if objects is None:
        count = 1 if rng.random() < 0.5 else 2
        objects = tuple(str(name) for name in rng.choice(list(OBJECTS), size=count, replace=False))
    background = background or pick(rng, list(BACKGROUNDS))
    image, mask = backdrop(background, rng), Image.new("L", (SIZE, SIZE))
    sizes = draw_sizes(rng, len(objects))
    relation = None if len(objects) == 1 else pick(rng, list(RELATIONS))
    places = RELATIONS[relation] if relation else ((0.5, 0.5),)
    for name, size, place in zip(objects, sizes, places, strict=True):
        pixels = int(rng.integers(*PIXELS[len(objects), size]))
        reach = 2.5 if relation else max(1.0, min(6.0 if not size else 12.0, (SIZE - pixels) / 2))
        dx, dy = rng.uniform(-reach, reach, 2)
        centre = (place[0] * SIZE + dx, place[1] * SIZE + dy)
        paste(image, mask, name, centre, pixels, rng.random() < 0.5)
    named = background if rng.random() < 0.6 else None
    if rng.random() < 0.4:
        text = reworded(rng, objects, relation, named, sizes)
    else:
        joint = relation if relation is None or rng.random() < 0.8 else "and"
        text = caption(objects, joint, named, sizes)
    return Scene(image, mask, objects, sizes, background, relation, text)


def draw_sizes(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Size words of the objects: mostly none."""
    if count == 1:
        return (pick(rng, list(SIZES)) if rng.random() < 0.25 else "",)
    if rng.random() < 0.125:
        return ("small", "large") if rng.random() < 0.5 else ("large", "small")
    return ("", "")
