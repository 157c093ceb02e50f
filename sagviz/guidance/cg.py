"""CG: towards what a classifier of noisy latents takes for a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance, Term


class Classifier(Protocol):
    """Names what is in a noisy latent: `labels`, and a logit for each."""

    @property
    def labels(self) -> Sequence[str]: ...
    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Latents of unit variance (B, C, H, W) and their training times 0..999 (B,), to logits (B,
        labels).
        """
        ...


@dataclass(frozen=True, repr=False)
class CG(Term):
    r"""Classifier guidance (Dhariwal & Nichol 2021, arXiv 2105.05233, algorithm 2): :math:`-\sigma
    \nabla_{x_t} \log p(y|x_t)`.

    The gradient is that of the model's classifier of noisy latents, `model.classifier`, which works
    on unit variance whatever the scheduler: where latents grow with the noise it is given
    :math:`x_t / \sqrt{\alpha^2 + \sigma^2}`. Costs no U-Net call, but one pass through the
    classifier and back.

    Args:
        scale: s; 0 is off, 1 is Bayes' rule, negative moves away from the class.
        label: y, a word of the classifier's vocabulary, `model.classifier.labels`.
        start, stop: the interval in which it acts, see `Term`.
    """

    name: ClassVar[str] = "cg"
    title: ClassVar[str] = "CG"
    formula: ClassVar[str] = "−σ ∇ log p(y | xₜ)"

    label: str

    @property
    def stored(self) -> tuple[str, ...]:
        return ("slope_cg",)

    def check(self, model: Any, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        if model.classifier is None:
            raise ArgumentError(
                f"CG needs a classifier of noisy latents, and {model.name} has none; "
                "give one to load(classifier=...), or use CFG, which needs none"
            )
        if self.label not in model.classifier.labels:
            raise ArgumentError(
                f"the classifier knows no {self.label!r}; it knows"
                f" {', '.join(model.classifier.labels)}"
            )

    def beside(self, step: Any, model: Any) -> dict[str, Any]:
        if step.slope_cg is not None:
            return {}
        place = list(model.classifier.labels).index(self.label)
        return {"slope_cg": slope(model.classifier, step.x_t, step.level, place)}

    def kept(self, old: Any, new: Any) -> dict[str, Any]:
        del new
        before = old.guidance.get("cg")
        there = before is not None and before.label == self.label and old.slope_cg is not None
        return {"slope_cg": old.slope_cg} if there else {}

    def in_noise(self, step: Any) -> Tensor:
        return -step.sigma * step.slope_cg

    def in_output(self, step: Any) -> Tensor:
        if step.level.prediction == "epsilon":
            return self.in_noise(step)
        if step.alpha == 0:  # pure noise: it says nothing of its class
            return torch.zeros_like(step.slope_cg)
        return step.level.slope * step.sigma**2 / step.alpha * step.slope_cg


def slope(classifier: Classifier, x_t: Tensor, level: Any, place: int) -> Tensor:
    """Gradient of the log-probability of one class with respect to x_t, (B, C, H, W); no image sees
    another.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        t = torch.full((len(x),), level.t, device=x.device)
        log_p = classifier(x / level.norm, t).float().log_softmax(dim=1)[:, place]
        return torch.autograd.grad(log_p.sum(), x)[0]
