"""CFG: away from what the network predicts without the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sagviz.guidance.base import Term
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class CFG(Term):
    r"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598): direction
    :math:`\epsilon(x_t, c) - \epsilon(x_t)`.

    Costs one more row in the step's network call.

    Args:
        scale: w, in diffusers' and the article's convention: 0 ignores the prompt, 1 is the plain
            conditional prediction. The other convention,
            :math:`\epsilon_c + s(\epsilon_c - \epsilon)`, is w = 1 + s.
        start, stop: the guidance interval, see `Term`.

    Example:
        >>> from sagviz import CFG, SAG
        >>> CFG(3.0) + SAG(1.0)
        CFG(3.0) + SAG(1.0)
    """

    name: ClassVar[str] = "cfg"
    title: ClassVar[str] = "CFG"
    symbol: ClassVar[str] = "w"
    formula: ClassVar[str] = "ε(xₜ, c) − ε(xₜ)"
    colour: ClassVar[str] = "#0072B2"
    scale_help: ClassVar[str] = "0 ignores the prompt, 1 is the plain prediction"
    needs_both_branches: ClassVar[bool] = True

    def in_noise(self, step: StepView) -> Tensor:
        level = step.level
        return level.eps(step.x_t, step.out_conditional) - level.eps(step.x_t, step.out_base)

    def in_output(self, step: StepView) -> Tensor:
        return step.out_conditional - step.out_base
