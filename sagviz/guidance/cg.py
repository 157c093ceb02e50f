"""CG: towards what a classifier of noisy latents takes for a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sagviz.checks import check_kind
from sagviz.diffusion.noise_level import NoiseLevel
from sagviz.diffusion.precision import exact
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance, Term
from sagviz.guidance.views import Classifier, ModelView, StepView

SLOPE = "slope_cg"  # the gradient with respect to x_t


@dataclass(frozen=True, repr=False)
class CG(Term):
    r"""Classifier guidance (Dhariwal & Nichol 2021, arXiv 2105.05233, algorithm 2): :math:`-\sigma
    \nabla_{x_t} \log p(y|x_t)`.

    The gradient is that of the model's classifier of noisy latents, `model.classifier`, which works
    on unit variance whatever the scheduler: where latents grow with the noise it is given
    :math:`x_t / \sqrt{\alpha^2 + \sigma^2}`. Costs no network call, but one pass through the
    classifier and back.

    Args:
        scale: s; 0 is off, 1 is Bayes' rule, negative moves away from the class.
        label: y, a word of the classifier's vocabulary, `model.classifier.labels`.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> import sagviz as sv
        >>> guidance = sv.CG(10.0, "fox")
        >>> trace = sv.trace(sv.load(), steps=2, guidance=guidance, progress=False)
        >>> trace[0].guidance, trace.forwards
        (CG(10.0, label='fox'), 2)
    """

    name: ClassVar[str] = "cg"
    title: ClassVar[str] = "CG"
    formula: ClassVar[str] = "−σ ∇ log p(y | xₜ)"
    colour: ClassVar[str] = "#336633"
    scale_help: ClassVar[str] = "0 is off, 1 is Bayes' rule"

    label: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kind("label", self.label, str, "a word that the classifier knows, such as 'fox'")

    @property
    def keeps(self) -> tuple[str, ...]:
        return (SLOPE,)

    def check(self, model: ModelView, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        if model.classifier is None:
            raise ArgumentError(
                f"CG needs a classifier of noisy latents, and {model.name} has none; "
                "give one to load(classifier=...), or use CFG, which needs none"
            )
        labels = list(model.classifier.labels)
        if self.label not in labels:
            raise ArgumentError(
                f"the classifier knows no {self.label!r}; it knows {', '.join(labels)}"
            )

    def compute(self, step: StepView, model: ModelView) -> dict[str, Tensor]:
        if SLOPE in step.kept or model.classifier is None:
            return {}
        place = list(model.classifier.labels).index(self.label)
        return {SLOPE: slope(model.classifier, step.x_t, step.level, place)}

    def in_noise(self, step: StepView) -> Tensor:
        return -step.level.sigma * step.kept[SLOPE]


def slope(classifier: Classifier, x_t: Tensor, level: NoiseLevel, place: int) -> Tensor:
    """Gradient of the log-probability of one class with respect to x_t, (B, C, H, W); no image sees
    another.
    """
    with torch.enable_grad(), exact(x_t.device):
        x = x_t.detach().clone().requires_grad_()  # a copy, as x_t may be of inference mode
        t = x.new_full((len(x),), level.t).detach()
        log_p = classifier(x / level.norm, t).float().log_softmax(dim=1)[:, place]
        return torch.autograd.grad(log_p.sum(), x)[0]
