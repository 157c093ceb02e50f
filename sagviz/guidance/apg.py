"""APG: CFG's direction without what only saturates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sagviz.checks import check_number
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Term
from sagviz.guidance.views import StepView

BEFORE = "apg_before"  # the running average before a step


@dataclass(frozen=True, repr=False)
class APG(Term):
    r"""Adaptive projected guidance (Sadat et al. 2024, arXiv 2410.02416, algorithm 1), a direction
    :math:`\Delta'` in x_0:

    .. math::
        \bar\Delta_t = \hat x_0(c) - \hat x_0 + \beta \bar\Delta_{t+1}, \quad
        \Delta = \min(1, r / |\bar\Delta_t|)\, \bar\Delta_t, \quad
        \Delta' = \Delta_\perp + \eta \Delta_\parallel

    split along :math:`\hat x_0(c)`, and given in noise as :math:`-(\alpha / \sigma) \Delta'`. Costs
    what CFG costs, and nothing beside CFG.

    Args:
        scale: w on top of the unconditional prediction, as in diffusers: with eta = 1, no clip and
            no momentum it is `CFG(w)`. The paper's own :math:`\hat x_0(c) + (w - 1) \Delta'` is
            `CFG(1) + APG(w - 1)`.
        eta: how much of the part along the prediction stays, which makes colours saturate; the
            paper advises 0.
        norm_threshold: r, the longest direction, a norm over the whole latent in its own units; inf
            clips nothing.
        momentum: beta, below 0 in the paper, so that a direction that was gone before counts less;
            0 is none. The paper's values for latents of SDXL are r = 15 and beta = -0.5 (as other
            implementations quote them).
        start, stop: the interval in which it acts, see `Term`; the running average begins anew with
            it.

    Example:
        >>> from sagviz import APG
        >>> APG(3.0, eta=1.0, norm_threshold=float("inf"), momentum=0.0)  # this is CFG(3.0)
        APG(3.0, eta=1.0, norm_threshold=float('inf'), momentum=0.0)
    """

    name: ClassVar[str] = "apg"
    title: ClassVar[str] = "APG"
    formula: ClassVar[str] = "−(α/σ) (Δ⊥ + η Δ∥)"
    symbol: ClassVar[str] = "w"
    colour: ClassVar[str] = "#0099FF"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 15.0)
    needs_both_branches: ClassVar[bool] = True

    eta: float = 0.0
    norm_threshold: float = 15.0
    momentum: float = -0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("eta", self.eta)
        check_number("norm_threshold", self.norm_threshold, 0, finite=False)
        if self.norm_threshold == 0:
            raise ArgumentError(
                "norm_threshold is 0, which leaves nothing; give a norm such as 15.0, or inf to"
                " clip nothing"
            )
        check_number("momentum", self.momentum, -1, 1)

    @property
    def keeps(self) -> tuple[str, ...]:
        return (BEFORE,) if self.momentum else ()

    def carry_over(self, step: StepView) -> dict[str, Tensor]:
        return {BEFORE: self.average(step)} if self.momentum else {}

    def reusable(self, old: StepView, new: StepView) -> dict[str, Tensor]:
        """The average that the step began with is the past's: another eta, r or beta goes on."""
        del new
        return {name: old.kept[name] for name in self.keeps if name in old.kept}

    def average(self, step: StepView) -> Tensor:
        r""":math:`\bar\Delta_t`."""
        level, x_t = step.level, step.x_t
        new = level.x0(x_t, step.out_conditional) - level.x0(x_t, step.out_base)
        before = step.kept.get(BEFORE) if self.momentum else None
        return new if before is None else new + self.momentum * before

    def direction(self, step: StepView) -> Tensor:
        r""":math:`\Delta'`, a difference of clean latents."""
        clipped = self.average(step)
        if math.isfinite(self.norm_threshold):
            clipped = clipped * (self.norm_threshold / _norm(clipped)).clamp(max=1.0)
        if self.eta == 1:
            return clipped
        x0 = step.level.x0(step.x_t, step.out_conditional)
        unit = x0 / _norm(x0)
        return clipped + (self.eta - 1) * (clipped * unit).sum(dim=(1, 2, 3), keepdim=True) * unit

    def in_noise(self, step: StepView) -> Tensor:
        return -step.level.alpha / step.level.sigma * self.direction(step)

    def in_output(self, step: StepView) -> Tensor:
        return step.level.slope * self.direction(step)


def _norm(x: Tensor) -> Tensor:
    """Length of each image's latent, (B, 1, 1, 1), never quite 0."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
