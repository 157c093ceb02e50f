"""The text encoder's first lesson: a caption's layout, and nothing lost of what the words said
before.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from sagviz.mini.scenes import Label
from sagviz.mini.training import layout
from sagviz.mini.training.diffusion import Denoiser, build_tokenizer, tokenize
from sagviz.mini.training.fit import Plan
from sagviz.mini.training.layout import EMPTY, PLACES, layouts, teach
from sagviz.mini.world import OBJECTS, OPPOSITES, caption

NAMES = list(OBJECTS)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    return build_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def label(*objects: str, relation: str | None = None) -> Label:
    """What a layout reads of a scene."""
    return {
        "caption": "",
        "objects": objects,
        "sizes": [""] * len(objects),
        "background": "red",
        "relation": relation,
    }


def test_a_layout_says_the_same_of_both_wordings() -> None:
    """ "a cat left of a dog" and "a dog right of a cat" are one scene; one object stands in the
    middle.
    """
    for relation, opposite in OPPOSITES.items():
        one, other = layouts(
            [label("cat", "dog", relation=relation), label("dog", "cat", relation=opposite)]
        )
        assert torch.equal(one, other)
        assert one[PLACES.index(relation)] == NAMES.index("cat")
        assert one[PLACES.index(opposite)] == NAMES.index("dog")
        assert (one == EMPTY).sum() == 3
    (alone,) = layouts([label("owl")])
    assert alone[PLACES.index("middle")] == NAMES.index("owl")
    assert (alone == EMPTY).sum() == 4


@pytest.mark.slow
def test_a_lesson_is_learned_and_the_words_go_on_saying_what_they_said(
    tokenizer: CLIPTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four objects alone, in batches for four: to learn the order of two takes minutes. What is
    new stands behind the caption's end.
    """
    monkeypatch.setattr(layout, "BATCH", 16)
    captions = tokenize(tokenizer, [caption((name,)) for name in NAMES[:4]])
    wanted = layouts([label(name) for name in NAMES[:4]])
    torch.manual_seed(0)
    taught = Denoiser(len(tokenizer)).text_encoder
    before = deepcopy(taught)
    teach(
        taught,
        captions,
        wanted,
        (captions, wanted),
        Plan(steps=40, rate=3e-3, warmup=10, autocast=False),
        tmp_path / "text.pt",
    )
    assert json.loads((tmp_path / "text.jsonl").read_text())["layout"] == 1
    words = captions != tokenizer.eos_token_id
    with torch.no_grad():
        said, told = (each(captions).last_hidden_state for each in (before, taught))
    changes = (said - told).square().mean(dim=2)
    assert changes[words].mean() < changes[~words].mean() / 3
