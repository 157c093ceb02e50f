"""TPG: away from what the network predicts when its tokens are shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sagviz.attention.perturb import Perturbation
from sagviz.attention.perturb_blocks import PerturbedTokens
from sagviz.diffusion.seeds import generator
from sagviz.guidance.perturbed import Perturbed
from sagviz.guidance.views import StepView

STREAM = 2  # apart from a scheduler's noise and a random mask, which come from (seed, index) too


@dataclass(frozen=True)
class ShuffledTokens(PerturbedTokens):
    """The tokens of each image in an order of its own: of (seed + image, step, block)."""

    seed: int
    index: int
    images: int

    def changed(self, tokens: Tensor, place: int) -> Tensor:
        return torch.stack([own[self._order(own, row, place)] for row, own in enumerate(tokens)])

    def _order(self, tokens: Tensor, row: int, place: int) -> Tensor:
        drawn_by = generator(self.seed + row % self.images, self.index, STREAM, place)
        return torch.randperm(len(tokens), generator=drawn_by, device="cpu").to(tokens.device)


@dataclass(frozen=True, repr=False)
class TPG(Perturbed):
    r"""Token perturbation guidance (Rajabi et al. 2025, arXiv 2506.10036): :math:`\epsilon(x_t, c)
    - \epsilon(x_t, c; S)`.

    Under S each chosen transformer block takes its tokens :math:`H \in R^{N \times d}` as
    :math:`S H`, a random permutation of the rows, which keeps every norm: what stands in the
    picture stays, where it stands is lost from there on. Each step and block has an order of its
    own, drawn from the image's seed (the authors' code draws one for the whole batch), so that a
    run can be repeated. The branch is chosen as in `PAG`. Costs one more row in the step's network
    call.

    Args:
        scale: s; 0 is off. The authors' script takes 3.
        layers: "mid", "all", or the dotted path of a self-attention layer or of a block of several;
            or a tuple of such. The blocks of these layers are disturbed. The authors' script takes
            18 of the 20 in SDXL's `down_blocks.2`.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> from sagviz import CFG, TPG
        >>> CFG(3.0) + TPG(3.0, layers="down_blocks")
        CFG(3.0) + TPG(3.0, layers='down_blocks')
    """

    name: ClassVar[str] = "tpg"
    title: ClassVar[str] = "TPG"
    formula: ClassVar[str] = "ε(xₜ, c) − ε(xₜ, c; tokens shuffled)"
    colour: ClassVar[str] = "#9933FF"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 6.0)

    def perturbation(self, step: StepView) -> Perturbation:
        return ShuffledTokens(self.layer_names, step.seed, step.index, len(step.x_t))
