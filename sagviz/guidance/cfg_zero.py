"""CFG-Zero*: CFG from an unconditional prediction that is scaled to fit the conditional one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sagviz.checks import MAX_STEPS, check_whole
from sagviz.guidance.cfg import CFG
from sagviz.guidance.of_output import OfOutput
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class CFGZero(OfOutput):
    r"""CFG-Zero* (Fan et al. 2025, arXiv 2503.18886): what it changes in CFG's result, direction
    :math:`(w - 1)(1 - s^*)\, \epsilon`.

    .. math::
        s^* = \langle \epsilon_c, \epsilon \rangle / |\epsilon|^2, \quad
        \tilde\epsilon = s^* \epsilon + w (\epsilon_c - s^* \epsilon)

    for each image: the multiple of the unconditional prediction that is nearest to the conditional
    one takes its place. `CFG(w) + CFGZero(1.0)` is the method, diffusers'
    `ClassifierFreeZeroStarGuidance`. It is made for flow models, on the network's own outputs (v),
    as here. The direction depends on w. Costs nothing.

    Args:
        scale: share of the change: 0 is CFG, 1 the method.
        zero_steps: in how many first evaluations CFG's result is taken away altogether (diffusers'
            `zero_init_steps`); the paper advises 4 % of the steps, for flow models alone: an output
            of 0 then means to stay.
        start, stop: the interval in which it acts, see `Term`; without CFG it does not act.

    Example:
        >>> from sagviz import CFG, CFGZero
        >>> CFG(7.5) + CFGZero(1.0)
        CFG(7.5) + CFGZero(1.0)
    """

    name: ClassVar[str] = "cfg_zero"
    title: ClassVar[str] = "CFG-Zero*"
    symbol: ClassVar[str] = "z"
    formula: ClassVar[str] = "(w − 1) (1 − s*) ε(xₜ)"
    colour: ClassVar[str] = "#660099"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale_step: ClassVar[float] = 0.05
    scale_help: ClassVar[str] = "0 is CFG, 1 is CFG-Zero*"
    field_titles: ClassVar[Mapping[str, str]] = {"zero_steps": "steps at zero"}
    needs_both_branches: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("cfg",)

    zero_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("zero_steps", self.zero_steps, 0, MAX_STEPS)

    def in_output(self, step: StepView) -> Tensor:
        conditional, base = step.out_conditional, step.out_base
        cfg = step.guidance.get(CFG)
        assert cfg is not None, "CFGZero acts beside CFG alone"
        if step.index < self.zero_steps:
            return -(base + cfg.factor * (conditional - base))
        return (cfg.factor - 1) * (1 - fit(conditional, base)) * base


def fit(conditional: Tensor, base: Tensor) -> Tensor:
    """s*, the factor on `base` that brings it nearest to `conditional`, for each image, (B, 1, 1,
    1).
    """
    of_image = (1, 2, 3)
    product = (conditional * base).sum(of_image, keepdim=True)
    return product / base.square().sum(of_image, keepdim=True).clamp(min=torch.finfo().tiny)
