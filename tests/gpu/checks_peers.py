"""How fast beside diffusers: `compare`, and a grid of scales."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionSAGPipeline
from gpu.families import NAMES
from gpu.rows import Row, row
from gpu.stage import PROMPT, Stage
from tiny import NO_SAFETY, quiet

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.guidance import Guidance
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import prepare

SCALES = [(w, s) for w in (1.5, 3.0, 5.0, 7.5) for s in (0.25, 0.5, 0.75, 1.0)]


class Peers:
    """diffusers' two pipelines on the networks of a model."""

    def __init__(self, model: sv.Model, steps: int) -> None:
        names = ("unet", "vae", "text_encoder", "tokenizer")
        parts = {name: getattr(model, name) for name in names}
        parts["scheduler"] = copy.deepcopy(model.scheduler)  # theirs takes it to the GPU
        kinds = (StableDiffusionPipeline, StableDiffusionSAGPipeline)
        self.pipes = [quiet(kind(**parts, **NO_SAFETY)) for kind in kinds]
        height, width = model.default_size
        noise = torch.randn(
            1, *model.latent_shape((height, width)), generator=torch.Generator().manual_seed(7)
        )
        self.options = {
            "num_inference_steps": steps,
            "latents": noise.to(model.device, model.dtype),
            "height": height,
            "width": width,
        }

    def make(self, cfg: float, sag: float | None = None) -> Any:
        extra = {} if sag is None else {"sag_scale": sag}
        pipe = self.pipes[sag is not None]
        return pipe(PROMPT, guidance_scale=cfg, **self.options, **extra).images[0]


def beside_diffusers(stage: Stage) -> Iterator[Row]:
    """`compare` and a 4 x 4 grid of scales, beside diffusers in the same run."""
    model, steps = stage.miniature(), stage.choose(10, 1)
    yield from _grids(stage, model, steps, Peers(model, steps))
    yield _compare(stage, "miniature", stage.choose(20, 2))
    yield _compare(stage, "sd15", stage.choose(6, 2))


def _compare(stage: Stage, family: str, steps: int) -> Row:
    model = stage.model(family, torch.float32 if family == "miniature" else stage.short)
    peers = Peers(model, steps)
    ours, theirs = stage.medians(
        stage.choose(3, 1),
        lambda: sv.compare(model, PROMPT, cfg=3, sag=1, seed=7, steps=steps, progress=False),
        lambda: (peers.make(3.0), peers.make(3.0, 1.0)),
    )
    return _faster(stage, f"{NAMES[family]}: compare, {steps} steps", theirs, ours, 1.2)


def _grids(stage: Stage, model: sv.Model, steps: int, peers: Peers) -> Iterator[Row]:
    scales = SCALES if not stage.toy else SCALES[:2]
    guidances: list[Guidance] = [CFG(w) + SAG(s) for w, s in scales]

    def joint() -> object:
        runs = [prepare(model, PROMPT, guidance=g, steps=steps, seed=7) for g in guidances]
        return collect(runs, keep=steps)

    def sweep() -> object:
        return sv.sweep(
            model, PROMPT, seeds=7, steps=steps, guidance=list(guidances), progress=False
        )

    joined, swept, theirs = stage.medians(
        stage.choose(2, 1), joint, sweep, lambda: [peers.make(w, s) for w, s in scales]
    )
    size = f"{len(scales)} scales, {steps} steps"
    yield _faster(stage, f"miniature: {size}, traces in lockstep", theirs, joined, 2)
    yield _faster(stage, f"miniature: {size}, `sweep` with its measures", theirs, swept, 2)


def _faster(stage: Stage, what: str, theirs: float, ours: float, aim: float) -> Row:
    return row(
        f"{what}, beside diffusers' pipelines",
        f"{theirs / ours:.2f} x faster",
        f">= {aim}",
        None if stage.toy else theirs / ours >= aim,
        f"{1e3 * ours:,.0f} ms beside {1e3 * theirs:,.0f} ms",
        ratio=theirs / ours,
    )
