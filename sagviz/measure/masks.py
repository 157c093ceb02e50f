"""How two masks compare, and masks to compare with: of equal area, elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor


def iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two masks of 0 and 1, 0..1; NaN where both are empty."""
    either = (a.bool() | b.bool()).sum()
    return float((a.bool() & b.bool()).sum() / either) if either else float("nan")


def shuffled(mask: Tensor, seed: int = 0) -> Tensor:
    """As many cells as the mask (H, W) has, anywhere; the same seed gives the same ones."""
    order = torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(seed))
    return mask.flatten()[order].reshape(mask.shape)


def least(values: Tensor, mask: Tensor) -> Tensor:
    """As many cells as the mask (H, W) has, those with the lowest values (H, W): the mask turned round, its area kept."""
    lowest = values.flatten().argsort(stable=True)[: int(mask.sum())]
    return torch.zeros(mask.numel()).index_fill(0, lowest, 1.0).reshape(mask.shape)
