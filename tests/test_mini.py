"""The bundled miniature is what its card says: anatomy, size, and quality above the floors that the project set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sagviz as sv
from sagviz.mini import WEIGHTS, autoencoder, evaluate
from sagviz.mini.judge import NAMES
from sagviz.mini.world import words


@pytest.fixture(scope="module")
def mini() -> sv.Model:
    """As a user loads it."""
    return sv.load()


def test_it_has_stable_diffusions_anatomy(mini: sv.Model) -> None:
    kinds = {name: type(getattr(mini, name)).__name__ for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
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
    assert (schedule.beta_schedule, schedule.beta_start, schedule.beta_end) == ("scaled_linear", 0.00085, 0.012)
    assert schedule.prediction_type == "epsilon"


def test_it_fits_in_the_wheel() -> None:
    sizes = {path: path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 30e6
    assert max(sizes.values()) < 20e6


def test_every_word_is_one_token_in_either_case(mini: sv.Model) -> None:
    for word in words():
        assert len(mini.tokenizer(word).input_ids) == 3, word
        assert mini.tokenizer(word.upper()).input_ids == mini.tokenizer(word).input_ids


def test_its_card_and_samples_are_there() -> None:
    card = (Path(WEIGHTS).parent / "README.md").read_text()
    for heading in ("Data", "Licence", "Training", "Compute", "Measured quality", "Limits"):
        assert f"## {heading}" in card
    assert evaluate.SHEET.exists()


def test_the_decoder_is_sharp(mini: sv.Model) -> None:
    assert autoencoder.psnr(mini.vae, evaluate.held_out(200)[0]) >= 31


def test_latents_are_standard(mini: sv.Model) -> None:
    latents = autoencoder.encode(mini.vae, evaluate.held_out(200)[0]).float()
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1


@torch.no_grad()
def test_the_judge_names_renders() -> None:
    scenes, objects = evaluate.held_out(300)
    logits = evaluate.load_judge()(autoencoder.to_tensor(scenes))[0]
    right = [{NAMES[i] for i in row.topk(len(o)).indices.tolist()} == set(o) for row, o in zip(logits, objects, strict=True)]
    assert np.mean(right) >= 0.98


@pytest.mark.slow
def test_prompts_come_true(mini: sv.Model) -> None:
    """A small sample of what `python -m sagviz.mini.evaluate` measures: every object once, well above the 2 % of guessing."""
    right = evaluate.fidelity(mini, evaluate.load_judge(), len(NAMES), steps=25)
    assert right["CFG 3"] >= 0.6 * len(NAMES)
    assert right["CFG 3 + SAG 1"] >= 0.6 * len(NAMES)


def test_the_article_s_claim_holds_that_cfg_brings_the_prompt_out(mini: sv.Model) -> None:
    """At scale 0 the prompt has no effect, and the unconditional picture comes out."""
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    run = {"steps": 4, "noise": noise, "progress": False}
    ignored = [sv.trace(mini, prompt, guidance=sv.CFG(0.0), **run).latents for prompt in ("a fox", "a car")]
    assert torch.equal(*ignored)
    heard = [sv.trace(mini, prompt, guidance=sv.CFG(3.0), **run).latents for prompt in ("a fox", "a car")]
    assert not torch.allclose(*heard, atol=0.1)
