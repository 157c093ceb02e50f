"""Rescale: CFG's result brought back to the spread of a plain prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sagviz.guidance.cfg import CFG
from sagviz.guidance.of_output import OfOutput
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class Rescale(OfOutput):
    r"""Guidance rescale (Lin et al. 2024, arXiv 2305.08891, section 3.4): direction
    :math:`(\mathrm{std}\,\epsilon_c / \mathrm{std}\,\epsilon_w - 1)\,\epsilon_w`.

    :math:`\epsilon_w = \epsilon + w(\epsilon_c - \epsilon)` is what CFG alone makes, and std is
    taken over each image. Large w spreads the prediction, which burns the picture; this takes the
    share phi of it back. `CFG(w) + Rescale(phi)` is diffusers' `guidance_rescale=phi`. The
    network's own outputs are rescaled, so also v or x_0. Other terms are not rescaled, so that the
    sum stays a sum. The direction depends on w. Costs nothing.

    Args:
        scale: phi, 0 (nothing) to 1; the paper advises 0.7.
        start, stop: the interval in which it acts, see `Term`; without CFG it does not act.

    Example:
        >>> from sagviz import CFG, Rescale
        >>> CFG(7.5) + Rescale(0.7)
        CFG(7.5) + Rescale(0.7)
    """

    name: ClassVar[str] = "rescale"
    title: ClassVar[str] = "Rescale"
    symbol: ClassVar[str] = "φ"
    formula: ClassVar[str] = "(std ε(xₜ, c) / std ε_w − 1) ε_w"
    colour: ClassVar[str] = "#000000"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale_step: ClassVar[float] = 0.05
    scale_help: ClassVar[str] = "the share that is taken back, 0 (nothing) to 1"
    needs_both_branches: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("cfg",)

    def in_output(self, step: StepView) -> Tensor:
        conditional, base = step.out_conditional, step.out_base
        cfg = step.guidance.get(CFG)
        assert cfg is not None, "Rescale acts beside CFG alone"
        guided = base + cfg.factor * (conditional - base)
        return (_std(conditional) / _std(guided) - 1) * guided


def _std(x: Tensor) -> Tensor:
    """Of each image, over all its numbers, (B, 1, 1, 1)."""
    return x.std(dim=(1, 2, 3), keepdim=True)
