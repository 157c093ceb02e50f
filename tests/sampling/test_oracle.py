"""Our runs against diffusers' own pipelines, from the same noise, to the last latent."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Family
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionSAGPipeline,
)
from oracles import BOUND, INTEGER_TIMES, PROMPT, SCHEDULERS, STEPS, by_diffusers, ours
from pairs import pairs
from tiny import DOWN_LAYER, MARGIN, build_sdxl, difference, margin, noise, quiet
from torch import Tensor

import sagviz as sv
from sagviz import CFG, PAG, SAG, Rescale
from sagviz.diffusion.seeds import generator
from sagviz.guidance import Guidance

SCALES = [(1.5, 0.0), (7.5, 0.0), (1.5, 0.75), (7.5, 1.0), (0.0, 1.0)]  # of CFG and SAG


@pytest.fixture(scope="module")
def sag_pipe(pipe: StableDiffusionPipeline) -> StableDiffusionSAGPipeline:
    """diffusers' SAG pipeline on the oracle's networks."""
    made = StableDiffusionSAGPipeline(
        **{name: part for name, part in pipe.components.items() if name != "image_encoder"}
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "scales", "cells", "images"),
    pairs(INTEGER_TIMES, SCALES, [(16, 16), (16, 24)], [1, 2]),
    ids=str,
)
def test_a_run_is_that_of_diffusers(
    model: sv.Model,
    pipe: StableDiffusionPipeline,
    sag_pipe: StableDiffusionSAGPipeline,
    scales: tuple[float, float],
    scheduler: str,
    cells: tuple[int, int],
    images: int,
) -> None:
    """CFG, CFG+SAG and SAG alone (cfg 0), over schedulers, shapes and batches."""
    (cfg, sag), start = scales, noise(images, cells, seed=3)
    if sag:
        expected = by_diffusers(sag_pipe, scheduler, start, guidance_scale=cfg, sag_scale=sag)
        guidance = CFG(cfg) + SAG(sag) if cfg else Guidance((SAG(sag),))
    else:
        expected = by_diffusers(pipe, scheduler, start, guidance_scale=cfg)
        guidance = Guidance((CFG(cfg),))
    trace = ours(model, scheduler, start, guidance)
    assert not sag or margin(trace) > MARGIN, (
        "rounding decides a cell of this mask: choose another noise"
    )
    assert difference(trace.latents, expected) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "layers", "cfg", "images", "cells"),
    pairs(
        ["ddim", "dpm++ 2m", "euler"],
        ["mid", DOWN_LAYER, ("mid", DOWN_LAYER)],
        [None, 4.0],
        [1, 2],
        [(16, 16), (16, 24)],
    ),
    ids=str,
)
def test_pag_is_that_of_diffusers(
    model: sv.Model,
    pipe: StableDiffusionPipeline,
    cfg: float | None,
    images: int,
    cells: tuple[int, int],
    layers: str | tuple[str, ...],
    scheduler: str,
) -> None:
    """With CFG and without, at one layer and at two. diffusers drops the unconditional branch at
    guidance scale 1.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
    pag_pipe = StableDiffusionPAGPipeline(
        **parts, requires_safety_checker=False, pag_applied_layers=names
    )
    pag_pipe.set_progress_bar_config(disable=True)
    start = noise(images, cells, seed=5)
    expected = by_diffusers(pag_pipe, scheduler, start, guidance_scale=cfg or 1.0, pag_scale=2.5)
    guidance = PAG(2.5, layers=layers)
    trace = ours(
        model, scheduler, start, Guidance((guidance,)) if cfg is None else CFG(cfg) + guidance
    )
    assert difference(trace.latents, expected) < BOUND
    assert (
        difference(
            ours(model, scheduler, start, None if cfg is None else CFG(cfg) + PAG(0.0)).latents,
            expected,
        )
        > 100 * BOUND
    )


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_rescale_is_that_of_diffusers(
    model: sv.Model, v_model: sv.Model, pipe: StableDiffusionPipeline, prediction: str, phi: float
) -> None:
    network, oracle = model, pipe
    if prediction == "v_prediction":
        network, parts = v_model, ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
        oracle = StableDiffusionPipeline(
            **{part: getattr(v_model, part) for part in parts},
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        oracle.set_progress_bar_config(disable=True)
    expected = by_diffusers(oracle, "ddim", noise(2), guidance_scale=9.0, guidance_rescale=phi)
    assert (
        difference(ours(network, "ddim", noise(2), CFG(9.0) + Rescale(phi)).latents, expected)
        < BOUND
    )


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("prompt", [PROMPT, ""])
def test_an_unguided_run_is_that_of_diffusers(
    model: sv.Model, pipe: StableDiffusionPipeline, scheduler: str, prompt: str
) -> None:
    """The plain prediction given the prompt; diffusers' guidance scale 1 means the same."""
    expected = by_diffusers(pipe, scheduler, noise(), prompt, guidance_scale=1.0)
    assert difference(ours(model, scheduler, noise(), None, prompt).latents, expected) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", sorted(set(SCHEDULERS) - set(INTEGER_TIMES)))
def test_cfg_is_that_of_diffusers_where_diffusers_has_no_right_sag(
    model: sv.Model, pipe: StableDiffusionPipeline, scheduler: str
) -> None:
    expected = by_diffusers(pipe, scheduler, noise(), guidance_scale=7.5)
    assert (
        difference(ours(model, scheduler, noise(), Guidance((CFG(7.5),))).latents, expected) < BOUND
    )


@pytest.mark.slow
def test_a_v_model_runs_as_in_diffusers(v_model: sv.Model) -> None:
    pipe = StableDiffusionPipeline(
        **{
            part: getattr(v_model, part)
            for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
        },
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    for scheduler in SCHEDULERS:
        expected = by_diffusers(pipe, scheduler, noise(), guidance_scale=7.5)
        assert (
            difference(ours(v_model, scheduler, noise(), Guidance((CFG(7.5),))).latents, expected)
            < BOUND
        ), scheduler


@pytest.mark.slow
def test_a_negative_prompt_is_that_of_diffusers(
    model: sv.Model, pipe: StableDiffusionPipeline
) -> None:
    expected = pipe(
        PROMPT,
        negative_prompt="a tree",
        num_inference_steps=3,
        latents=noise(),
        guidance_scale=4.0,
        output_type="latent",
    ).images
    trace = sv.trace(
        model,
        PROMPT,
        negative_prompt="a tree",
        steps=3,
        noise=noise(),
        guidance=CFG(4.0),
        progress=False,
    )
    assert difference(trace.latents, expected) < BOUND


def test_the_seed_draws_the_noise_of_diffusers(
    model: sv.Model, pipe: StableDiffusionPipeline
) -> None:
    """Image i is what diffusers makes of a CPU generator seeded with seed + i, picture included."""
    generators = [torch.Generator().manual_seed(7 + i) for i in range(2)]
    expected = pipe(
        PROMPT,
        num_inference_steps=3,
        num_images_per_prompt=2,
        generator=generators,
        guidance_scale=4.0,
    ).images
    trace = sv.trace(model, PROMPT, steps=3, seed=7, images=2, guidance=CFG(4.0), progress=False)
    for mine, theirs in zip(trace.images, expected, strict=True):
        assert np.abs(np.asarray(mine, int) - np.asarray(theirs, int)).max() <= 1


# The other families, as their own pipelines run them.


def has_zero_snr(scheduler: str) -> bool:
    return "rescale_betas_zero_snr" in inspect.signature(SCHEDULERS[scheduler][0]).parameters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "cells", "negative"), [(1, (16, 16), None), (2, (16, 24), "a tree")], ids=str
)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_sd2_with_zero_terminal_snr_is_that_of_diffusers(
    families: Callable[[str], Family],
    scheduler: str,
    images: int,
    cells: tuple[int, int],
    negative: str | None,
) -> None:
    """CFG in v, from the noisiest step on; schedulers without such a schedule do what they do in
    diffusers, and warn.
    """
    sd2, start = families("sd2"), noise(images, cells)
    expected = by_diffusers(
        sd2.pipe, scheduler, start, guidance_scale=7.5, negative_prompt=negative
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trace = sv.trace(
            sd2.model,
            PROMPT,
            negative_prompt=negative or "",
            steps=STEPS,
            guidance=CFG(7.5),
            scheduler=scheduler,
            noise=start,
            images=images,
            size=(2 * cells[0], 2 * cells[1]),
            progress=False,
        )
    assert difference(trace.latents, expected) < BOUND
    assert any("zero terminal SNR" in str(each.message) for each in caught) == (
        not has_zero_snr(scheduler)
    )
    assert (
        not has_zero_snr(scheduler)
        or trace[0].sigma > 0.999 > 1000 * trace[0].alpha / trace[0].level.norm
        or "karras" in scheduler
    )
    assert scheduler != "ddim" or trace[0].alpha == 0


SDXL_RUNS: dict[str, dict[str, Any]] = {
    "cfg": {"guidance_scale": 5.0},
    "negative": {"guidance_scale": 5.0, "negative_prompt": "a tree"},
    "unguided": {"guidance_scale": 1.0},
    "empty": {"guidance_scale": 5.0, "prompt": ""},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "given", "images", "cells"),
    pairs(["own", "ddim", "dpm++ 2m karras", "heun"], SDXL_RUNS, [1, 2], [(16, 16), (16, 24)]),
    ids=str,
)
def test_sdxl_is_that_of_diffusers(
    families: Callable[[str], Family],
    scheduler: str,
    images: int,
    cells: tuple[int, int],
    given: str,
) -> None:
    """Two encoders, pooled text, time ids of the picture's size, zeros where there is no negative
    prompt.
    """
    sdxl, start, options = families("sdxl"), noise(images, cells), dict(SDXL_RUNS[given])
    prompt, scale = options.pop("prompt", PROMPT), options["guidance_scale"]
    expected = by_diffusers(
        sdxl.pipe, "euler" if scheduler == "own" else scheduler, start, prompt, **options
    )
    trace = sv.trace(
        sdxl.model,
        prompt,
        negative_prompt=options.get("negative_prompt", ""),
        steps=STEPS,
        noise=start,
        images=images,
        guidance=CFG(scale) if scale > 1 else None,
        scheduler=None if scheduler == "own" else scheduler,
        size=(2 * cells[0], 2 * cells[1]),
        progress=False,
    )
    assert difference(trace.latents, expected) < BOUND


