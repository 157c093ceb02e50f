"""The bundled miniature is what its card says: anatomy, size, and quality above the floors that the
project set.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sagviz as sv
from sagviz import CFG
from sagviz.mini import WEIGHTS
from sagviz.mini.evaluation import card, gallery, prompts
from sagviz.mini.evaluation.gallery import Gallery
from sagviz.mini.training import autoencoder
from sagviz.mini.training.judge import accuracy, load_judge, look
from sagviz.mini.world import NAMES, caption


@pytest.fixture(scope="module")
def mini() -> sv.Model:
    """As a user loads it."""
    return sv.load()


def test_it_has_stable_diffusions_anatomy(mini: sv.Model) -> None:
    kinds = {
        name: type(getattr(mini, name)).__name__
        for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    }
    assert kinds == {
        "unet": "UNet2DConditionModel",
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "tokenizer": "CLIPTokenizer",
        "scheduler": "DDIMScheduler",
    }
    block = mini.unet.mid_block.attentions[0].transformer_blocks[0]
    assert block.attn1.is_cross_attention is False
    assert block.attn2.is_cross_attention is True
    schedule = mini.scheduler.config
    assert (schedule.beta_schedule, schedule.beta_start, schedule.beta_end) == (
        "scaled_linear",
        0.00085,
        0.018,
    )
    assert schedule.prediction_type == "epsilon"


def test_it_fits_in_the_wheel() -> None:
    sizes = {path: path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 30e6
    assert max(sizes.values()) < 20e6


def test_every_word_is_one_token_in_either_case(mini: sv.Model) -> None:
    phrases = itertools.chain(*sv.vocabulary(mini).values())
    for word in {word for phrase in phrases for word in phrase.split()}:
        assert len(mini.tokenizer(word).input_ids) == 3, word
        assert mini.tokenizer(word.upper()).input_ids == mini.tokenizer(word).input_ids


def test_its_card_and_samples_are_there() -> None:
    text = card.CARD.read_text()
    for heading in ("Data", "Licence", "Training", "Compute", "Measured quality", "Limits"):
        assert f"## {heading}" in text
    assert card.SHEET.exists()
    assert text.index(card.BEGIN) < text.index("| VAE, PSNR") < text.index(card.END), (
        "the figures are the program's own"
    )


@pytest.mark.slow
def test_the_decoder_is_sharp(mini: sv.Model) -> None:
    assert autoencoder.to_psnr(autoencoder.squared_errors(mini.vae, prompts.held_out(200)[0])) >= 34


@pytest.mark.slow
def test_latents_are_standard(mini: sv.Model) -> None:
    latents = autoencoder.encode(mini.vae, prompts.held_out(200)[0]).float()
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1


@pytest.mark.slow
def test_a_run_starts_where_training_was(mini: sv.Model) -> None:
    """At the first step of a run, latents of renders vary hardly more than noise: even their mean
    colours are drowned in it.
    """
    latents = autoencoder.encode(mini.vae, prompts.held_out(200)[0]).float()
    mini.scheduler.set_timesteps(50)
    kept = mini.scheduler.alphas_cumprod[mini.scheduler.timesteps[0]]
    colours = torch.linalg.eigvalsh(torch.cov(latents.mean(dim=(2, 3)).T))[-1]
    noise = 1 / latents[0, 0].numel()  # variance of the mean of as many independent numbers
    assert kept * colours < 0.25 * noise


@pytest.mark.slow
def test_the_judge_sees_what_is_on_renders_and_where() -> None:
    judge = load_judge()
    right = accuracy(judge, *prompts.held_out(400))
    assert {key: np.mean(hits) >= 0.98 for key, hits in right.items()} == {
        "objects": True,
        "background": True,
        "relation": True,
    }
    assert not judge.training, "in training it would judge a picture by those beside it"
    accuracy(judge.train(), *prompts.held_out(1))
    assert judge.training


@pytest.fixture
def _fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "STEPS", 20)


@pytest.mark.slow
@pytest.mark.usefixtures("_fewer_steps")
def test_prompts_come_true(mini: sv.Model, tmp_path: Path) -> None:
    """A small sample of what `python -m sagviz.mini.evaluation` measures, with fewer steps: every
    object once, well above the 2 % of guessing.
    """
    pictures = Gallery(mini, tmp_path).pictures([caption((name,)) for name in NAMES], CFG(3.0))
    seen = look(load_judge(), autoencoder.to_tensor(pictures))
    assert (
        np.mean([found == {name} for found, name in zip(seen.named(1), NAMES, strict=True)]) >= 0.9
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_fewer_steps")
def test_two_objects_stand_as_the_prompt_says(mini: sv.Model, tmp_path: Path) -> None:
    """Six prompts for each relation: far above the half that a model reaches which reads only who
    is there, and the axis.
    """
    wanted = prompts.two_object_prompts(24)
    pictures = Gallery(mini, tmp_path).pictures([caption(*prompt) for prompt in wanted], CFG(3.0))
    seen = look(load_judge(), autoencoder.to_tensor(pictures))
    both = [found == set(pair) for found, (pair, _, _) in zip(seen.named(2), wanted, strict=True)]
    kept = [
        seen.relation(i, *pair) == relation
        for i, (pair, relation, _) in enumerate(wanted)
        if both[i]
    ]
    colours = [
        found == colour
        for found, (_, _, colour) in zip(seen.colours(), wanted, strict=True)
        if colour
    ]
    assert {
        key: np.mean(hits) >= 0.8
        for key, hits in (("both", both), ("relation", kept), ("background", colours))
    } == {"both": True, "relation": True, "background": True}


@pytest.mark.slow
def test_the_article_s_claim_holds_that_cfg_brings_the_prompt_out(mini: sv.Model) -> None:
    """At scale 0 the prompt has no effect, and the unconditional picture comes out."""
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    run: dict[str, Any] = {"steps": 4, "noise": noise, "progress": False}
    fox, car = (
        sv.trace(mini, prompt, guidance=CFG(0.0), **run).latents for prompt in ("a fox", "a car")
    )
    assert torch.equal(fox, car)
    fox, car = (
        sv.trace(mini, prompt, guidance=CFG(3.0), **run).latents for prompt in ("a fox", "a car")
    )
    assert not torch.allclose(fox, car, atol=0.1)
