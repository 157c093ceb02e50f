"""What a report says of its method is true of the very runs, whatever the model and the terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import build_pixels, build_sdxl
from tiny_transformers import build_flux

import sagviz as sv
from sagviz import APG, PAG, SEG
from sagviz.reports import prose


def runs(model: sv.Model, prompt: str = "", **options: Any) -> tuple[sv.Trace, ...]:
    return sv.compare(model, prompt, steps=2, unguided=True, progress=False, **options)


def told(model: sv.Model, made: tuple[sv.Trace, ...]) -> str:
    """All of it, as one text."""
    found, last = [made[-2:]] * 2, made[-1]
    words = (prose.of_pictures(made), prose.of_difference(*made[-2:]), prose.of_seeds(found))
    paragraphs = (
        prose.of_noise(model, last),
        prose.of_cfg(last),
        prose.of_sag(model, last),
        prose.of_curves(made),
        prose.of_limits(made, found),
        prose.of_cost(model, last),
    )
    return "\n".join([*words, *(each.text for each in paragraphs)])


def test_cfg_and_sag_of_a_u_net(model: sv.Model) -> None:
    said = told(model, runs(model, "a fox"))
    for words in (
        "One prompt and one noise",
        "guidance is added: CFG, then SAG.",
        r"\sqrt{\bar\alpha_t}",
        "In the middle of the U-Net",
        "a decoder turns it into pixels",
        "## Classifier-free guidance",
        "The second curve is the cosine",
        "The third curve is the share",
        r"\epsilon(x_t) + w\,\Delta_{CFG} + s\,\Delta_{SAG}$$",
        "3 steps of CFG for 2 of CFG + SAG",
        "CFG adds 1, in the same call; SAG adds 1, in a call of its own",
    ):
        assert words in said, words
    assert "further terms" not in said


def test_a_model_of_pixels_has_no_prompt_no_cfg_and_no_decoder(tmp_path: Path) -> None:
    build_pixels().save_pretrained(tmp_path)
    model = sv.load(tmp_path)
    said = told(model, runs(model))
    for words in (
        "No prompt and one noise",
        "guidance is added: SAG.",
        "the picture itself: nothing need be decoded",
        "SAG finds a direction",
        "length of the scaled term",
        "The second curve is the share",
        "*this* model and setting",
        "2 plain steps for 1 of SAG",
    ):
        assert words in said, words
    for words in ("CFG", "cosine", "a decoder turns", "One prompt", "with the prompt", "third"):
        assert words not in said, words


def test_a_transformer_of_flow_matching_is_called_so(tmp_path: Path) -> None:
    (folder := tmp_path / "words").mkdir()
    model = sv.load(build_flux(folder))
    with pytest.warns(sv.SagvizWarning, match="distilled"):
        said = told(model, runs(model, "a cat"))
    assert "In the middle of the transformer" in said
    assert "in one call of the transformer" in said
    assert r"with $\alpha_t = 1 - \sigma_t$" in said
    assert "U-Net" not in said
    assert r"\bar\alpha_t" not in said


def test_more_terms_are_all_named(model: sv.Model) -> None:
    said = told(model, runs(model, "a cat", terms=PAG(2.0) + SEG(1.0)))
    for words in (
        "guidance is added: CFG, then SAG, PAG and SEG.",
        f"PAG ({PAG.formula}), scale 2",
        f"SEG ({SEG.formula}), scale 1",
        r"\sum_k s_k",
        "5 steps of CFG for 2 of CFG + SAG + PAG + SEG",
        "SEG adds 1, in the first call",
        "angle between CFG and SAG",
    ):
        assert words in said, words


def test_the_prompt_may_be_empty_and_the_negative_one_not(model: sv.Model) -> None:
    assert "CFG adds nothing" in prose.of_cfg(runs(model)[-1]).text
    said = prose.of_cfg(runs(model, "a fox", negative_prompt="a dog")[-1]).text
    assert "once with the negative prompt" in said
    assert "adds nothing" not in said


def test_where_no_prompt_is_another_text_than_an_empty_one_cfg_is_not_idle(tmp_path: Path) -> None:
    """SDXL reads zeros where there is no prompt at all."""
    last = runs(sv.load(build_sdxl(tmp_path)))[-1]
    assert last[0].terms["cfg"].abs().max() > 0.1
    assert "adds nothing" not in prose.of_cfg(last).text


def test_the_branch_that_two_terms_read_counts_once(model: sv.Model) -> None:
    made = runs(model, "a cat", terms=APG(2.0))
    said = told(model, made)
    assert made[-1].samples == 3 * len(made[-1])
    assert "APG adds none" in said
    assert "3 steps of CFG for 2 of CFG + SAG + APG" in said


def test_a_scheduler_that_only_adds_noise(model: sv.Model) -> None:
    said = prose.of_noise(model, runs(model, "a fox", scheduler="euler")[-1]).text
    assert r"with $\alpha_t = 1$:" in said


def test_equal_pictures_and_one_seed(model: sv.Model) -> None:
    pair = runs(model, "a fox", sag=0.0)[-2:]
    assert prose.of_difference(*pair) == "The last two pictures are the same in every pixel."
    assert "other noise" not in prose.of_seeds([pair])
    assert "other seeds" not in prose.of_limits(pair, [pair]).text
