"""What SAG takes away from a prediction: a Gaussian blur where the attention is high (eqs. 15 and before, arXiv 2210.00939v6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def kernel_size(sigma: float, kernel: int | None = None) -> int:
    """Taps of the blur: what was asked for, or 2 ceil(4 sigma) + 1, which is the paper's 9 at sigma = 1."""
    return 2 * math.ceil(4 * sigma) + 1 if kernel is None else kernel


def gaussian_blur(x: Tensor, sigma: float, kernel: int | None = None) -> Tensor:
    """Blur (B, C, H, W) with a Gaussian of `sigma` latent pixels, borders reflected; sigma = 0 is the identity."""
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


def attended(attention: Tensor, threshold: float, size: tuple[int, int]) -> Tensor:
    """Mask M_t = 1(A_t > psi): attention (B, h, w) to 0 and 1, (B, 1, H, W), nearest-upsampled to `size`."""
    return F.interpolate((attention > threshold).to(attention.dtype)[:, None], size)


def degrade(x_t: Tensor, noisy_blur: Tensor, mask: Tensor) -> Tensor:
    """x^_t = (1 - M) x_t + M x~_t (eq. 15). `where`, not a sum, so that it is x_t to the bit outside the mask."""
    return torch.where(mask > 0, noisy_blur, x_t)
