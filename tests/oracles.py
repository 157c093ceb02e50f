"""diffusers' own pipelines as oracles: the last latents of a run from a given noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from tiny_transformers import prompt_of
from torch import Tensor

import sagviz as sv
from sagviz.guidance import Guidance
from sagviz.models.transformer import packed, unpacked

PROMPT = "a fox on a blue background"
STEPS = 6
BOUND = 1e-5
INTEGER_TIMES: dict[
    str, tuple[Any, dict[str, Any]]
] = {  # the schedulers that diffusers' SAG accepts
    "ddim": (DDIMScheduler, {}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
    "dpm++ 2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "deis": (DEISMultistepScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
}
SCHEDULERS = {
    **INTEGER_TIMES,
    "dpm++ 2m karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "euler": (EulerDiscreteScheduler, {}),
    "lms": (LMSDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "kdpm2": (KDPM2DiscreteScheduler, {}),
}
OPTIONS: dict[str, dict[str, Any]] = {  # of a pipeline's call
    "pixart": {"use_resolution_binning": False},
    "pixart_alpha": {"use_resolution_binning": False},
}
PACKED = ("flux", "qwen")  # whose pipelines hold a latent as tokens


def by_diffusers(
    pipe: Any, scheduler: str, start: Tensor, prompt: str = PROMPT, **scales: Any
) -> Tensor:
    """The last latents of diffusers' pipeline."""
    kind, options = SCHEDULERS[scheduler]
    images, _, height, width = start.shape
    own = pipe.scheduler
    pipe.scheduler = kind.from_config(own.config, **options)
    try:
        return pipe(
            prompt,
            num_inference_steps=STEPS,
            num_images_per_prompt=images,
            latents=start,
            height=2 * height,
            width=2 * width,
            output_type="latent",
            **scales,
        ).images
    finally:
        pipe.scheduler = own


def ours(
    model: sv.Model, scheduler: str, start: Tensor, guidance: Guidance | None, prompt: str = PROMPT
) -> sv.Trace:
    images, _, height, width = start.shape
    return sv.trace(
        model,
        prompt,
        steps=STEPS,
        guidance=guidance,
        scheduler=scheduler,
        noise=start,
        images=images,
        size=(2 * height, 2 * width),
        progress=False,
    )


def transformer_by_diffusers(
    name: str, pipe: Any, start: Tensor, scale: float, size: tuple[int, int], **given: Any
) -> Tensor:
    """The latents that the family's pipeline ends with."""
    images, steps = len(start), 3
    if name == "dit":
        seen: list[Tensor] = []
        decode = pipe.vae.decode

        def watched(z: Tensor, **_: Any) -> Any:
            seen.append(z)
            return decode(z)

        pipe.vae.decode = watched
        seeds = [torch.Generator().manual_seed(seed) for seed in range(images)]
        pipe([2] * images, guidance_scale=scale, generator=seeds, num_inference_steps=steps)
        pipe.vae.decode = decode
        return seen[0] * pipe.vae.config.scaling_factor
    options = {**OPTIONS.get(name, {}), **given}
    if name == "qwen":
        options |= {"true_cfg_scale": scale, "negative_prompt": ""}
    elif name == "flux":  # its own guidance is embedded: CFG is "true" and wants a negative prompt
        options |= {"true_cfg_scale": scale, "negative_prompt": "", "guidance_scale": 3.5}
    else:  # Z-Image adds its scale to 1, and rounds sides to 16 pixels of an eightfold autoencoder
        options["guidance_scale"] = scale - (name == "z_image")
    made = pipe(
        prompt_of(name),
        latents=packed(start) if name in PACKED else start,
        num_images_per_prompt=images,
        num_inference_steps=steps,
        height=size[0],
        width=size[1],
        output_type="latent",
        **options,
    )
    grid = (start.shape[2] // 2, start.shape[3] // 2)
    return unpacked(made.images, grid) if name in PACKED else made.images


@contextmanager
def norm_of_qwen_left_out(name: str) -> Iterator[None]:
    """Qwen-Image's pipeline gives CFG's result the length of a plain prediction; not so here."""
    if name == "qwen":
        with patch.object(torch, "norm", lambda x, **_: torch.ones_like(x[..., :1])):
            yield
    else:
        yield
