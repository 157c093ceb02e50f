"""What Rescale and CFG-Zero* share: directions that are made of the network's own outputs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sagviz.guidance.base import Term
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class OfOutput(Term):
    """A subclass says `in_output`."""

    def in_noise(self, step: StepView) -> Tensor:
        level = step.level
        if level.prediction == "epsilon":
            return self.in_output(step)
        return -level.alpha / (level.sigma * level.slope) * self.in_output(step)
