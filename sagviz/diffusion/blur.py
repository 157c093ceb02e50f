"""The Gaussian blur of latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def kernel_size(sigma: float, kernel: int | None = None) -> int:
    """Taps of the blur: what was asked for, or 2 ceil(4 sigma) + 1, which is the paper's 9 at sigma
    = 1.
    """
    return 2 * math.ceil(4 * sigma) + 1 if kernel is None else kernel


def gaussian_blur(x: Tensor, sigma: float, kernel: int | None = None) -> Tensor:
    """Blur (B, C, H, W) with a Gaussian of `sigma` latent pixels, borders reflected; sigma = 0 is
    the identity.
    """
    taps = kernel_size(sigma, kernel)
    if sigma == 0 or taps == 1:
        return x
    half, channels = taps // 2, x.shape[1]
    offsets = torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = (weights / weights.sum()).expand(channels, 1, taps)
    padded = F.pad(x, (half,) * 4, mode="reflect")
    rows = F.conv2d(padded, weights[:, :, None, :], groups=channels)
    return F.conv2d(rows, weights[:, :, :, None], groups=channels)
