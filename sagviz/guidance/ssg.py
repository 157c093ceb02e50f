"""SSG: away from what the network predicts when its least similar tokens change places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.attention.perturb import Perturbation
from sagviz.attention.perturb_blocks import PerturbedTokens
from sagviz.checks import check_number
from sagviz.diffusion.precision import exact
from sagviz.guidance.perturbed import Perturbed
from sagviz.guidance.views import StepView


@dataclass(frozen=True)
class SwappedTokens(PerturbedTokens):
    """The least similar tokens swapped, and then the least similar channels."""

    ratio: float

    def changed(self, tokens: Tensor, place: int) -> Tensor:
        del place
        return swapped(swapped(tokens, self.ratio).mT, self.ratio).mT


def swapped(vectors: Tensor, ratio: float) -> Tensor:
    """Vectors (B, T, d), of which pairs with the least cosine have changed places.

    Of the floor(ratio T) least similar pairs those change whose members are still where they were,
    the least similar first, so that nothing is lost or doubled.
    """
    count = int(ratio * vectors.shape[1])
    with exact(vectors.device):
        unit = F.normalize(vectors.float(), dim=2)
        similar = unit @ unit.mT
    above = torch.ones_like(similar[0], dtype=torch.bool).triu(1)  # each pair once
    least = similar.masked_fill(~above, torch.inf).flatten(1).topk(count, largest=False).indices
    orders = [_order(row, vectors.shape[1]) for row in least.tolist()]
    return torch.stack([own[order] for own, order in zip(vectors, orders, strict=True)])


def _order(pairs: list[int], size: int) -> list[int]:
    """Where each vector comes from, for pairs written as row * size + column."""
    order = list(range(size))
    for first, second in (divmod(pair, size) for pair in pairs):
        if order[first] == first and order[second] == second:
            order[first], order[second] = second, first
    return order


@dataclass(frozen=True, repr=False)
class SSG(Perturbed):
    r"""Self-swap guidance (Zhang et al. 2026, arXiv 2604.08048): :math:`\epsilon(x_t, c) -
    \epsilon(x_t, c; P)`.

    Under P each chosen transformer block takes its tokens with the least similar ones swapped
    (their cosine is the least of all pairs), and then its channels likewise: nothing foreign comes
    in, and where structure is, it breaks. The branch is chosen as in `PAG`. Costs one more row in
    the step's network call.

    The definition is that of the authors' code (VISION-SJTU/SSG). Where one token is in several of
    the chosen pairs that code loses some tokens and doubles others, in an order that is left to the
    device; here a token changes places once, with the least similar.

    Args:
        scale: the paper's omega; 0 is off, the authors take 3.
        layers: as in `TPG`; the authors take the middle block of SD 1.5.
        swap_ratio: r, pairs that change places as a share of all tokens, or channels: 0 is none,
            the authors take 0.1.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> from sagviz import CFG, SSG
        >>> CFG(3.0) + SSG(3.0, swap_ratio=0.2)
        CFG(3.0) + SSG(3.0, swap_ratio=0.2)
    """

    name: ClassVar[str] = "ssg"
    title: ClassVar[str] = "SSG"
    formula: ClassVar[str] = "ε(xₜ, c) − ε(xₜ, c; tokens swapped)"
    colour: ClassVar[str] = "#990066"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 6.0)

    swap_ratio: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("swap_ratio", self.swap_ratio, 0, 1)

    def perturbation(self, step: StepView) -> Perturbation:  # noqa: ARG002
        return SwappedTokens(self.layer_names, float(self.swap_ratio))
