"""Families with a transformer: diffusers' own pipelines are the oracles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Family
from pairs import pairs
from tiny import difference, noise
from tiny_transformers import TRANSFORMERS
from torch import Tensor

import sagviz as sv
from sagviz import CFG
from sagviz.guidance import Guidance

Open = Callable[[str], Family]
BOUND = 1e-5
PROMPTS = {"dit": "fox"}  # a class; all others read a text
OPTIONS: dict[str, dict[str, Any]] = {  # of a pipeline's call
    "pixart": {"use_resolution_binning": False},
    "pixart_alpha": {"use_resolution_binning": False},
}
SIZES = {"dit": [(32, 32)]}  # its pipeline knows no other


def prompt_of(name: str) -> str:
    return PROMPTS.get(name, "a Fox on blue")


def by_diffusers(
    name: str, pipe: Any, start: Tensor, scale: float, size: tuple[int, int], **given: Any
) -> Tensor:
    """The latents that the family's pipeline ends with."""
    images, steps = len(start), 3
    if name == "dit":
        seen: list[Tensor] = []
        decode = pipe.vae.decode
        pipe.vae.decode = lambda z, **_: seen.append(z) or decode(z)
        seeds = [torch.Generator().manual_seed(seed) for seed in range(images)]
        pipe([2] * images, guidance_scale=scale, generator=seeds, num_inference_steps=steps)
        pipe.vae.decode = decode
        return seen[0] * pipe.vae.config.scaling_factor
    options = {**OPTIONS.get(name, {}), **given}
    made = pipe(
        prompt_of(name),
        latents=start,
        guidance_scale=scale,
        num_images_per_prompt=images,
        num_inference_steps=steps,
        height=size[0],
        width=size[1],
        output_type="latent",
        **options,
    )
    return made.images


CASES = [
    (name, *settings)
    for name in TRANSFORMERS
    for settings in pairs([1.0, 4.0], [1, 2], SIZES.get(name, [(32, 32), (32, 48)]))
]


@pytest.mark.parametrize(("name", "scale", "images", "size"), CASES, ids=str)
def test_a_run_is_that_of_diffusers(
    families: Open, name: str, scale: float, images: int, size: tuple[int, int]
) -> None:
    """With CFG and without, at two sizes; the calls and the rows are counted."""
    family = families(name)
    channels, *cells = family.model.latent_shape(size)
    start = torch.cat([noise(1, tuple(cells), seed, channels) for seed in range(images)])
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
