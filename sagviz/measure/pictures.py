"""Numbers about a picture: how sharp, how colourful, how contrasted it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sagviz.image import PictureLike, as_image

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def sharpness(picture: PictureLike) -> float:
    """Variance of the luma's Laplacian (4 neighbours, inner pixels), luma 0..1: larger is sharper.
    A flat picture has 0.

    Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy: a comparative study".
    It counts noise as sharpness and depends on the picture's size: compare pictures of one size.

    Example:
        >>> import sagviz as sv
        >>> from PIL import Image
        >>> sv.measure.sharpness(Image.new("RGB", (8, 8), "red"))
        0.0
    """
    y = _luma(picture)
    inner = y[1:-1, 1:-1]
    if not inner.size:
        return 0.0
    return float((y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * inner).var())


def saturation(picture: PictureLike) -> float:
    """Mean saturation of the hexcone model, (max - min) / max of a pixel's channels (Smith 1978), 0
    for black: 0 grey, 1 pure.

    Example:
        >>> import sagviz as sv
        >>> from PIL import Image
        >>> sv.measure.saturation(Image.new("RGB", (8, 8), "red"))
        1.0
    """
    pixels = _pixels(picture)
    high, low = pixels.max(axis=2), pixels.min(axis=2)
    return float(np.divide(high - low, high, out=np.zeros_like(high), where=high > 0).mean())


def contrast(picture: PictureLike) -> float:
    """RMS contrast: the standard deviation of the luma 0..1 (Peli 1990). At most 0.5, half black
    and half white.

    Example:
        >>> import sagviz as sv
        >>> from PIL import Image
        >>> sv.measure.contrast(Image.new("RGB", (8, 8), "red"))
        0.0
    """
    return float(_luma(picture).std())


def of_picture(picture: PictureLike) -> dict[str, float]:
    """All measures of a picture, by name.

    Example:
        >>> import sagviz as sv
        >>> from PIL import Image
        >>> sv.measure.of_picture(Image.new("RGB", (8, 8), "red"))
        {'sharpness': 0.0, 'saturation': 1.0, 'contrast': 0.0}
    """
    return {
        "sharpness": sharpness(picture),
        "saturation": saturation(picture),
        "contrast": contrast(picture),
    }


def _pixels(picture: PictureLike) -> NDArray[np.float64]:
    """(H, W, 3), 0..1."""
    return np.asarray(as_image(picture).convert("RGB")).astype(np.float64) / 255


def _luma(picture: PictureLike) -> NDArray[np.float64]:
    return _pixels(picture) @ LUMA
