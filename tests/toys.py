"""Guidance terms as somebody writes them in a notebook: one class, and nothing else is edited."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sagviz.guidance import Term, UNetRequest
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class Constant(Term):
    """A constant direction, made of nothing."""

    name = "constant"
    title = "Constant push"
    formula = "1_k + ε(xₜ) · 0"
    scale_range = (-2.0, 3.0)

    def in_noise(self, step: StepView) -> Tensor:
        return torch.full_like(step.x_t, 0.1)


@dataclass(frozen=True, repr=False)
class Mirrored(Term):
    """Away from what the network predicts for the mirrored latent: one more row of its call."""

    name = "mirrored"

    @property
    def keeps(self) -> tuple[str, ...]:
        return ("out_mirrored",)

    def request(self, step: StepView) -> UNetRequest | None:
        if "out_mirrored" in step.kept:
            return None
        return UNetRequest("out_mirrored", step.x_t.flip(-1), key="mirrored", conditional=True)

    def in_noise(self, step: StepView) -> Tensor:
        mirrored = step.level.eps(step.x_t.flip(-1), step.kept["out_mirrored"])
        return step.level.eps(step.x_t, step.out_conditional) - mirrored.flip(-1)
