"""The Gaussian blur of latents."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.diffusion.precision import exact


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
    weights = _weights(sigma, taps, x.device, x.dtype).expand(channels, 1, taps)
    padded = F.pad(x, (half,) * 4, mode="reflect")
    with exact(x.device):
        rows = F.conv2d(padded, weights[:, :, None, :], groups=channels)
        return F.conv2d(rows, weights[:, :, :, None], groups=channels)


@lru_cache(maxsize=64)
def _weights(sigma: float, taps: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The taps of the blur, which sum to 1. A run needs them in every step."""
    offsets = torch.arange(-(taps // 2), taps // 2 + 1, device=device, dtype=dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()