@pytest.mark.slow
def test_sdxl_that_encodes_the_empty_text_is_that_of_diffusers(
    families: Callable[[str], Family],
) -> None:
    """Fine-tunes whose pipeline does not force zeros."""
    pipe = build_sdxl(families("sdxl").folder / "words", force_zeros_for_empty_prompt=False)
    found = [
        by_diffusers(each, "ddim", noise(), guidance_scale=5.0)
        for each in (pipe, families("sdxl").pipe)
    ]
    trace = ours(sv.load(pipe), "ddim", noise(), Guidance((CFG(5.0),)))
    assert difference(trace.latents, found[0]) < BOUND
    assert difference(*found) > 100 * BOUND, "the choice must show"


def test_sdxl_draws_the_pictures_of_diffusers(families: Callable[[str], Family]) -> None:
    sdxl = families("sdxl")
    generators = [torch.Generator().manual_seed(7 + i) for i in range(2)]
    expected = sdxl.pipe(
        PROMPT,
        num_inference_steps=3,
        num_images_per_prompt=2,
        generator=generators,
        guidance_scale=4.0,
    ).images
    trace = sv.trace(
        sdxl.model, PROMPT, steps=3, seed=7, images=2, guidance=CFG(4.0), progress=False
    )
    for mine, theirs in zip(trace.images, expected, strict=True):
        assert np.abs(np.asarray(mine, int) - np.asarray(theirs, int)).max() <= 1


