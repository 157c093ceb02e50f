"""How two masks compare."""

from __future__ import annotations

from torch import Tensor


def iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two masks of 0 and 1, 0..1; NaN where both are empty.

    Example:
        >>> import sagviz as sv, torch
        >>> round(sv.measure.iou(torch.tensor([1, 1, 0]), torch.tensor([0, 1, 1])), 3)
        0.333
    """
    either = (a.bool() | b.bool()).sum()
    return float((a.bool() & b.bool()).sum() / either) if either else float("nan")
