"""NAG: towards what the network predicts when its attention to the prompt is pushed away from that
to the negative prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from sagviz.attention.layers import cross_of, find_cross
from sagviz.attention.perturb import Perturbation, mix_anew
from sagviz.attention.projected import queries_and_keys, rows_of
from sagviz.checks import check_number
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance
from sagviz.guidance.perturbed import Perturbed
from sagviz.guidance.views import ModelView, StepView


@dataclass(frozen=True)
class NormalizedAttention(Perturbation):
    """What cross-attention layers make of the prompt, away from what they make of the negative one.

    The rows come by halves of `images`: those given the prompt, which are changed, and those given
    the negative prompt.
    """

    phi: float
    tau: float
    alpha: float
    images: int

    def attach(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Iterator[RemovableHandle]:
        del size
        positive = [row for place, row in enumerate(rows) if place // self.images % 2 == 0]
        negative = [row for place, row in enumerate(rows) if place // self.images % 2]

        def mixed(attn: Any, given: dict[str, Any]) -> Tensor:
            return self.combined(
                *(_attended(attn, given, positive, t) for t in (positive, negative))
            )

        for path in filter(None, (cross_of(network, path) for path in self.paths(network))):
            yield from mix_anew(network.get_submodule(path), positive, mixed)

    def combined(self, z: Tensor, z_negative: Tensor) -> Tensor:
        """The paper's equations, for features (B, N, channels)."""
        away = self.phi * z - (self.phi - 1) * z_negative
        grown = _length(away) / _length(z)
        return self.alpha * (self.tau / grown).clamp(max=1) * away + (1 - self.alpha) * z


def _length(z: Tensor) -> Tensor:
    """L1 norm of each token, never quite 0."""
    return z.abs().sum(dim=-1, keepdim=True).clamp(min=1e-12)


def _attended(attn: Any, given: Mapping[str, Any], rows: list[int], texts: list[int]) -> Tensor:
    """What these rows take from the texts of others, (rows, N, channels), before it is projected
    out.
    """
    hidden, text = (
        rows_of(given[name], own)
        for name, own in (("hidden_states", rows), ("encoder_hidden_states", texts))
    )
    time = None if given.get("temb") is None else rows_of(given["temb"], rows)
    q, k = queries_and_keys(attn, hidden, text, time)
    told = attn.norm_encoder_hidden_states(text) if attn.norm_cross else text
    v = attn.to_v(told).unflatten(2, (attn.heads, -1)).transpose(1, 2)
    mask = given.get("attention_mask")
    mask = None if mask is None else rows_of(mask, texts)[:, None]
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)
    return mixed.transpose(1, 2).flatten(2)


@dataclass(frozen=True, repr=False)
class NAG(Perturbed):
    r"""Normalized attention guidance (Chen et al. 2025, arXiv 2505.21179): :math:`\epsilon(x_t, c;
    Z^{NAG}) - \epsilon(x_t, c)`.

    In the chosen cross-attention layers the features Z of the prompt, before they are projected
    out, are moved away from those of the negative prompt (the empty one where there is none), kept
    from growing, and mixed with what they were, token by token:

    .. math::
        \tilde Z = \phi Z - (\phi - 1) Z^-, \quad
        \hat Z = \min(1, \tau |Z|_1 / |\tilde Z|_1)\, \tilde Z, \quad
        Z^{NAG} = \alpha \hat Z + (1 - \alpha) Z

    So a negative prompt has an effect without CFG too, as distilled models need it. Costs two more
    rows in the step's U-Net call: the prompt's, and the negative prompt's for the layers to read.

    Args:
        scale: share of it that is taken, so that the sum stays linear: 0 is off, 1 the paper's
            method without CFG. With CFG the paper guides from the changed branch, which is NAG at
            CFG's own w.
        phi: the paper's scale; 1 changes nothing.
        tau: by how much a token's features may grow; the authors take 2.5.
        alpha: share of the new features; 0 changes nothing, the authors take 0.5 for U-Nets.
        layers: "all" cross-attention layers, or those beside the named self-attention layers, as in
            `TPG`.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> import sagviz as sv
        >>> trace = sv.trace(sv.load(), "a fox", negative_prompt="blue background", steps=2,
        ...                  guidance=sv.NAG(1.0, phi=4.0), progress=False)
        >>> trace[0].guidance, trace.samples
        (NAG(1.0, phi=4.0), 6)
    """

    name: ClassVar[str] = "nag"
    title: ClassVar[str] = "NAG"
    formula: ClassVar[str] = "ε(xₜ, c; Z away from Z⁻) − ε(xₜ, c)"
    colour: ClassVar[str] = "#CC0000"
    scale_range: ClassVar[tuple[float, float]] = (0.0, 5.0)
    scale_help: ClassVar[str] = "0 is off, 1 is the paper's method without CFG"
    field_titles: ClassVar[Mapping[str, str]] = {"phi": "φ", "tau": "τ", "alpha": "α"}
    reads_negative_prompt: ClassVar[bool] = True

    layers: str | tuple[str, ...] = "all"
    phi: float = 5.0
    tau: float = 2.5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("phi", self.phi, 1)
        check_number("tau", self.tau, 1, finite=False)
        check_number("alpha", self.alpha, 0, 1)

    def check(self, model: ModelView, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        paths = Perturbation(self.layer_names).paths(model.network)
        if self.layers != "all":
            for path in paths:
                find_cross(model.network, path)
        if not any(cross_of(model.network, path) for path in paths):
            raise ArgumentError(
                f"NAG changes attention to words, and {model.name} has none; use PAG(2.0), which"
                " needs none"
            )

    def perturbation(self, step: StepView) -> Perturbation:
        numbers = float(self.phi), float(self.tau), float(self.alpha)
        return NormalizedAttention(self.layer_names, *numbers, len(step.x_t))

    def in_noise(self, step: StepView) -> Tensor:
        return -super().in_noise(step)

    def in_output(self, step: StepView) -> Tensor:
        return -super().in_output(step)
