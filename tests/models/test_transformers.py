"""Families with a transformer: diffusers' own pipelines are the oracles."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Family
from diffusers import PixArtSigmaPAGPipeline, StableDiffusion3PAGPipeline
from oracles import BOUND, norm_of_qwen_left_out
from oracles import transformer_by_diffusers as by_diffusers
from pairs import pairs
from tiny import difference, noise, quiet, residue
from tiny_transformers import TRANSFORMERS, build_pixart, build_sd3, prompt_of

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, SLG, Capture
from sagviz.attention.layers import has_text, layers, middle_block, self_attentions
from sagviz.attention.words import words_of
from sagviz.guidance import Guidance
from sagviz.models.transformer import packed, unpacked

Open = Callable[[str], Family]
pytestmark = pytest.mark.filterwarnings("ignore:.*distilled to its guidance")
SIZES = {"dit": [(32, 32)]}  # its pipeline knows no other


CASES = [
    (name, *settings)
    for name in TRANSFORMERS
    for settings in pairs([1.0, 4.0], [1, 2], SIZES.get(name, [(32, 32), (32, 48)]))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale", "images", "size"), CASES, ids=str)
def test_a_run_is_that_of_diffusers(
    families: Open, name: str, scale: float, images: int, size: tuple[int, int]
) -> None:
    """With CFG and without, at two sizes; the calls and the rows are counted."""
    family = families(name)
    channels, height, width = family.model.latent_shape(size)
    start = torch.cat([noise(1, (height, width), seed, channels) for seed in range(images)])
    with norm_of_qwen_left_out(name):
        theirs = by_diffusers(name, family.pipe, start, scale, size)
    guidance = CFG(scale) if scale > 1 else None
    trace = sv.trace(
        family.model,
        prompt_of(name),
        guidance=guidance,
        steps=3,
        seed=0,
        images=images,
        size=size,
        progress=False,
    )
    assert difference(trace.latents, theirs) < BOUND
    rows = images * (1 + Guidance(() if guidance is None else (guidance,)).needs_both_branches)
    assert [(step.forwards, step.samples) for step in trace] == [(1, rows)] * 3


# PAG is that of diffusers' own pipelines.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "build"),
    [
        ("pixart", PixArtSigmaPAGPipeline, build_pixart),
        (  # diffusers' processor leaves the norms of 3.5 out
            "sd3",
            StableDiffusion3PAGPipeline,
            partial(build_sd3, qk_norm=None, dual_attention_layers=()),
        ),
    ],
    ids=["pixart", "sd3"],
)
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_pag_is_that_of_diffusers(
    tmp_path: Path, name: str, kind: Any, build: Any, scale: float
) -> None:
    """Of the network's middle block, with CFG and alone."""
    pipe = build(tmp_path)
    start = torch.cat([noise(1, seed=seed) for seed in range(2)])
    pag, cfg = PAG(2.5), [CFG(scale)] * (scale > 1)
    made = sv.trace(
        sv.load(pipe),
        prompt_of(name),
        guidance=sum([*cfg, pag], start=Guidance()),
        steps=3,
        images=2,
        progress=False,
    )
    block = middle_block(pipe.transformer).removeprefix("transformer_")
    known = inspect.signature(kind).parameters  # its PAG pipeline knows no image encoder
    parts = {part: found for part, found in pipe.components.items() if part in known}
    theirs = quiet(kind(**parts, pag_applied_layers=block))
    found = by_diffusers(name, theirs, start, scale, (32, 32), pag_scale=2.5)
    assert difference(made.latents, found) < BOUND
    without = sv.trace(
        sv.load(pipe), prompt_of(name), guidance=sum(cfg, start=Guidance()), steps=3, images=2
    )
    assert difference(without.latents, made.latents) > 100 * BOUND, "PAG must do something"


def test_slg_is_that_of_diffusers(families: Open) -> None:
    """Of SD3's pipeline, which skips blocks and adds to CFG in some of the steps."""
    family, start = families("sd3"), noise()
    skipped = (1, 3)
    made = sv.trace(
        family.model,
        prompt_of("sd3"),
        guidance=CFG(4.0)
        + SLG(1.5, layers=tuple(f"transformer_blocks.{place}" for place in skipped), start=0.3),
        noise=start,
        steps=3,
        progress=False,
    )
    given = {
        "skip_guidance_layers": list(skipped),
        "skip_layer_guidance_scale": 1.5,
        "skip_layer_guidance_start": 0.3,
        "skip_layer_guidance_stop": 1.0,
    }
    theirs = by_diffusers("sd3", family.pipe, start, 4.0, (32, 32), **given)
    assert difference(made.latents, theirs) < BOUND
    assert [step.samples for step in made] == [2, 3, 3]


