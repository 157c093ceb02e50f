"""Two guidance terms of a user's own, as they would stand in a notebook cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sagviz.guidance import Term, UNetRequest
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class Brighten(Term):
    """The same direction at every step: all that a plain term needs."""

    name: ClassVar[str] = "brighten"

    def in_noise(self, step: StepView) -> Tensor:
        return -0.1 * torch.ones_like(step.x_t)


@dataclass(frozen=True, repr=False)
class Mirror(Term):
    """Away from the prediction for the mirrored latent: one more row of the U-Net's call."""

    name: ClassVar[str] = "mirror"
    formula: ClassVar[str] = "ε(xₜ) − ε(mirrored xₜ)"

    @property
    def keeps(self) -> tuple[str, ...]:
        return ("out_mirror",)

    def request(self, step: StepView) -> UNetRequest | None:
        if "out_mirror" in step.kept:
            return None
        return UNetRequest("out_mirror", step.x_t.flip(-1), key="mirrored")

    def in_noise(self, step: StepView) -> Tensor:
        mirrored = step.level.eps(step.x_t.flip(-1), step.kept["out_mirror"])
        return step.eps_base - mirrored.flip(-1)


@dataclass(frozen=True, repr=False)
class Constant(Term):
    """A constant direction that says all that people see of it."""

    name: ClassVar[str] = "constant"
    title: ClassVar[str] = "Constant push"
    formula: ClassVar[str] = "1_k + ε(xₜ) · 0"
    scale_range: ClassVar[tuple[float, float]] = (-2.0, 3.0)

    def in_noise(self, step: StepView) -> Tensor:
        return torch.full_like(step.x_t, 0.1)
