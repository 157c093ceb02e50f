"""SLG: away from what the network predicts when some of its blocks are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sagviz.attention.perturb import Perturbation
from sagviz.attention.perturb_blocks import SkippedBlocks
from sagviz.guidance.perturbed import Perturbed
from sagviz.guidance.views import StepView


@dataclass(frozen=True, repr=False)
class SLG(Perturbed):
    r"""Skip-layer guidance (Stability AI 2024, with Stable Diffusion 3.5; spatio-temporal skip
    guidance, Hyung et al. 2024, arXiv 2411.18664, is the same): :math:`\epsilon(x_t, c) -
    \epsilon(x_t, c; L)`.

    Under L the transformer blocks of the chosen layers give out what they take: self-attention,
    cross-attention and feed-forward are left out, as by diffusers' `SkipLayerGuidance`. The branch
    is chosen as in `PAG`. Costs one more row in the step's network call.

    Args:
        scale: s; 0 is off. diffusers takes 2.8, from 1 to 20 % of the steps (`start=0.01,
            stop=0.2`), and advises blocks 7, 8 and 9 for SD 3.5 medium.
        layers: as in `TPG`.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> from sagviz import CFG, SLG
        >>> CFG(3.0) + SLG(2.8, start=0.01, stop=0.2)
        CFG(3.0) + SLG(2.8, start=0.01, stop=0.2)
    """

    name: ClassVar[str] = "slg"
    title: ClassVar[str] = "SLG"
    formula: ClassVar[str] = "ε(xₜ, c) − ε(xₜ, c; blocks skipped)"
    colour: ClassVar[str] = "#99CC99"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 6.0)

    def perturbation(self, step: StepView) -> Perturbation:  # noqa: ARG002
        return SkippedBlocks(self.layer_names)
