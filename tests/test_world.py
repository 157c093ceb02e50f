"""The world: what a caption says is what the picture shows."""

from __future__ import annotations

import numpy as np
import pytest

from sagviz.mini.world import (
    BACKGROUNDS,
    OBJECTS,
    SIZE,
    SPRITES,
    backdrop,
    caption,
    scene,
    sprite,
    with_article,
    words,
)

SCENES = [scene(np.random.default_rng(seed)) for seed in range(300)]


def test_a_seed_is_a_scene() -> None:
    again = scene(np.random.default_rng(5))
    assert again.caption == SCENES[5].caption
    assert again.image.tobytes() == SCENES[5].image.tobytes()


def test_every_sprite_is_there_with_its_licence() -> None:
    assert all(sprite(name).size == (128, 128) and sprite(name).mode == "RGBA" for name in OBJECTS)
    assert {path.stem for path in SPRITES.glob("*.webp")} == set(OBJECTS.values()), "a sprite that nothing uses, or none"
    notice = (SPRITES / "LICENSE").read_text()
    assert "Microsoft" in notice
    assert "MIT License" in notice


def test_captions_name_what_is_on_the_picture_in_known_words() -> None:
    vocabulary = set(words())
    for drawn in SCENES:
        assert set(drawn.caption.split()) <= vocabulary
        assert drawn.caption.startswith(with_article(drawn.objects[0]))
        assert all(with_article(name) in drawn.caption for name in drawn.objects)
        assert drawn.caption.endswith(f"{with_article(drawn.background)} background") or "background" not in drawn.caption


@pytest.mark.parametrize(
    ("name", "said"), [("owl", "an owl"), ("umbrella", "an umbrella"), ("unicorn", "a unicorn"), ("fox", "a fox")]
)
def test_articles(name: str, said: str) -> None:
    assert with_article(name) == said


def test_a_full_caption_reads_as_a_person_would_type_it() -> None:
    assert caption(("cat", "owl"), "left of", "orange") == "a cat left of an owl on an orange background"


def centre(image: np.ndarray, colour: str) -> np.ndarray:
    """Mean (x, y) of the reddish pixels, or of the bluish ones."""
    red, blue = image[..., 0].astype(int), image[..., 2].astype(int)
    y, x = np.nonzero(red - blue > 60 if colour == "red" else blue - red > 60)
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize(
    ("relation", "axis", "sign"), [("left of", 0, 1), ("right of", 0, -1), ("above", 1, 1), ("below", 1, -1)]
)
def test_relations_hold_on_the_picture(relation: str, axis: int, sign: int) -> None:
    """A red heart and a blue fish stand on the sides that the relation says, well apart."""
    drawn = (scene(np.random.default_rng(seed), ("heart", "fish"), "white") for seed in range(1000))
    for found in [next(s for s in drawn if s.relation == relation) for _ in range(5)]:
        pixels = np.asarray(found.image)
        assert sign * (centre(pixels, "blue") - centre(pixels, "red"))[axis] > SIZE / 3
        assert found.caption.startswith((f"a heart {relation} a fish", "a heart and a fish"))


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_no_object_vanishes_on_any_background(name: str) -> None:
    """Even an object of the background's colour changes the picture where it stands."""
    for thing in OBJECTS:
        drawn = scene(np.random.default_rng(1), (thing,), name).image
        bare = backdrop(name, np.random.default_rng(1))
        difference = np.abs(np.asarray(drawn, dtype=float) - np.asarray(bare, dtype=float)).max(axis=2)
        assert (difference > 25).mean() > 0.03, f"{thing} on {name}"
