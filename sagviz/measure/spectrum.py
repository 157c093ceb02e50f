"""How a latent's power is spread over coarse and fine."""

from __future__ import annotations

import torch
from torch import Tensor

from sagviz.checks import check_whole
from sagviz.measure.given import Numbers, as_numbers


def spectrum(x: Numbers, rings: int = 8) -> list[float]:
    """Power by frequency, coarse first, relative to the mean over all frequencies: white noise has
    1 throughout.

    Args:
        x: latents (B, C, H, W); the mean over images and channels is taken.
        rings: as many equal parts of 0 (the mean is in the first) to 0.5 cycles a cell; NaN where
            a latent is too small to have a frequency in one.

    Example:
        >>> import sagviz as sv, torch
        >>> [round(power, 2) for power in sv.measure.spectrum(torch.ones(1, 4, 16, 16), rings=4)]
        [19.69, 0.0, 0.0, 0.0]
    """
    rings = check_whole("rings", rings, 1, 4096)
    power, radius = _power(x)
    ring = (radius * rings).ceil().clamp(min=1) - 1
    relative = power / power.mean()
    return [float(relative[ring == number].mean()) for number in range(rings)]


def fine_share(x: Numbers) -> float:
    """Share of the power that is above 0.25 cycles a cell, half of what a row can hold; of white
    noise it is about 0.8.

    Example:
        >>> import sagviz as sv, torch
        >>> board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 - 0.5
        >>> sv.measure.fine_share(board[None, None])
        1.0
    """
    power, radius = _power(x)
    return float(power[radius > 0.5].sum() / power.sum())


def _power(x: Numbers) -> tuple[Tensor, Tensor]:
    """Power at each frequency, (H, W), and how far that is from 0, where 1 is 0.5 cycles a cell."""
    latents = as_numbers("x", x, "latents (B, C, H, W)", dims=4).cpu()
    rows, columns = (
        torch.fft.fftfreq(side, 0.5, dtype=torch.float64) for side in latents.shape[2:]
    )
    power = torch.fft.fft2(latents).abs().square().mean(dim=(0, 1))
    return power, torch.hypot(rows[:, None], columns)
