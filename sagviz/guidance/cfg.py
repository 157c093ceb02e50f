"""CFG: away from what the network predicts without the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sagviz.guidance.base import Term


@dataclass(frozen=True, repr=False)
class CFG(Term):
    r"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598): term :math:`\epsilon(x_t,
    c) - \epsilon(x_t)`.

    Costs one more row in the step's U-Net call.

    Args:
        scale: w, in diffusers' and the article's convention: 0 ignores the prompt, 1 is the plain
            conditional prediction. The other convention, :math:`\epsilon_c + s(\epsilon_c -
            \epsilon)`, is w = 1 + s.
        start, stop: the guidance interval, see `Term`.
    """

    name: ClassVar[str] = "cfg"
    title: ClassVar[str] = "CFG"
    formula: ClassVar[str] = "ε(xₜ, c) − ε(xₜ)"
    both: ClassVar[bool] = True

    def in_noise(self, step: Any) -> Tensor:
        return step.eps_cond - step.eps_uncond

    def in_output(self, step: Any) -> Tensor:
        return step.out_cond - step.out_uncond
