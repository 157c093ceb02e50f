"""The miniature's VAE: 64 x 64 x 3 pixels to 16 x 16 x 4 latents of zero mean and unit variance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from sagviz.mini.fit import Plan, fit

CROP = 32  # pixels on a side of a training crop
KL_WEIGHT = 5e-4  # of the mean KL divergence of one latent number


def build() -> AutoencoderKL:
    """An untrained VAE of 0.65 M parameters, Stable Diffusion's class."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
        scaling_factor=1.0,
    ).to(memory_format=torch.channels_last)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def detailed_crops(scenes: np.ndarray, rng: np.random.Generator, count: int = 32) -> np.ndarray:
    """Crops of random scenes, each the most detailed of three: flat background teaches nothing."""
    crops = []
    for index in rng.integers(len(scenes), size=count):
        places = rng.integers(0, scenes.shape[1] - CROP + 1, size=(3, 2))
        three = [scenes[index, y : y + CROP, x : x + CROP] for y, x in places]
        crops.append(max(three, key=lambda crop: np.abs(np.diff(crop.astype(np.int16), axis=1)).sum()))
    return np.stack(crops)


def slope_loss(a: Tensor, b: Tensor) -> Tensor:
    """L1 of horizontal and vertical differences: what keeps edges sharp."""
    across = F.l1_loss(a.diff(dim=3), b.diff(dim=3))
    return across + F.l1_loss(a.diff(dim=2), b.diff(dim=2))


def psnr(vae: AutoencoderKL, scenes: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of reconstructions, from the mean squared error over all scenes."""
    errors = []
    with torch.no_grad():
        for start in range(0, len(scenes), 64):
            images = to_tensor(scenes[start : start + 64])
            decoded = vae.decode(vae.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
            errors.append(((decoded - images) / 2).square().mean(dim=(1, 2, 3)))
    return float(-10 * torch.cat(errors).mean().log10())


def standardize(vae: AutoencoderKL, scenes: np.ndarray) -> None:
    """Fold mean and spread of the latents into the two 1 x 1 convolutions: same pictures, latents N(0, 1) a channel."""
    with torch.no_grad():
        latents = torch.cat([vae.encode(to_tensor(part)).latent_dist.mode() for part in np.array_split(scenes, 16)])
        mean, spread = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        quant, post = vae.quant_conv, vae.post_quant_conv
        channels = len(mean)
        quant.weight[:channels] /= spread[:, None, None, None]
        quant.bias[:channels] = (quant.bias[:channels] - mean) / spread
        quant.bias[channels:] -= 2 * spread.log()  # the log-variances belong to the new units
        post.bias += post.weight[:, :, 0, 0] @ mean
        post.weight *= spread[None, :, None, None]


def train(scenes: np.ndarray, held_out: np.ndarray, plan: Plan, checkpoint: Path) -> AutoencoderKL:
    """L1 + slopes + KL on detailed crops; returns the VAE with standardized latents."""
    torch.manual_seed(0)
    vae = build()

    def loss_at(rng: np.random.Generator) -> Tensor:
        images = to_tensor(detailed_crops(scenes, rng)).contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return F.l1_loss(decoded, images) + slope_loss(decoded, images) + KL_WEIGHT * divergence

    trained = fit(vae, loss_at, plan, checkpoint, measure=lambda module: {"psnr": psnr(module, held_out[:128])})
    standardize(trained, scenes[:2048])
    return trained


def encode(vae: AutoencoderKL, scenes: np.ndarray) -> Tensor:
    """Latents (N, 4, 16, 16) of all scenes, float16."""
    with torch.no_grad():
        parts = [vae.encode(to_tensor(scenes[i : i + 128])).latent_dist.mode() for i in range(0, len(scenes), 128)]
    return torch.cat(parts).half()
