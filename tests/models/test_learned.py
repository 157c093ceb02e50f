"""What people learn and add to a pipeline, textual inversions and LoRAs: as `pipe()` has them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig
from tiny import TEXT_WIDTH, difference, noise, quiet
from torch import Tensor

import sagviz as sv
from sagviz import CFG
from sagviz.attention.words import words_of

STEPS = 3


def by_pipeline(pipe: Any, start: Tensor, **prompts: str) -> Tensor:
    """The latents of diffusers' own run from this noise."""
    latents: Tensor = pipe(
        **prompts,
        num_inference_steps=STEPS,
        guidance_scale=3.0,
        latents=start.clone(),
        output_type="latent",
    ).images
    return latents


@pytest.fixture(params=["sd1", "sdxl"])
def learned(request: Any, families: Callable[[str], Any]) -> Any:
    """A pipeline of its own with "<cat>" in three vectors and "<dog>" in one."""
    pipe: Any = quiet(DiffusionPipeline.from_pretrained(families(request.param).folder))
    encoders = [(pipe.tokenizer, pipe.text_encoder, TEXT_WIDTH)]
    encoders += [(pipe.tokenizer_2, pipe.text_encoder_2, 16)] if request.param == "sdxl" else []
    for tokenizer, encoder, width in encoders:
        for token, vectors in (("<cat>", 3), ("<dog>", 1)):
            learnt = torch.randn(vectors, width, generator=torch.Generator().manual_seed(vectors))
            pipe.load_textual_inversion(
                learnt, token=token, tokenizer=tokenizer, text_encoder=encoder
            )
    return pipe


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["a <cat> on a <dog>", "<cat><cat>", "a fox", ""])
def test_a_textual_inversion_has_all_its_vectors(learned: Any, prompt: str) -> None:
    expected = learned.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    found = sv.load(learned).embed(prompt)
    assert torch.equal(found.text, expected[0])
    if hasattr(found, "pooled"):
        assert torch.equal(found.pooled, expected[2])


def test_a_run_with_one_is_the_pipelines(learned: Any) -> None:
    start = noise()
    given: dict[str, Any] = {"prompt": "a <cat>", "negative_prompt": "a <dog>"}
    theirs = by_pipeline(learned, start, **given)
    ours = sv.trace(
        sv.load(learned), **given, steps=STEPS, guidance=CFG(3.0), noise=start, progress=False
    )
    assert difference(ours.latents, theirs) < 1e-4


def test_its_vectors_are_one_word(learned: Any) -> None:
    names = [word.name for word in words_of(sv.load(learned), "a <cat> on <cat> <dog>")]
    assert names == ["[start]", "a", "<cat>", "on", "<cat>", "<dog>", "[end]"]
    spans = [word.beyond - word.first for word in words_of(sv.load(learned), "<cat> <cat> fox")]
    assert spans[1:3] == [3, 3]


def test_the_vectors_count_towards_the_length(learned: Any) -> None:
    """22 tokens fit: seven times three vectors and one more."""
    model = sv.load(learned)
    with pytest.warns(sv.SagvizWarning, match="longer than 22 tokens; these words were cut: owl$"):
        model.check_prompt("<cat> " * 7 + "fox owl")


@pytest.fixture
def lora(families: Callable[[str], Any], tmp_path: Path) -> Any:
    """A pipeline with a LoRA of random weights in the U-Net and in the text encoder."""
    pipe: Any = quiet(
        DiffusionPipeline.from_pretrained(shutil.copytree(families("sd1").folder, tmp_path / "own"))
    )
    torch.manual_seed(0)
    layers = {"unet": ["to_q", "to_v"], "text_encoder": ["q_proj", "v_proj"]}
    for part, names in layers.items():
        config = LoraConfig(r=2, lora_alpha=8, target_modules=names, init_lora_weights=False)
        getattr(pipe, part).add_adapter(config, adapter_name="own")
    return pipe


@pytest.mark.slow
def test_the_strength_of_a_lora_is_that_of_the_pipeline(lora: Any) -> None:
    model, start, found = sv.load(lora), noise(), []
    for strength in (0.0, 0.5, 1.0):
        lora.set_adapters("own", strength)
        theirs = by_pipeline(lora, start, prompt="a fox")
        ours = sv.trace(
            model, "a fox", steps=STEPS, guidance=CFG(3.0), noise=start, progress=False
        ).latents
        assert difference(ours, theirs) < 1e-4
        found.append(ours)
    assert difference(found[0], found[1]) > 0.01
    assert difference(found[1], found[2]) > 0.01


def test_a_strength_for_one_call_is_answered_with_the_way_to_set_it(model: sv.Model) -> None:
    loose: Any = sv.trace
    with pytest.raises(sv.SagvizError, match=r"pipe.set_adapters\(names, 0.5\)"):
        loose(model, "a fox", cross_attention_kwargs={"scale": 0.5})