SEED = 7


@contextmanager
def our_noise() -> Iterator[None]:
    """diffusers' schedulers draw what ours draw: fresh noise of (seed of the image, step), where
    theirs follows one generator.
    """
    steps = count()

    def draw(shape: tuple[int, ...], **_: Any) -> Tensor:
        step = next(steps)
        return torch.stack(
            [
                torch.randn(shape[1:], generator=generator(SEED + row, step))
                for row in range(shape[0])
            ]
        )

    with pytest.MonkeyPatch.context() as patch:
        for kind in (DDPMScheduler, DDIMScheduler):
            patch.setattr(inspect.getmodule(kind), "randn_tensor", draw)
        yield


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(("scheduler", "eta"), [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 1.0)])
def test_pixels_are_those_of_diffusers(
    families: Callable[[str], Family], scheduler: str, eta: float, images: int
) -> None:
    """`DDPMPipeline` and `DDIMPipeline`, clipping and fresh noise and all, to the last picture."""
    pixels = families("pixels")
    starts = [torch.Generator().manual_seed(SEED + i) for i in range(images)]
    options: dict[str, Any] = {
        "num_inference_steps": STEPS,
        "batch_size": images,
        "generator": starts,
        "output_type": "np",
    }
    with our_noise():
        if scheduler == "ddim":
            expected = quiet(DDIMPipeline(**pixels.pipe.components))(eta=eta, **options).images
        else:
            expected = pixels.pipe(**options).images
    trace = sv.trace(
        pixels.model,
        steps=STEPS,
        seed=SEED,
        images=images,
        scheduler=None if scheduler == "ddpm" else scheduler,
        eta=eta,
        progress=False,
    )
    assert trace.settings.scheduler["clip_sample"]
    found = (trace.latents / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - expected).max() < BOUND
    assert 0.05 < (found * (1 - found)).mean(), "some pixels must lie inside the range"
    for mine, theirs in zip(trace.images, expected, strict=True):
        assert np.abs(np.asarray(mine, int) - 255 * theirs).max() <= 1
