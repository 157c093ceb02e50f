"""PAG: away from what the network predicts when each cell attends to itself alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sagviz.attention.layers import find_layer
from sagviz.attention.perturb import Perturbation, PerturbedMap
from sagviz.checks import check_wholes
from sagviz.guidance.base import Guidance
from sagviz.guidance.perturbed import Perturbed
from sagviz.guidance.views import ModelView, StepView


@dataclass(frozen=True, repr=False)
class PAG(Perturbed):
    r"""Perturbed-attention guidance (Ahn et al. 2024, arXiv 2403.17377): :math:`\epsilon(x_t, c) -
    \hat\epsilon(x_t, c)`.

    In :math:`\hat\epsilon` the self-attention maps of the chosen layers are the identity: each cell
    keeps its own value, softmax(q k^T) v becomes v. With CFG it is the branch given the prompt that
    is disturbed, as in diffusers; without CFG the only one. Costs one more row in the step's
    network call.

    Args:
        scale: s; 0 is off. The paper's script takes 5 without CFG; diffusers' default is 3.
        layers: "mid", all self-attention layers of the middle block (of a transformer, which has
            none, the block at half the depth); "all"; or the dotted path of a layer, or of a block
            for all of its layers; or a tuple of such.
        heads: which heads of these layers are disturbed (arXiv 2506.10978); all where `None`.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> from sagviz import CFG, PAG
        >>> CFG(3.0) + PAG(2.0, layers="up_blocks.0")
        CFG(3.0) + PAG(2.0, layers='up_blocks.0')
    """

    name: ClassVar[str] = "pag"
    title: ClassVar[str] = "PAG"
    formula: ClassVar[str] = "ε(xₜ, c) − ε(xₜ, c; A = 1)"
    colour: ClassVar[str] = "#CC99CC"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 6.0)

    heads: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads is not None:
            object.__setattr__(self, "heads", check_wholes("heads", self.heads))

    def check(self, model: ModelView, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        for path in Perturbation(self.layer_names).paths(model.network):
            find_layer(model.network, path, self.heads)

    def perturbation(self, step: StepView) -> Perturbation:  # noqa: ARG002
        return PerturbedMap(self.layer_names, heads=self.heads)
