"""The miniature's VAE: 64 x 64 x 3 pixels to 16 x 16 x 4 latents of zero mean and unit variance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.mini.training.fit import Plan, fit

KL_WEIGHT = 3e-4  # of the mean KL divergence of one latent number
SQUARE_WEIGHT = 20.0  # of the mean squared error, beside L1 of pixels and of slopes
LATENT_NOISE = 0.02  # on latents that the decoder alone is trained on: generated ones are not exact
BATCH = 8


def build() -> AutoencoderKL:
    """An untrained VAE of 1.45 M parameters, Stable Diffusion's class."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 96),
        layers_per_block=1,
        norm_num_groups=12,
        mid_block_add_attention=False,
        sample_size=64,
        scaling_factor=1.0,
    ).to(memory_format=torch.channels_last)


@torch.no_grad()
def start_from(vae: AutoencoderKL, folder: Path) -> None:
    """Take over the weights of an earlier model's VAE: same pictures, same latents.

    A narrower one becomes the first channels of this one, which do not read the new channels yet.
    The encoder has no use for new channels, since its latents are to stay: they are zero there.
    """
    earlier = AutoencoderKL.from_pretrained(
        folder, subfolder="vae", dtype=torch.float32
    ).state_dict()
    for name, numbers in vae.state_dict().items():
        known = earlier[name]
        if numbers.dim() == 4:
            numbers[: len(known), known.shape[1] :] = 0
        if name.startswith("encoder"):
            numbers[len(known) :] = 0
        numbers[tuple(map(slice, known.shape))] = known


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def slope_loss(a: Tensor, b: Tensor) -> Tensor:
    """L1 of horizontal and vertical differences: what keeps edges sharp."""
    across = F.l1_loss(a.diff(dim=3), b.diff(dim=3))
    return across + F.l1_loss(a.diff(dim=2), b.diff(dim=2))


def picture_loss(decoded: Tensor, images: Tensor) -> Tensor:
    """L1 of pixels and of slopes, and squares, which the PSNR is made of."""
    return (
        F.l1_loss(decoded, images)
        + slope_loss(decoded, images)
        + SQUARE_WEIGHT * F.mse_loss(decoded, images)
    )


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, scenes: np.ndarray) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] as they come back from the latent space; `scenes` uint8 (N,
    H, W, 3).
    """
    parts = [
        vae.decode(vae.encode(to_tensor(scenes[i : i + 64])).latent_dist.mode()).sample
        for i in range(0, len(scenes), 64)
    ]
    return torch.cat(parts).clamp(-1, 1)


def squared_errors(vae: AutoencoderKL, scenes: np.ndarray) -> Tensor:
    """Mean squared error of each reconstruction, (N,), where pixels go from 0 to 1."""
    return ((reconstruct(vae, scenes) - to_tensor(scenes)) / 2).square().mean(dim=(1, 2, 3))


def to_psnr(errors: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of the mean of squared errors."""
    return float(-10 * errors.mean().log10())


def standardize(vae: AutoencoderKL, scenes: np.ndarray) -> None:
    """Fold mean and spread of the latents into the two 1 x 1 convolutions: same pictures, latents
    N(0, 1) a channel.
    """
    with torch.no_grad():
        latents = torch.cat(
            [vae.encode(to_tensor(part)).latent_dist.mode() for part in np.array_split(scenes, 16)]
        )
        mean, spread = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        quant, post = vae.quant_conv, vae.post_quant_conv
        channels = len(mean)
        quant.weight[:channels] /= spread[:, None, None, None]
        quant.bias[:channels] = (quant.bias[:channels] - mean) / spread
        quant.bias[channels:] -= 2 * spread.log()  # the log-variances belong to the new units
        post.bias += post.weight[:, :, 0, 0] @ mean
        post.weight *= spread[None, :, None, None]


def train(
    vae: AutoencoderKL, scenes: np.ndarray, held_out: np.ndarray, plan: Plan, checkpoint: Path
) -> AutoencoderKL:
    """L1, slopes, squares and KL on whole pictures; returns the VAE with standardized latents.

    Whole pictures, since the group norms see other statistics in a crop than in the picture that it
    is cut from.
    """

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = scenes[np.sort(rng.integers(len(scenes), size=BATCH))]
        images = to_tensor(chosen).contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return picture_loss(decoded, images) + KL_WEIGHT * divergence

    trained = fit(
        vae,
        loss_at,
        plan,
        checkpoint,
        measure=lambda module: {"psnr": to_psnr(squared_errors(module, held_out[:128]))},
    )
    standardize(trained, scenes[:2048])
    return trained


def train_decoder(
    vae: AutoencoderKL,
    latents: Tensor,
    scenes: np.ndarray,
    held_out: np.ndarray,
    plan: Plan,
    checkpoint: Path,
) -> AutoencoderKL:
    """Train the decoder on: the latents (N, 4, 16, 16) of the scenes stay as they are, so that a
    denoiser of them stays valid.
    """
    decoder = nn.Sequential(vae.post_quant_conv, vae.decoder)

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = np.sort(rng.integers(len(scenes), size=BATCH))
        x_0 = latents[torch.from_numpy(chosen)].float()
        decoded = decoder(
            (x_0 + LATENT_NOISE * torch.randn_like(x_0)).contiguous(
                memory_format=torch.channels_last
            )
        ).float()
        return picture_loss(decoded, to_tensor(scenes[chosen]))

    fit(
        decoder,
        loss_at,
        plan,
        checkpoint,
        measure=lambda _: {"psnr": to_psnr(squared_errors(vae, held_out[:128]))},
    )
    return vae


def encode(vae: AutoencoderKL, scenes: np.ndarray) -> Tensor:
    """Latents (N, 4, 16, 16) of all scenes, float16."""
    with torch.no_grad():
        parts = [
            vae.encode(to_tensor(scenes[i : i + 128])).latent_dist.mode()
            for i in range(0, len(scenes), 128)
        ]
    return torch.cat(parts).half()
