"""How far our latents are from those of diffusers' own pipelines, on tiny networks of random
weights: the largest difference of a number over the RMS of all, at the end of a run from one noise.

Over sizes, batches, predictions and settings the same comparisons are tests that pass or fail:
`tests/sampling/test_oracle.py`, `tests/models/test_transformers.py`. Here is how close it is.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.bounds import bounded
from diffusers import (
    PixArtSigmaPAGPipeline,
    StableDiffusion3PAGPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionSAGPipeline,
)
from diffusers.utils import logging
from evidence import Line, record
from oracles import (
    INTEGER_TIMES,
    SCHEDULERS,
    by_diffusers,
    norm_of_qwen_left_out,
    ours,
    transformer_by_diffusers,
)
from tiny import build_pipe, build_sd2, build_sdxl, difference, noise, quiet
from tiny_transformers import TRANSFORMERS, build_pixart, build_sd3, prompt_of
from torch import Tensor

import sagviz as sv
from sagviz import CFG, PAG, SAG, SLG, Rescale
from sagviz.attention.layers import middle_block
from sagviz.guidance import Guidance

Pair = tuple[Tensor, Tensor]  # ours, diffusers'


def line(what: str, pairs: Iterable[Pair]) -> Line:
    """The largest difference of several runs."""
    apart = [difference(*pair) for pair in pairs]
    runs = f"{len(apart)} run{'s' * (len(apart) > 1)}"
    claim = f"{what}, difference from diffusers' pipeline"
    return bounded(claim, max(apart), "<= 1e-5", f"{max(apart):.1e} ({runs})")


def of(pipe: Any, kind: Any, **options: Any) -> Any:
    """Another pipeline of diffusers on the same networks."""
    known = inspect.signature(kind).parameters
    parts = {name: part for name, part in pipe.components.items() if name in known}
    return quiet(kind(**parts, **options))


def unets(folder: Path) -> Iterable[Line]:
    """Stable Diffusion 1.x, 2.x and XL."""
    start, pipe = noise(2, (16, 24), seed=3), build_pipe(folder / "sd1")
    model, both = sv.load(pipe), CFG(7.5) + SAG(1.0)

    def same(
        schedulers: Iterable[str], oracle: Any, guidance: Any, **scales: Any
    ) -> Iterable[Pair]:
        for name in schedulers:
            theirs = by_diffusers(oracle, name, start, **scales)
            yield ours(model, name, start, guidance).latents, theirs

    yield line("SD 1.x, CFG", same(SCHEDULERS, pipe, CFG(7.5), guidance_scale=7.5))
    sag = of(pipe, StableDiffusionSAGPipeline, requires_safety_checker=False)
    scales = {"guidance_scale": 7.5, "sag_scale": 1.0}
    yield line("SD 1.x, CFG + SAG", same(INTEGER_TIMES, sag, both, **scales))
    pag = of(
        pipe, StableDiffusionPAGPipeline, requires_safety_checker=False, pag_applied_layers=["mid"]
    )
    scales = {"guidance_scale": 4.0, "pag_scale": 2.5}
    yield line("SD 1.x, CFG + PAG", same(SCHEDULERS, pag, CFG(4.0) + PAG(2.5), **scales))
    scales = {"guidance_scale": 9.0, "guidance_rescale": 0.7}
    yield line("SD 1.x, CFG + Rescale", same(SCHEDULERS, pipe, CFG(9.0) + Rescale(0.7), **scales))
    for title, build in (("SD 2.x, v-prediction", build_sd2), ("SDXL", build_sdxl)):
        pipe = build(folder / title)
        model = sv.load(pipe)
        yield line(f"{title}, CFG", same(SCHEDULERS, pipe, CFG(7.5), guidance_scale=7.5))


def transformers(folder: Path) -> Iterable[Line]:
    """Each family's own pipeline, and the guidance that diffusers has for two of them."""
    for name, build in TRANSFORMERS.items():
        pipe = build(folder / name)
        yield line(f"{name}, CFG", [_transformer(name, pipe, pipe, CFG(4.0))])
    plain_sd3 = partial(build_sd3, qk_norm=None, dual_attention_layers=())
    kinds: tuple[tuple[str, Any, Callable[..., Any]], ...] = (
        ("pixart", PixArtSigmaPAGPipeline, build_pixart),
        ("sd3", StableDiffusion3PAGPipeline, plain_sd3),
    )
    for name, kind, build in kinds:
        pipe = build(folder / f"{name}-pag")
        block = middle_block(pipe.transformer).removeprefix("transformer_")
        oracle = of(pipe, kind, pag_applied_layers=block)
        pair = _transformer(name, pipe, oracle, CFG(4.0) + PAG(2.5), pag_scale=2.5)
        yield line(f"{name}, CFG + PAG", [pair])
    pipe = build_sd3(folder / "sd3-slg")
    skipped = {"skip_guidance_layers": [1], "skip_layer_guidance_scale": 1.5}
    given = {"skip_layer_guidance_start": 0.3, "skip_layer_guidance_stop": 1.0, **skipped}
    slg = SLG(1.5, layers=("transformer_blocks.1",), start=0.3)
    yield line("sd3, CFG + SLG", [_transformer("sd3", pipe, pipe, CFG(4.0) + slg, **given)])


def _transformer(name: str, pipe: Any, oracle: Any, guidance: Guidance | CFG, **given: Any) -> Pair:
    model = sv.load(pipe)
    channels, height, width = model.latent_shape((32, 32))
    start = noise(1, (height, width), 0, channels)
    with norm_of_qwen_left_out(name):
        theirs = transformer_by_diffusers(name, oracle, start, 4.0, (32, 32), **given)
    made = sv.trace(
        model, prompt_of(name), guidance=guidance, steps=3, seed=0, size=(32, 32), progress=False
    )
    return made.latents, theirs


def main() -> None:
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lines = [*unets(folder), *transformers(folder)]
    record("Right: beside diffusers", "make parity", lines)


if __name__ == "__main__":
    main()