# Read, disturbed, and left as it was.


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_pipeline_is_left_as_it_was(families: Open, name: str) -> None:
    """Its hooks, processors and scheduler, and what it draws, to the bit; a capture of all layers
    changes nothing either.
    """
    pipe, start = families(name).pipe, noise()
    model, before = sv.load(pipe), residue(pipe.transformer)
    config = dict(pipe.scheduler.config)
    plain = by_diffusers(name, pipe, start, 4.0, (32, 32))
    runs = [
        sv.trace(
            model,
            prompt_of(name),
            guidance=CFG(2.0) + SAG(1.0) + PAG(1.0) + SEG(1.0),
            steps=2,
            size=(32, 32),
            capture=capture,
            progress=False,
        )
        for capture in (None, Capture("all", ("mass", "maps")))
    ]
    assert torch.equal(runs[0].latents, runs[1].latents)
    assert [(step.forwards, step.samples) for step in runs[1]] == [(2, 5)] * 2
    assert len(runs[1][0].captured) == len(self_attentions(model.network))
    assert (residue(pipe.transformer), dict(pipe.scheduler.config)) == (before, config)
    assert torch.equal(by_diffusers(name, pipe, start, 4.0, (32, 32)), plain)


@pytest.mark.parametrize("name", [name for name in TRANSFORMERS if name != "dit"])
def test_what_is_given_and_received_adds_up(families: Open, name: str) -> None:
    """Columns average 1, rows sum to 1; words sum to 1 beside, or to the text's share in a shared
    softmax. The tokenizers stay as a pipeline in another thread may have set them.
    """
    model = families(name).model
    tokenizers = [getattr(model, part) for part in model.PARTS if part.startswith("tokenizer")]
    for tokenizer in tokenizers:
        tokenizer("fox", truncation=True, max_length=3, padding="max_length")
    shared = [path for path in self_attentions(model.network) if has_text(model.network, path)]
    kinds = ("mass", "row", "maps", "words") + ("text",) * bool(shared)
    read = Capture("all", kinds, place=(3, 9))
    trace = sv.trace(model, prompt_of(name), steps=1, size=(32, 48), capture=read, progress=False)
    listed = layers(model.network, (16, 24))
    assert list(trace[0].captured) == (shared or list(listed))
    for path, found in trace[0].captured.items():
        height, width = listed[path].grid
        assert found.mass.shape == (1, height, width) == (1, 8, 12)
        share = found.text if shared else torch.ones(1, height, width)
        sums = (found.mass.mean(), found.row.sum(), found.maps.sum(-1))
        for total in sums:
            torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)
        torch.testing.assert_close(found.words.sum(1), share, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.mass.flatten(1), found.maps.sum(1), rtol=0, atol=1e-4)
        # a tokenizer of bytes makes more than 34 tokens of what stands before Qwen's prompt
        assert name == "qwen" or "fox" in {word.split(" ")[0] for word in found.names}
        assert float(found.mass.std()) > 1e-3
        assert float(share.min()) > 0.01
    backends = [tokenizer.backend_tokenizer for tokenizer in tokenizers]
    states = [(own.truncation, own.padding) for own in backends]
    assert all(cut["max_length"] == fill["length"] == 3 for cut, fill in states)


@pytest.mark.parametrize("name", ["pixart", "sd3"])
def test_a_place_shares_its_attention_among_words_and_picture(families: Open, name: str) -> None:
    """The text's share is shown beside the picture's, where they share a softmax."""
    model = families(name).model
    trace = sv.trace(model, "a fox", steps=2, size=(32, 32), progress=False)
    found = sv.attend(model, trace, 1, (3, 9))
    bars = sv.plot.word_bars(found, size=(16, 16))
    shares = dict(bars.shares)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert ("[picture]" in shares) == (name == "sd3")
    assert "fox" in shares


LONG = "a fox " * 150


def test_words_of_a_message_that_lost_its_end_are_told(families: Open) -> None:
    model = families("z_image").model
    (tokens,), words = model.token_lists(LONG), words_of(model, LONG)
    assert tokens.tokenizer.eos_token_id not in tokens.ids[tokens.begin :]
    assert [word.first for word in words[1:]] == [word.beyond for word in words[:-1]]
    assert words[-1].beyond == len(tokens.ids)


def test_qwen_reads_as_much_of_a_prompt_as_diffusers(families: Open) -> None:
    family = families("qwen")
    channels, height, width = family.model.latent_shape((32, 32))
    start = noise(1, (height, width), 0, channels)
    with pytest.warns(sv.SagvizWarning, match="longer than"):
        trace = sv.trace(family.model, LONG, steps=2, size=(32, 32), noise=start, progress=False)
    theirs = family.pipe(
        LONG,
        latents=packed(start),
        true_cfg_scale=1.0,
        num_inference_steps=2,
        height=32,
        width=32,
        output_type="latent",
    ).images
    assert difference(trace.latents, unpacked(theirs, (height // 2, width // 2))) < BOUND
