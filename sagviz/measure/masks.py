"""How two masks compare."""

from __future__ import annotations

from torch import Tensor


def iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two masks of 0 and 1, 0..1; NaN where both are empty."""
    either = (a.bool() | b.bool()).sum()
    return float((a.bool() & b.bool()).sum() / either) if either else float("nan")
