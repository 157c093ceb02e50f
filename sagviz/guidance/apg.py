"""APG: CFG's direction without what only saturates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.checks import check_number
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Term


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
    """

    name: ClassVar[str] = "apg"
    title: ClassVar[str] = "APG"
    formula: ClassVar[str] = "−(α/σ) (Δ⊥ + η Δ∥)"
    both: ClassVar[bool] = True

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
    def stored(self) -> tuple[str, ...]:
        return ("apg_before",) if self.momentum else ()

    def carry(self, step: Any) -> dict[str, Any]:
        return {"apg_before": self.average(step)} if self.momentum else {}

    def kept(self, old: Any, new: Any) -> dict[str, Any]:
        """The running average that the step began with is the past's; another eta, r or beta takes
        it from there.
        """
        del new
        return (
            {"apg_before": old.apg_before} if self.momentum and old.apg_before is not None else {}
        )

    def average(self, step: Any) -> Tensor:
        r""":math:`\bar\Delta_t`."""
        new = step.level.x0(step.x_t, step.out_cond) - step.level.x0(step.x_t, step.out_uncond)
        return (
            new + self.momentum * step.apg_before
            if self.momentum and step.apg_before is not None
            else new
        )

    def direction(self, step: Any) -> Tensor:
        r""":math:`\Delta'`, a difference of clean latents."""
        clipped = self.average(step)
        if math.isfinite(self.norm_threshold):
            clipped = clipped * (self.norm_threshold / _norm(clipped)).clamp(max=1.0)
        if self.eta == 1:
            return clipped
        x0 = step.level.x0(step.x_t, step.out_cond)
        unit = x0 / _norm(x0)
        return clipped + (self.eta - 1) * (clipped * unit).sum(dim=(1, 2, 3), keepdim=True) * unit

    def in_noise(self, step: Any) -> Tensor:
        return -step.alpha / step.sigma * self.direction(step)

    def in_output(self, step: Any) -> Tensor:
        return step.level.slope * self.direction(step)


def _norm(x: Tensor) -> Tensor:
    """Length of each image's latent, (B, 1, 1, 1), of 0 a hair's breadth."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
