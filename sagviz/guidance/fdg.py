"""FDG: CFG with a scale for what is coarse and another for what is fine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.checks import check_number
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance, Term
from sagviz.guidance.views import ModelView, StepView


@dataclass(frozen=True, repr=False)
class FDG(Term):
    r"""Frequency-decoupled guidance (Sadat et al. 2025, arXiv 2506.19713, algorithm 1): direction
    :math:`\mathrm{high}(\Delta) + r\, \mathrm{low}(\Delta)`, :math:`\Delta = \epsilon(x_t, c) -
    \epsilon(x_t)`.

    low is the coarse level of a Laplacian pyramid, blurred, halved and enlarged again, and high
    what is left; both add up to :math:`\Delta`. So the high frequencies, which make details, are
    guided at w, the low ones, which make composition and colours, at r w. Costs what CFG costs, and
    nothing beside CFG.

    Args:
        scale: the paper's w_high, on top of the unconditional prediction as in diffusers.
        low: r, the low frequencies' share of it, w_low / w_high: 1 is `CFG(scale)`. The paper takes
            5 and 10 for SDXL, which is `FDG(10, low=0.5)`, diffusers' `[10.0, 5.0]`.
        levels: of the pyramid, 2 as in the paper; more halve more often, so that less is low.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> from sagviz import FDG
        >>> FDG(10.0, low=0.5), FDG(3.0, low=1.0)  # the second is CFG(3.0)
        (FDG(10.0), FDG(3.0, low=1.0))
    """

    name: ClassVar[str] = "fdg"
    title: ClassVar[str] = "FDG"
    symbol: ClassVar[str] = "w"
    formula: ClassVar[str] = "high(Δ) + r low(Δ)"
    colour: ClassVar[str] = "#0000CC"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 15.0)
    field_titles: ClassVar[Mapping[str, str]] = {"low": "low frequencies' share"}
    needs_both_branches: ClassVar[bool] = True

    low: float = 0.5
    levels: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("low", self.low)
        if not isinstance(self.levels, int) or not 2 <= self.levels <= 8:
            raise ArgumentError(f"levels is {self.levels!r}; give a whole number from 2 to 8")

    def check(self, model: ModelView, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        if min(shape[1:]) < 3 * 2 ** (self.levels - 2):
            raise ArgumentError(
                f"a pyramid of {self.levels} levels does not fit a latent of {shape[1]} x"
                f" {shape[2]}; give fewer levels, or a larger size"
            )

    def in_output(self, step: StepView) -> Tensor:
        return self._weighted(step.out_conditional - step.out_base)

    def in_noise(self, step: StepView) -> Tensor:
        level, x_t = step.level, step.x_t
        return self._weighted(level.eps(x_t, step.out_conditional) - level.eps(x_t, step.out_base))

    def _weighted(self, delta: Tensor) -> Tensor:
        return delta + (self.low - 1) * coarse(delta, self.levels - 1)


def coarse(x: Tensor, halvings: int) -> Tensor:
    """The low frequencies of (B, C, H, W): halved so often and enlarged again."""
    if not halvings:
        return x
    half = F.interpolate(blur(x), scale_factor=0.5, mode="bilinear")
    return blur(F.interpolate(coarse(half, halvings - 1), size=x.shape[2:], mode="bilinear"))


def blur(x: Tensor) -> Tensor:
    """The pyramid's blur, binomial of 5 taps, mirrored at the borders."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device) / 16
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=x.shape[1])
