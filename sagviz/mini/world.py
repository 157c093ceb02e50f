"""The world that the miniature knows: emoji on a graded background, with a caption.

`scene(rng)` composes one picture of 64 x 64 pixels from the sprites in this folder and says what is on it. The captions use
whole words only (`words()` is the tokenizer's vocabulary), so that everything that the model was taught can be listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SPRITES = Path(__file__).parent / "sprites"
SIZE = 64  # pixels on a side of a scene
SPRITE_SIZE = 128  # pixels on a side of a stored sprite

# Name in captions -> Unicode code point of the Fluent emoji.
OBJECTS = {
    "apple": "1f34e", "banana": "1f34c", "strawberry": "1f353", "dog": "1f436", "cat": "1f431", "fox": "1f98a",
    "frog": "1f438", "panda": "1f43c", "fish": "1f41f", "butterfly": "1f98b", "car": "1f697", "rocket": "1f680",
    "soccer ball": "26bd", "basketball": "1f3c0", "cake": "1f382", "pizza": "1f355", "burger": "1f354",
    "donut": "1f369", "house": "1f3e0", "tree": "1f333", "sunflower": "1f33b", "cactus": "1f335", "sun": "1f31e",
    "moon": "1f319", "star": "2b50", "heart": "2764-fe0f", "balloon": "1f388", "gift": "1f381", "key": "1f511",
    "guitar": "1f3b8", "bicycle": "1f6b2", "sailboat": "26f5", "turtle": "1f422", "penguin": "1f427", "owl": "1f989",
    "unicorn": "1f984", "dinosaur": "1f995", "elephant": "1f418", "lion": "1f981", "mouse": "1f42d",
    "rabbit": "1f430", "koala": "1f428", "pig": "1f437", "cow": "1f42e", "mushroom": "1f344", "carrot": "1f955",
    "crown": "1f451", "umbrella": "2602-fe0f",
}  # fmt: skip

BACKGROUNDS = {
    "white": (240, 240, 240), "black": (32, 32, 36), "grey": (140, 142, 148), "red": (208, 62, 58),
    "orange": (240, 152, 60), "yellow": (246, 216, 92), "green": (104, 178, 96), "blue": (84, 144, 220),
    "purple": (142, 98, 192), "pink": (244, 168, 198),
}  # fmt: skip

# Where the two objects of a relation stand: (x, y) of the first, (x, y) of the second, as fractions of the scene.
RELATIONS = {
    "left of": ((0.27, 0.5), (0.73, 0.5)),
    "right of": ((0.73, 0.5), (0.27, 0.5)),
    "above": ((0.5, 0.27), (0.5, 0.73)),
    "below": ((0.5, 0.73), (0.5, 0.27)),
}


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it. `relation` is `None` where there is one object."""

    image: Image.Image
    objects: tuple[str, ...]
    background: str
    relation: str | None
    caption: str


def words() -> list[str]:
    """Every word that a caption can hold, sorted."""
    phrases = [*OBJECTS, *BACKGROUNDS, *RELATIONS, "a", "an", "and", "on", "background"]
    return sorted({word for phrase in phrases for word in phrase.split()})


def with_article(phrase: str) -> str:
    """'fox' -> 'a fox', 'owl' -> 'an owl', 'unicorn' -> 'a unicorn'."""
    return f"an {phrase}" if phrase[0] in "aeio" or phrase.startswith("um") else f"a {phrase}"


def caption(objects: tuple[str, ...], relation: str | None = None, background: str | None = None) -> str:
    """What a person would type: 'a cat above a rocket on a green background'."""
    text = f" {relation} ".join(with_article(name) for name in objects)
    return text if background is None else f"{text} on {with_article(background)} background"


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


def paste(image: Image.Image, name: str, centre: tuple[float, float], size: int, mirror: bool) -> None:
    """Put an object on the picture; `centre` in pixels, `size` in pixels on a side."""
    emoji = sprite(name).resize((size, size), Image.Resampling.LANCZOS)
    if mirror:
        emoji = emoji.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.paste(emoji, (round(centre[0] - size / 2), round(centre[1] - size / 2)), emoji)


def scene(rng: np.random.Generator, objects: tuple[str, ...] | None = None, background: str | None = None) -> Scene:
    """Compose a scene: 60 % one object of 34-52 pixels, 40 % two of 24-30. What is given is not drawn by lot."""
    if objects is None:
        count = 1 if rng.random() < 0.6 else 2
        objects = tuple(str(name) for name in rng.choice(list(OBJECTS), size=count, replace=False))
    background = background or str(rng.choice(list(BACKGROUNDS)))
    image = backdrop(background, rng)
    named = background if rng.random() < 0.6 else None
    if len(objects) == 1:
        size = int(rng.integers(34, 53))
        centre = tuple(SIZE / 2 + rng.uniform(-1, 1, 2) * min(6, (SIZE - size) / 2))
        paste(image, objects[0], (centre[0], centre[1]), size, rng.random() < 0.5)
        return Scene(image, objects, background, None, caption(objects, background=named))
    relation = str(rng.choice(list(RELATIONS)))
    for name, (x, y) in zip(objects, RELATIONS[relation], strict=True):
        dx, dy = rng.uniform(-2.5, 2.5, 2)
        paste(image, name, (x * SIZE + dx, y * SIZE + dy), int(rng.integers(24, 31)), rng.random() < 0.5)
    said = relation if rng.random() < 0.75 else "and"
    return Scene(image, objects, background, relation, caption(objects, said, named))
