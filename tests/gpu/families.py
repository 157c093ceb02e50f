"""Pipelines of random weights: of the published sizes, or tiny."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from known import TEXT, UNETS, VAE
from tiny import FAMILIES as TINY
from tiny import LOUDER, NO_SAFETY, build_scheduler, open_clip_tokenizer, quiet
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import sagviz as sv
from sagviz.mini.training.diffusion import build_tokenizer

TOKENS = 77
SD21_UNET: dict[str, Any] = {
    "sample_size": 96,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
    "upcast_attention": True,
}
SD21_TEXT: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "projection_dim": 512,
    "hidden_act": "gelu",
}
SDXL_TEXT_2: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
SDXL_VAE: dict[str, Any] = {**VAE, "sample_size": 1024, "scaling_factor": 0.13025}
NAMES = {"sd15": "SD 1.5", "sd21": "SD 2.1", "sdxl": "SDXL", "miniature": "miniature"}
TOYS = {"sd15": "sd1", "sd21": "sd2", "sdxl": "sdxl"}


def build(family: str, folder: Path, device: torch.device, toy: bool) -> Any:
    """A pipeline in float32 on the device; its random weights are made there."""
    if toy:
        return TINY[TOYS[family]](folder).to(device)
    torch.manual_seed(0)
    return {"sd15": _sd15, "sd21": _sd21, "sdxl": _sdxl}[family](folder, device)


def _sd15(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    tokenizer = _long(build_tokenizer(folder))
    with device:
        parts = {"unet": _unet(UNETS["sd15"]), "vae": AutoencoderKL(**VAE)}
        parts["text_encoder"] = CLIPTextModel(_text(tokenizer))
    return _plain(parts, tokenizer=tokenizer, scheduler=build_scheduler())


def _sd21(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    tokenizer = _long(open_clip_tokenizer(folder))
    with device:
        parts = {"unet": _unet(SD21_UNET), "vae": AutoencoderKL(**{**VAE, "sample_size": 768})}
        parts["text_encoder"] = CLIPTextModel(_text(tokenizer, **SD21_TEXT))
    return _plain(parts, tokenizer=tokenizer, scheduler=build_scheduler("v_prediction"))


def _plain(parts: dict[str, nn.Module], **others: Any) -> StableDiffusionPipeline:
    return quiet(StableDiffusionPipeline(**_still(parts), **others, **NO_SAFETY))


def _sdxl(folder: Path, device: torch.device) -> StableDiffusionXLPipeline:
    one, two = build_tokenizer(folder / "one"), open_clip_tokenizer(folder / "two")
    with device:
        parts: dict[str, nn.Module] = {
            "unet": _unet(UNETS["sdxl"]),
            "vae": AutoencoderKL(**SDXL_VAE, force_upcast=True),
            "text_encoder": CLIPTextModel(_text(_long(one))),
            "text_encoder_2": CLIPTextModelWithProjection(_text(_long(two), **SDXL_TEXT_2)),
        }
    known = build_scheduler().config
    return quiet(
        StableDiffusionXLPipeline(
            **_still(parts),
            tokenizer=one,
            tokenizer_2=two,
            scheduler=EulerDiscreteScheduler.from_config(known, timestep_spacing="leading"),
            add_watermarker=False,
        )
    )


def _unet(config: dict[str, Any]) -> UNet2DConditionModel:
    """With attention that differs from place to place, as `tiny.LOUDER` says."""
    unet = UNet2DConditionModel(**config).requires_grad_(False)
    for name, parameter in unet.named_parameters():
        parameter.mul_(next((factor for part, factor in LOUDER.items() if part in name), 1.0))
    return unet


def _text(tokenizer: Any, **changes: Any) -> CLIPTextConfig:
    """The tests' tokenizer has fewer words than the encoder knows."""
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos")}
    return CLIPTextConfig(**{**TEXT, **ids, "pad_token_id": tokenizer.pad_token_id, **changes})


def _long(tokenizer: Any) -> Any:
    tokenizer.model_max_length = TOKENS
    return tokenizer


def _still(parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    return {name: part.eval().requires_grad_(False) for name, part in parts.items()}


def twin(model: sv.Model, device: str = "cpu") -> sv.Model:
    """A copy of a model with the same weights, elsewhere."""
    parts = {name: copy.deepcopy(getattr(model, name)) for name in model.PARTS}
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.to(device)
    return type(model)(model.name, config=model.config, **parts)
