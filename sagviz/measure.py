"""Numbers about a step: how long each guidance term is, where it points, how much the mask covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from sagviz.records import Step


def rms(x: Tensor) -> float:
    """Root mean square: the length of a latent, free of its size. Unit noise has 1."""
    return float(x.square().mean().sqrt())


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two latents, averaged over the batch."""
    return float(F.cosine_similarity(a.flatten(1), b.flatten(1)).mean())


def coverage(step: Step) -> float:
    """Fraction of the latent that the mask covers, 0..1; NaN where there is no mask."""
    return float("nan") if step.mask is None else float(step.mask.mean())


def of_step(step: Step) -> dict[str, float]:
    """All measures of one step: `<term>` is the RMS of the scaled term, relative to that of the base prediction."""
    base = rms(step.eps_base)
    scaled = {term.name: abs(term.scale) * rms(step.terms[term.name]) / base for term in step.guidance.terms}
    pair = step.terms.get("cfg"), step.terms.get("sag")
    angle = {"cosine": cosine(pair[0], pair[1])} if pair[0] is not None and pair[1] is not None else {}
    return {**scaled, **angle, "coverage": coverage(step)}
