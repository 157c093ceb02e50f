"""SEG: away from what the network predicts when blurred queries make neighbours attend alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from sagviz.attention.perturb import Perturbation, PerturbedMap
from sagviz.checks import check_number
from sagviz.guidance.perturbed import Perturbed
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class SEG(Perturbed):
    r"""Smoothed-energy guidance (Hong 2024, arXiv 2408.00760): :math:`\epsilon(x_t, c) -
    \tilde\epsilon(x_t, c)`.

    In :math:`\tilde\epsilon` the queries of the chosen self-attention layers are blurred by a
    Gaussian over the layer's grid, which is to blur the attention weights: the energy that they
    stand for becomes smoother. The branch is chosen as in `PAG`. Costs one more row in the step's
    network call.

    The blur is the whole Gaussian, mirrored at the borders, so that sigma -> inf is the mean query;
    the author's code cuts its kernel to the grid, and so stays short of the mean until sigma is
    called infinite.

    Args:
        scale: s; 0 is off. The paper keeps it at 3 and turns sigma.
        layers: as in `PAG`.
        blur_sigma: standard deviation in cells of the layer's grid: 0 blurs nothing, inf makes all
            queries their mean.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> from sagviz import CFG, SEG
        >>> CFG(3.0) + SEG(3.0, blur_sigma=10.0)
        CFG(3.0) + SEG(3.0, blur_sigma=10.0)
    """

    name: ClassVar[str] = "seg"
    title: ClassVar[str] = "SEG"
    formula: ClassVar[str] = "ε(xₜ, c) − ε(xₜ, c; q blurred)"
    colour: ClassVar[str] = "#FF9900"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 6.0)

    blur_sigma: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("blur_sigma", self.blur_sigma, 0, finite=False)

    def perturbation(self, step: StepView) -> Perturbation:  # noqa: ARG002
        return PerturbedMap(self.layer_names, float(self.blur_sigma))
