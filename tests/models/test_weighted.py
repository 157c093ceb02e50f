"""Prompts with weights: compel's embeddings, in both ways of writing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from compel import CompelForSD, CompelForSDXL
from conftest import Family
from tiny import is_one_sentence

import sagviz as sv
from sagviz import CFG
from sagviz.errors import ArgumentError

Open = Callable[[str], Family]
OURS, THEIRS = "a (fox:1.3) on a (blue:0.5) background", "a (fox)1.3 on a (blue)0.5 background"


@pytest.mark.parametrize(("family", "by"), [("sd1", CompelForSD), ("sdxl", CompelForSDXL)])
def test_weights_are_those_of_compel(families: Open, family: str, by: Any) -> None:
    found = families(family)
    expected = by(found.pipe)(THEIRS, negative_prompt="(red)1.5")
    made = sv.weighted(found.model, OURS, negative_prompt="(red:1.5)")
    assert torch.equal(made["prompt_embeds"], expected.embeds)
    assert torch.equal(made["negative_prompt_embeds"], expected.negative_embeds)
    if family == "sdxl":
        assert torch.equal(made["pooled_prompt_embeds"], expected.pooled_embeds)
        assert torch.equal(made["negative_pooled_prompt_embeds"], expected.negative_pooled_embeds)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_without_weights_the_run_is_that_of_the_prompt(families: Open, family: str) -> None:
    model, prompt = families(family).model, "a fox on a blue background"
    plain = sv.trace(model, prompt, steps=3, guidance=CFG(4.0), progress=False)

    def made(text: str) -> torch.Tensor:
        given = sv.weighted(model, text)
        run = sv.trace(model, steps=3, guidance=CFG(4.0), progress=False, **given)
        return run.latents

    torch.testing.assert_close(made(prompt), plain.latents, atol=1e-4, rtol=1e-4)
    assert (made(OURS) - plain.latents).abs().max() > 1e-3


def test_a_long_prompt_goes_in_pieces(model: sv.Model) -> None:
    made = sv.weighted(model, "a fox, " * 12 + "(an owl:1.2)")
    assert made["prompt_embeds"].shape == made["negative_prompt_embeds"].shape
    assert made["prompt_embeds"].shape[1] % 24 == 0
    assert made["prompt_embeds"].shape[1] > 24
    sv.trace(model, steps=1, guidance=CFG(3.0), progress=False, **made)


@pytest.mark.parametrize(
    ("written", "by_compel"),
    [
        ("a ((red:1.3) fox:1.2)", "a ((red)1.3 fox)1.2"),
        ("a (red:1.) fox", "a red fox"),
        ("a (fox:+1.5)", "a (fox)1.5"),
        ("a (fox:1e1)", "a (fox)10"),
        ("a fox (at 5pm)", "a fox (at 5pm)"),
    ],
)
def test_brackets_in_one_another_and_other_numbers(
    families: Open, written: str, by_compel: str
) -> None:
    found = families("sd1")
    expected = CompelForSD(found.pipe)(by_compel)
    assert torch.equal(sv.weighted(found.model, written)["prompt_embeds"], expected.embeds)


def test_quotation_marks_and_numbers_after_a_weight_stay(model: sv.Model) -> None:
    def made(prompt: str) -> torch.Tensor:
        return sv.weighted(model, prompt)["prompt_embeds"]

    assert torch.equal(made('a "fox" blue'), model.embed('a "fox" blue').text)
    assert torch.equal(made("(a fox:1.3)2 owls"), made("(a fox:1.3) 2 owls"))
    joined = '("a fox", "an owl").and()'
    assert made(joined).shape[1] == 2 * made("a fox").shape[1], "compel's own way stays"


@pytest.mark.parametrize("weight", ["-1", "1,3", "1.2.3"])
def test_a_weight_that_is_none_is_refused(model: sv.Model, weight: str) -> None:
    with pytest.raises(ArgumentError, match=rf"weight '{weight}' in the prompt; give one") as error:
        sv.weighted(model, f"a (fox:{weight})")
    assert is_one_sentence(error.value)


def test_what_has_no_weights_is_refused(families: Open) -> None:
    for family, prompt, words in (
        ("pixels", "a fox", "takes no embeddings; give a model of Stable Diffusion"),
        ("sd1", 3, "a text"),
    ):
        with pytest.raises(ArgumentError, match=words) as error:
            sv.weighted(families(family).model, prompt)  # type: ignore[arg-type]
        assert is_one_sentence(error.value)
