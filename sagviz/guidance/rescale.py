"""Rescale: CFG's result brought back to the spread of a plain prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sagviz.guidance.base import Term


@dataclass(frozen=True, repr=False)
class Rescale(Term):
    r"""Guidance rescale (Lin et al. 2024, arXiv 2305.08891, section 3.4):
    :math:`(\mathrm{std}\,\epsilon_c / \mathrm{std}\,\epsilon_w - 1)\,\epsilon_w`.

    :math:`\epsilon_w = \epsilon + w(\epsilon_c - \epsilon)` is what CFG alone makes, and std is
    taken over each image. Large w spreads the prediction, which burns the picture; this takes the
    share phi of it back. `CFG(w) + Rescale(phi)` is diffusers' `guidance_rescale=phi`. It is the
    network's own outputs that are rescaled, so also v or x_0. Other terms are not rescaled, so that
    the sum stays a sum. The direction depends on w. Costs nothing.

    Args:
        scale: phi, 0 (nothing) to 1; the paper advises 0.7.
        start, stop: the interval in which it acts, see `Term`; without CFG it does not act.
    """

    name: ClassVar[str] = "rescale"
    title: ClassVar[str] = "Rescale"
    formula: ClassVar[str] = "(std ε(xₜ, c) / std ε_w − 1) ε_w"
    requires: ClassVar[tuple[str, ...]] = ("cfg",)
    both: ClassVar[bool] = True

    def in_output(self, step: Any) -> Tensor:
        guided = step.out_uncond + step.guidance.cfg.scale * (step.out_cond - step.out_uncond)
        return (_std(step.out_cond) / _std(guided) - 1) * guided

    def in_noise(self, step: Any) -> Tensor:
        if step.level.prediction == "epsilon":
            return self.in_output(step)
        return -step.alpha / (step.sigma * step.level.slope) * self.in_output(step)


def _std(x: Tensor) -> Tensor:
    """Of each image, over all its numbers, (B, 1, 1, 1)."""
    return x.std(dim=(1, 2, 3), keepdim=True)
