"""Calls from Python: whatever an argument is, the call works or says in a sentence why not."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from hostile.draws import INJECTIONS, junk, numbers, texts, with_some
from hostile.trying import attempt, hostile
from hypothesis import strategies as st

import sagviz as sv
from sagviz import CFG, SAG, guidance
from sagviz.guidance import Guidance, Schedule, Term
from sagviz.image import as_image, as_mask

USUAL: dict[str, Any] = {
    "prompt": "a fox",
    "steps": 1,
    "guidance": CFG(3.0) + SAG(1.0),
    "progress": False,
}
NAMES = sorted(set(inspect.signature(sv.trace).parameters) - {"model", "progress"})
HOSTILE = {
    **dict.fromkeys(NAMES, junk),
    "prompt": texts | junk,
    "negative_prompt": texts | junk,
    "scheduler": st.sampled_from(["ddim", "pndm", "heun", "euler", "nope", {}, {"class": "x"}])
    | junk,
    "size": st.tuples(numbers, numbers) | st.just((10**7, 10**7)) | junk,
    "timesteps": st.lists(st.integers(-1, 1001), max_size=2) | junk,
    "keep": st.lists(st.integers(-1, 2), max_size=2) | junk,
}
KINDS = [kind for kind in Term.kinds.values() if kind.__module__.startswith("sagviz.")]
NAMESPACE = {**vars(guidance), **{each.__name__: each for each in KINDS}}


@pytest.mark.slow
@hostile(0.03, given=with_some(USUAL, HOSTILE))
def test_trace_works_or_says_why_not(model: sv.Model, given: dict[str, Any]) -> None:
    """What it makes is what was asked for: so many finite pictures of that size."""
    made = attempt(lambda: sv.trace(model, **given))
    if made is not None:
        settings = made.settings
        assert not len(made) or made.latents.isfinite().all()
        assert len(made.images) == settings.images
        assert {picture.size[::-1] for picture in made.images} == {settings.size}
        if isinstance(given["prompt"], str):
            assert settings.prompt == given["prompt"]
        again = attempt(lambda: sv.Trace.from_bytes(made.to_bytes()))
        assert again is not None
        assert again.settings == settings


@hostile(0.1, kind=st.sampled_from(KINDS), data=st.data())
def test_a_term_is_refused_or_survives_its_file_and_its_code(
    kind: type[Term], data: st.DataObject
) -> None:
    names = list(inspect.signature(kind).parameters)
    drawn = data.draw(st.dictionaries(st.sampled_from(names), numbers | junk, max_size=2))
    term = attempt(lambda: kind(**{"scale": 1.0, **drawn} if "scale" in names else drawn))
    if term is not None:
        total = Guidance((term,))
        assert Guidance.from_json(json.loads(json.dumps(total.to_json()))) == total
        assert repr(eval(repr(term), {**NAMESPACE, "schedule": sv.schedule})) == repr(term)


@hostile(
    0.15,
    shape=st.sampled_from(["linear", "cosine", "steps"]) | junk,
    values=st.lists(numbers | junk, max_size=3),
)
def test_a_curve_is_refused_or_finite(shape: Any, values: list[Any]) -> None:
    made = attempt(lambda: sv.schedule(shape, *values))
    if isinstance(made, Schedule):
        assert all(abs(made.at(progress / 4)) < float("inf") for progress in range(5))


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return sv.trace(model, **{**USUAL, "steps": 2})


LOOKS: dict[str, tuple[str, ...]] = {  # functions about a step, and their arguments
    "what_if": ("step", "guidance", "mask"),
    "branch": ("step", "guidance", "mask"),
    "attend": ("step", "query", "layer"),
    "layers": ("step",),
}


@hostile(0.02, name=st.sampled_from(sorted(LOOKS)), data=st.data())
def test_a_look_at_a_step_works_or_says_why_not(
    model: sv.Model, trace: sv.Trace, name: str, data: st.DataObject
) -> None:
    function = getattr(sv, name)
    known = list(inspect.signature(function).parameters)[2:]
    usual = {"step": 0, "index": 0, "guidance": CFG(1.0), "place": (0, 0), "query": (0, 0)}
    given = {name: value for name, value in usual.items() if name in known}
    drawn = data.draw(with_some(given, dict.fromkeys(known, numbers | junk)))
    if "progress" in known:
        drawn["progress"] = False
    attempt(lambda: function(model, trace, **drawn))


@hostile(0.06, picture=junk | st.sampled_from([torch.zeros(3, 8, 8), torch.full((3, 4, 4), 2.0)]))
def test_a_picture_or_mask_is_refused_or_what_it_says(picture: Any) -> None:
    made = attempt(lambda: as_image(picture))
    assert made is None or made.size[0] > 0
    mask = attempt(lambda: as_mask(picture))
    assert mask is None or bool(((mask == 0) | (mask == 1)).all())


@hostile(0.02, source=texts | junk)
def test_a_model_that_is_none_is_refused(source: Any) -> None:
    if source is not None and not (isinstance(source, str) and not source):
        assert attempt(lambda: sv.load(source)) is None


@hostile(
    0.01,
    given=with_some(
        {"prompts": "a fox", "seeds": [0], "steps": 1},
        {
            **dict.fromkeys(
                [
                    "prompts",
                    "seeds",
                    "steps",
                    "guidance",
                    "schedulers",
                    "keep",
                    "images",
                    "size",
                    "batch",
                    "eta",
                    "negative_prompt",
                    "timesteps",
                ],
                junk,
            )
        },
    ),
)
def test_a_sweep_is_refused_or_complete(model: sv.Model, given: dict[str, Any]) -> None:
    made = attempt(lambda: sv.sweep(model, **given, progress=False))
    assert made is None or len(list(made)) + len(made.failed) == len(made)


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_prompt_is_drawn_as_it_is(model: sv.Model, text: str) -> None:
    assert sv.trace(model, text, steps=1, progress=False).settings.prompt == text
