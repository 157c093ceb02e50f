"""The world: what a caption says is what the picture shows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sagviz.mini.scenes import SIZE, SPRITES, Scene, backdrop, scene, sprite
from sagviz.mini.training.diffusion import TOKENS
from sagviz.mini.world import BACKGROUNDS, OBJECTS, SIZES, caption, swapped, with_article, words

SCENES = [scene(np.random.default_rng(seed)) for seed in range(1500)]


def test_a_seed_is_a_scene() -> None:
    again = scene(np.random.default_rng(5))
    assert again.caption == SCENES[5].caption
    assert again.image.tobytes() == SCENES[5].image.tobytes()


def test_every_sprite_is_there_with_its_licence() -> None:
    assert all(sprite(name).size == (128, 128) and sprite(name).mode == "RGBA" for name in OBJECTS)
    assert {path.stem for path in SPRITES.glob("*.webp")} == set(OBJECTS.values()), (
        "a sprite that nothing uses, or none"
    )
    notice = (SPRITES / "LICENSE").read_text()
    assert "Microsoft" in notice
    assert "MIT License" in notice


def tokens(text: str) -> list[str]:
    """Words and marks, as the tokenizer parts them."""
    return re.findall(r"\w+|[^\w\s]", text)


def test_captions_name_what_is_on_the_picture_in_known_words() -> None:
    known = set(words())
    for drawn in SCENES:
        assert set(tokens(drawn.caption)) <= known
        assert len(tokens(drawn.caption)) <= TOKENS - 2
        places = [re.search(rf"\b{name}\b", drawn.caption) for name in drawn.objects]
        assert None not in places
        assert places == sorted(places, key=lambda found: found.start()), (
            "the first object is named first"
        )
        colours = [
            colour
            for colour in BACKGROUNDS
            if re.search(rf"(on|an?) {colour}( background)?\.?$", drawn.caption)
        ]
        assert colours in ([], [drawn.background]) or drawn.background == "grey"


def test_most_captions_are_plain_and_all_phrasings_occur() -> None:
    captions = [drawn.caption for drawn in SCENES]
    plain = [re.fullmatch(r"an? (?!\w+ of)[^,.]+", text) is not None for text in captions]
    assert np.mean(plain) > 0.5
    said = {word for text in captions for word in tokens(text)}
    assert {
        "picture",
        "photo",
        "emoji",
        "the",
        "over",
        "under",
        "beside",
        "next",
        "with",
        "in",
        "gray",
        "tiny",
        "big",
        ",",
        ".",
    } <= said


@pytest.mark.parametrize(
    ("words_between", "relation"),
    [
        ("left", "left of"),
        ("right", "right of"),
        ("above over top", "above"),
        ("below under beneath underneath", "below"),
    ],
)
def test_relations_are_said_truly_in_other_words(words_between: str, relation: str) -> None:
    """A word that places the first object occurs where it stands so, and nowhere else."""
    where = {
        drawn.relation
        for drawn in SCENES
        if set(words_between.split()) & set(drawn.caption.split())
    }
    assert where == {relation}
    beside = {drawn.relation for drawn in SCENES if {"next", "beside"} & set(drawn.caption.split())}
    assert beside == {"left of", "right of"}


def box(drawn: Scene) -> int:
    """The longer side in pixels of what differs from the background of a scene on white."""
    y, x = np.nonzero(
        np.abs(
            np.asarray(drawn.image, dtype=int) - np.median(np.asarray(drawn.image), axis=(0, 1))
        ).max(axis=2)
        > 40
    )
    return max(int(np.ptp(x)), int(np.ptp(y))) + 1


@pytest.mark.slow
def test_sizes_are_said_and_shown() -> None:
    drawn = [scene(np.random.default_rng(seed), ("heart",), "white") for seed in range(400)]
    by_size = {
        size: [each for each in drawn if each.sizes == (size,)] for size in ("", "small", "large")
    }
    widest = {size: max(map(box, group)) for size, group in by_size.items()}
    narrowest = {size: min(map(box, group)) for size, group in by_size.items()}
    assert widest["small"] < narrowest[""] <= widest[""] < narrowest["large"]
    for size, group in by_size.items():
        for each in group:
            assert (
                any(word in each.caption for word in SIZES[size])
                if size
                else not any(
                    word in each.caption.split() for words in SIZES.values() for word in words
                )
            )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("owl", "an owl"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
        ("fox", "a fox"),
        ("small owl", "a small owl"),
        ("orange background", "an orange background"),
        ("emoji", "an emoji"),
    ],
)
def test_articles(name: str, said: str) -> None:
    assert with_article(name) == said


def test_a_full_caption_reads_as_a_person_would_type_it() -> None:
    assert caption(("fox", "owl"), "above", None, ("", "tiny")) == "a fox above a tiny owl"
    assert (
        caption(("cat", "owl"), "left of", "orange")
        == "a cat left of an owl on an orange background"
    )


def centre(image: np.ndarray, colour: str) -> np.ndarray:
    """Mean (x, y) of the reddish pixels, or of the bluish ones."""
    red, blue = image[..., 0].astype(int), image[..., 2].astype(int)
    y, x = np.nonzero(red - blue > 60 if colour == "red" else blue - red > 60)
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize(
    ("relation", "axis", "sign"),
    [("left of", 0, 1), ("right of", 0, -1), ("above", 1, 1), ("below", 1, -1)],
)
def test_relations_hold_on_the_picture(relation: str, axis: int, sign: int) -> None:
    """A red heart and a blue fish stand on the sides that the relation says, well apart."""
    drawn = (scene(np.random.default_rng(seed), ("heart", "fish"), "white") for seed in range(1000))
    for found in [next(s for s in drawn if s.relation == relation) for _ in range(5)]:
        pixels = np.asarray(found.image)
        assert sign * (centre(pixels, "blue") - centre(pixels, "red"))[axis] > SIZE / 3


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_no_object_vanishes_on_any_background(name: str) -> None:
    """Even an object of the background's colour changes the picture where it stands."""
    for thing in OBJECTS:
        drawn = scene(np.random.default_rng(1), (thing,), name).image
        bare = backdrop(name, np.random.default_rng(1))
        difference = np.abs(np.asarray(drawn, dtype=float) - np.asarray(bare, dtype=float)).max(
            axis=2
        )
        assert (difference > 25).mean() > 0.03, f"{thing} on {name}"


def test_the_swapped_caption_says_the_opposite_of_what_is_there() -> None:
    assert swapped("a cat left of a fox", "left of") == "a cat right of a fox"
    assert (
        swapped("a cat to the left of a fox, on blue", "left of")
        == "a cat to the right of a fox, on blue"
    )
    assert swapped("a cat above a fox", "above") == "a cat below a fox"
    assert swapped("a cat on top of a fox", "above") is None
    assert swapped("a cat and a fox", "above") is None
    assert swapped("a cat", None) is None
