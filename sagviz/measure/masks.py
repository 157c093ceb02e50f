"""How two masks compare."""

from __future__ import annotations

from sagviz.errors import ArgumentError
from sagviz.image import MaskLike, as_mask


def iou(a: MaskLike, b: MaskLike) -> float:
    """Intersection over union of two masks of 0 and 1, 0..1; NaN where both are empty.

    Raises:
        ArgumentError: they are no masks, or of two shapes.

    Example:
        >>> import sagviz as sv, torch
        >>> round(sv.measure.iou(torch.tensor([1, 1, 0]), torch.tensor([0, 1, 1])), 3)
        0.333
    """
    first, second = as_mask(a).bool(), as_mask(b).bool()
    if first.shape != second.shape:
        raise ArgumentError(
            f"the masks are {tuple(first.shape)} and {tuple(second.shape)}; give two of one shape"
        )
    either = (first | second).sum()
    return float((first & second).sum() / either) if either else float("nan")
