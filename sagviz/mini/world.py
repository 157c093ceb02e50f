"""The world that the miniature knows, in words: its objects, backgrounds and relations, and the
captions that name them.

The captions use whole words only (`words()` is the tokenizer's vocabulary), so that everything that
the model was taught can be listed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

OBJECTS = {  # name in captions -> Unicode code point of the Fluent emoji
    "apple": "1f34e",
    "banana": "1f34c",
    "strawberry": "1f353",
    "dog": "1f436",
    "cat": "1f431",
    "fox": "1f98a",
    "frog": "1f438",
    "panda": "1f43c",
    "fish": "1f41f",
    "butterfly": "1f98b",
    "car": "1f697",
    "rocket": "1f680",
    "soccer ball": "26bd",
    "basketball": "1f3c0",
    "cake": "1f382",
    "pizza": "1f355",
    "burger": "1f354",
    "donut": "1f369",
    "house": "1f3e0",
    "tree": "1f333",
    "sunflower": "1f33b",
    "cactus": "1f335",
    "sun": "1f31e",
    "moon": "1f319",
    "star": "2b50",
    "heart": "2764-fe0f",
    "balloon": "1f388",
    "gift": "1f381",
    "key": "1f511",
    "guitar": "1f3b8",
    "bicycle": "1f6b2",
    "sailboat": "26f5",
    "turtle": "1f422",
    "penguin": "1f427",
    "owl": "1f989",
    "unicorn": "1f984",
    "dinosaur": "1f995",
    "elephant": "1f418",
    "lion": "1f981",
    "mouse": "1f42d",
    "rabbit": "1f430",
    "koala": "1f428",
    "pig": "1f437",
    "cow": "1f42e",
    "mushroom": "1f344",
    "carrot": "1f955",
    "crown": "1f451",
    "umbrella": "2602-fe0f",
}

BACKGROUNDS = {
    "white": (240, 240, 240),
    "black": (32, 32, 36),
    "grey": (140, 142, 148),
    "red": (208, 62, 58),
    "orange": (240, 152, 60),
    "yellow": (246, 216, 92),
    "green": (104, 178, 96),
    "blue": (84, 144, 220),
    "purple": (142, 98, 192),
    "pink": (244, 168, 198),
}

# Where the two objects of a relation stand: (x, y) of the first, (x, y) of the second, as fractions
# of the scene.
RELATIONS = {
    "left of": ((0.27, 0.5), (0.73, 0.5)),
    "right of": ((0.73, 0.5), (0.27, 0.5)),
    "above": ((0.5, 0.27), (0.5, 0.73)),
    "below": ((0.5, 0.73), (0.5, 0.27)),
}
NAMES = tuple(OBJECTS)

OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

# What else people say for the same thing. "and" stands for any arrangement.
OTHER_RELATIONS = {
    "left of": ("to the left of", "on the left of"),
    "right of": ("to the right of", "on the right of"),
    "above": ("over", "on top of"),
    "below": ("under", "beneath", "underneath"),
    "and": ("with",),
}
SIDE_BY_SIDE = ("next to", "beside")  # only where the objects stand left and right
OPENINGS = (
    "a picture of",
    "an image of",
    "a photo of",
    "a drawing of",
    "an emoji of",
    "an icon of",
)
SETTINGS = ("on {}", "with {} background", "in front of {} background", "against {} background")
PLAIN_SETTING = "on {} background"
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
GREYS = ("grey", "gray")
MARKS = (",", ".")


def words() -> list[str]:
    """Every word that a caption can hold, and the two marks, sorted."""
    phrases = itertools.chain(*vocabulary().values())
    return sorted({word for phrase in phrases for word in phrase.split()} | set(MARKS))


def vocabulary() -> dict[str, tuple[str, ...]]:
    """What the miniature was taught, each word under one kind; an entry may be a phrase in
    "objects" and "relations" only.
    """
    relations = [*RELATIONS, *itertools.chain(*OTHER_RELATIONS.values()), *SIDE_BY_SIDE, "and"]
    said = " ".join([*OPENINGS, *SETTINGS, PLAIN_SETTING, "a an the", *GREYS]).replace("{}", "")
    rest = [word for word in said.split() if word not in (*relations, *BACKGROUNDS)]
    return {
        "objects": tuple(OBJECTS),
        "backgrounds": tuple(BACKGROUNDS),
        "relations": tuple(relations),
        "sizes": tuple(itertools.chain(*SIZES.values())),
        "other words": tuple(dict.fromkeys(rest)),
    }


def with_article(phrase: str) -> str:
    """'fox' -> 'a fox', 'owl' -> 'an owl', 'unicorn' -> 'a unicorn'."""
    return f"an {phrase}" if phrase[0] in "aeio" or phrase.startswith("um") else f"a {phrase}"


def caption(
    objects: tuple[str, ...],
    relation: str | None = None,
    background: str | None = None,
    sizes: tuple[str, ...] | None = None,
) -> str:
    """What a person would type: 'a small cat above a rocket on a green background'. A size is ''
    where none is given.
    """
    sized = [
        f"{size} {name}".strip()
        for name, size in zip(objects, sizes or ("",) * len(objects), strict=True)
    ]
    text = f" {relation} ".join(map(with_article, sized))
    return (
        text if background is None else f"{text} {PLAIN_SETTING.format(with_article(background))}"
    )


def reworded(
    rng: np.random.Generator,
    objects: tuple[str, ...],
    relation: str | None,
    background: str | None,
    sizes: tuple[str, ...],
) -> str:
    """The same in other words, of those that people use: 'tiny cat on top of rocket, against a
    gray background.'.
    """
    said = tuple(pick(rng, SIZES[size]) if size else "" for size in sizes)
    joint = pick(rng, joints(relation)) if relation else None
    colour = pick(rng, GREYS) if background == "grey" else background
    text = caption(objects, joint, None, said)
    style = rng.random()
    if style < 0.12:
        text = re.sub(r"\b(a|an) ", "", text)
    elif style < 0.24:
        text = re.sub(r"\b(a|an) ", "the ", text)
    elif style < 0.5:
        text = f"{pick(rng, OPENINGS)} {text}"
    comma = "," if rng.random() < 0.15 else ""
    if colour is not None:
        setting = pick(rng, (PLAIN_SETTING, *SETTINGS))
        text += f"{comma} " + setting.format(colour if setting == "on {}" else with_article(colour))
    return text + ("." if rng.random() < 0.15 else "")


def swapped(text: str, relation: str | None) -> str | None:
    """The caption with the opposite relation, `None` where it does not name the relation by its
    first name.
    """
    between = f" {relation} "
    if not relation or between not in text:
        return None
    return text.replace(between, f" {OPPOSITES[relation]} ")


def joints(relation: str) -> tuple[str, ...]:
    """Every phrase that may stand between two objects in this relation."""
    phrases = (relation, *OTHER_RELATIONS[relation], "and", *OTHER_RELATIONS["and"])
    return (*phrases, *SIDE_BY_SIDE) if relation in ("left of", "right of") else phrases


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """One of them, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]
