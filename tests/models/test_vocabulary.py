"""What the model was taught to understand: listed where that is little, with a warning where a
prompt goes beyond it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

import sagviz as sv
from sagviz import CFG
from sagviz.errors import SagvizWarning
from sagviz.mini import world
from sagviz.models.vocabulary import unknown_words, vocabulary

KINDS = {
    "objects": ["soccer ball", "cat", "fox", "owl"],
    "backgrounds": ["blue"],
    "relations": ["left of"],
    "sizes": ["small"],
    "other words": ["a", "an", "on", "background"],
}


@pytest.fixture
def schooled(model: sv.Model) -> Iterator[sv.Model]:
    """The tiny model, as if it had been taught these words only."""
    model.tokenizer.init_kwargs["words"] = KINDS
    yield model
    del model.tokenizer.init_kwargs["words"]


def test_words_are_listed_by_kind(schooled: sv.Model) -> None:
    listed = sv.vocabulary(schooled)
    assert listed == {kind: tuple(words) for kind, words in KINDS.items()}
    assert list(listed) == ["objects", "backgrounds", "relations", "sizes", "other words"]


def test_a_model_for_any_text_has_no_list_and_no_warning(model: sv.Model) -> None:
    assert vocabulary(model) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(sv.steps(model, "two glorious cats", steps=1))


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a fox on a blue background", {}),
        ("", {}),
        ("A FOX, on a (blue) background!", {}),
        ("a soccer ball left of an owl.", {}),
        ("two cats", {"two": [], "cats": ["cat"]}),
        ("foxes, foxes and 2 dragons", {"foxes": ["fox"], "and": [], "2": [], "dragons": []}),
        ("a bleu fox", {"bleu": ["blue"]}),
        ("Two CATS, two cats", {"Two": [], "CATS": ["cat"]}),
        (
            "\N{FOX FACE} on a (\N{LARGE BLUE CIRCLE})!",
            {"\N{FOX FACE}": [], "\N{LARGE BLUE CIRCLE}": []},
        ),
        (
            "a cat \u2764\ufe0f \U0001f468\u200d\U0001f680",
            {"\u2764\ufe0f": [], "\U0001f468\u200d\U0001f680": []},
        ),
        ("\u72d0\u72f8", {"\u72d0\u72f8": []}),
        ("a \u201cfox\u201d \u2014 an owl\u2026", {}),
    ],
)
def test_unknown_words_and_their_nearest(
    schooled: sv.Model, prompt: str, unknown: dict[str, list[str]]
) -> None:
    assert unknown_words(schooled, prompt) == unknown


def test_a_run_warns_where_its_prompts_go_beyond(schooled: sv.Model) -> None:
    with pytest.warns(
        SagvizWarning, match=r"not taught 'cats' \(near: cat\); .*vocabulary\(model\)"
    ) as caught:
        next(sv.steps(schooled, "cats", steps=1))
    assert caught[0].filename == __file__, "the warning points at the line of the user"
    with pytest.warns(SagvizWarning, match="'blurry'"):
        next(sv.steps(schooled, "a cat", negative_prompt="blurry", guidance=CFG(3.0), steps=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(sv.steps(schooled, "a cat", steps=1))
        next(sv.steps(schooled, "", steps=1))


def test_a_negative_prompt_that_nothing_reads_is_not_judged(schooled: sv.Model) -> None:
    with pytest.warns(SagvizWarning) as caught:
        next(sv.steps(schooled, "a cat", negative_prompt="blurry", steps=1))
    assert not [warning for warning in caught if "not taught" in str(warning.message)]


def test_the_world_teaches_all_kinds_and_each_word_once() -> None:
    kinds = world.vocabulary()
    assert tuple(KINDS) == tuple(kinds)
    listed = [word for words in kinds.values() for word in words]
    assert len(set(listed)) == len(listed)
    assert len(kinds["backgrounds"]) == len(world.BACKGROUNDS)


def test_the_miniature_says_what_its_weights_were_taught() -> None:
    """All of it is in the world; the world may hold more than the bundled weights have seen."""
    mini, everything = sv.load(), world.vocabulary()
    taught = sv.vocabulary(mini)
    assert taught is not None
    assert list(taught) == list(everything)
    assert taught["objects"] == everything["objects"]
    assert all(set(words) <= set(everything[kind]) for kind, words in taught.items())
    assert taught["backgrounds"] == everything["backgrounds"]
    for name in taught["objects"]:
        assert unknown_words(mini, world.caption((name, "owl"), "left of", "orange")) == {}
