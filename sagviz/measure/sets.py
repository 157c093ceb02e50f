"""Numbers about two sets of pictures, given as features (N, D) of any network: how far apart, how
good, how complete.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sagviz.checks import check_whole, shown
from sagviz.errors import ArgumentError

BLOCK = 1024  # rows at a time, so that no N x N matrix of distances is held


class PrecisionRecall(NamedTuple):
    """`precision`: the share of made pictures that look like real ones; `recall`: of real ones that
    could have been made.

    Example:
        >>> import sagviz as sv
        >>> sv.measure.PrecisionRecall(precision=0.9, recall=0.6).recall
        0.6
    """

    precision: float
    recall: float


def frechet(real: object, made: object) -> float:
    r"""Fréchet distance of two sets of features taken as Gaussians (Heusel et al. 2017, arXiv
    1706.08500; with Inception's: FID).

    :math:`|\mu_1 - \mu_2|^2 + \mathrm{tr}(C_1 + C_2 - 2 (C_1 C_2)^{1/2})`, in float64. The trace of
    the root is that of :math:`(C_1^{1/2} C_2 C_1^{1/2})^{1/2}`, which is symmetric, so that
    rounding cannot make it complex. Few samples make the distance too large: compare only distances
    of equal N, and give N well above D.

    Args:
        real: (N, D), array or tensor, N >= 2.
        made: (M, D).

    Raises:
        ArgumentError: the features are not of that shape, or not finite.

    Example:
        >>> import sagviz as sv, torch
        >>> features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> round(sv.measure.frechet(features, features + 1), 6)  # 1 in each of 4 directions
        4.0
    """
    (mean_1, cov_1), (mean_2, cov_2) = (
        _gaussian(features.numpy()) for features in _pair(real, made, 2)
    )
    values, vectors = np.linalg.eigh(cov_1)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root @ cov_2 @ root).clip(0)).sum()
    distance = (
        np.square(mean_1 - mean_2).sum() + np.trace(cov_1) + np.trace(cov_2) - 2 * trace_of_root
    )
    return max(0.0, float(distance))  # equal sets may fall below zero by rounding


def precision_recall(real: object, made: object, k: int = 3) -> PrecisionRecall:
    """Precision and recall by k-nearest-neighbour manifolds (Kynkäänniemi et al. 2019, arXiv
    1904.06991).

    A set's manifold is the union of balls around its members, each reaching to its k-th nearest
    neighbour in the set. Precision is the share of `made` inside the manifold of `real`, recall the
    reverse.

    Args:
        real: features (N, D), array or tensor, N > k.
        made: features (M, D), M > k.
        k: the paper's 3.

    Raises:
        ArgumentError: the features are not of that shape, or not finite.

    Example:
        >>> import sagviz as sv, torch
        >>> features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> sv.measure.precision_recall(features, features[:50])
        PrecisionRecall(precision=1.0, recall=0.93)
    """
    k = check_whole("k, the number of neighbours", k, 1, 2**31)
    first, second = _pair(real, made, k + 1)
    return PrecisionRecall(_inside(second, first, k), _inside(first, second, k))


def _inside(points: Tensor, members: Tensor, k: int) -> float:
    """Share of the points that lie in a ball around some member."""
    # The nearest neighbour of a member is itself, at distance 0, hence k + 1.
    radii = torch.cat(
        [_distances(block, members).kthvalue(k + 1, dim=1).values for block in members.split(BLOCK)]
    )
    hits = sum(
        int((_distances(block, members) <= radii).any(dim=1).sum()) for block in points.split(BLOCK)
    )
    return hits / len(points)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Exact Euclidean distances: through a matrix product equal points would lie apart."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _gaussian(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (D,) and covariance (D, D), without bias."""
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def _numbers(name: str, features: object) -> Tensor:
    try:
        return torch.as_tensor(features).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{name} is {shown(features)}; give features (N, D), an array or a tensor"
        ) from error


def _pair(real: object, made: object, least: int) -> tuple[Tensor, Tensor]:
    """Both sets as float64 on the CPU."""
    first, second = _numbers("real", real), _numbers("made", made)
    for name, features in (("real", first), ("made", second)):
        if features.ndim != 2 or len(features) < least:
            raise ArgumentError(
                f"{name} has the shape {tuple(features.shape)}; give features (N, D) of N >="
                f" {least} pictures"
            )
        if not bool(features.isfinite().all()):
            raise ArgumentError(
                f"{name} holds numbers that are not finite; leave those pictures out"
            )
    if first.shape[1] != second.shape[1]:
        raise ArgumentError(
            f"real has {first.shape[1]} features and made {second.shape[1]}; take both from one"
            " network"
        )
    return first, second
