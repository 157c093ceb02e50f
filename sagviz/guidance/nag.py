"""NAG: towards what the network predicts when its attention to the prompt is pushed away from that
to the negative prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from sagviz.attention.blocks import in_softmax
from sagviz.attention.joint import Act, Softmax
from sagviz.attention.layers import cross_of, find_cross, has_text, self_attentions
from sagviz.attention.perturb import Perturbation, layers_of, mix_anew, with_rows
from sagviz.attention.projected import queries_and_keys, rows_of
from sagviz.checks import check_number
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance
from sagviz.guidance.perturbed import Perturbed
from sagviz.guidance.views import ModelView, StepView


@dataclass(frozen=True)
class NormalizedAttention(Perturbation):
    """What attention to the prompt gives, away from what attention to the negative one gives: of
    cross-attention layers, or of the picture's tokens where picture and text share a softmax.

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
        positive, negative = self._halves(rows)

        def mixed(attn: Any, given: dict[str, Any]) -> Tensor:
            return self.combined(
                *(_attended(attn, given, positive, t) for t in (positive, negative))
            )

        for path in self._attending(network):
            if not has_text(network, path):
                yield from mix_anew(network.get_submodule(path), positive, mixed)

    def in_softmax(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Mapping[str, Act]:
        shared = [path for path in self._attending(network) if has_text(network, path)]
        return dict.fromkeys(shared, partial(self._mix, network, rows, size))

    def _mix(
        self, network: nn.Module, rows: list[int], size: tuple[int, int], call: Softmax, out: Tensor
    ) -> Tensor:
        """The negative text is beside the picture of the prompt's row, which takes from it as much
        as from its own text, and which it attends to.
        """
        _, picture, text = in_softmax(network, size, call.key.shape[2])
        positive, negative = self._halves(rows)
        beside = call.rows(positive).with_tokens(call.rows(negative), text).mixed()
        own = rows_of(out, positive).clone()
        features = (part[:, :, picture].transpose(1, 2) for part in (own, beside))
        z, z_negative = (part.flatten(2) for part in features)
        new = self.combined(z, z_negative).unflatten(2, (own.shape[1], -1)).transpose(1, 2)
        own[:, :, picture] = new
        return with_rows(with_rows(out, negative, beside), positive, own)

    def _halves(self, rows: list[int]) -> tuple[list[int], list[int]]:
        """The rows given the prompt, and those given the negative one."""
        positive = [row for place, row in enumerate(rows) if place // self.images % 2 == 0]
        return positive, [row for row in rows if row not in positive]

    def _attending(self, network: nn.Module) -> list[str]:
        """The layers where a text is attended to."""
        found = (cross_of(network, path) for path in self.paths(network))
        return [path for path in found if path is not None]

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

    In the chosen layers that attend to the text the features Z of the prompt, before they are
    projected out, are moved away from those of the negative prompt (the empty one where there is
    none), kept from growing, and mixed with what they were, token by token:

    .. math::
        \tilde Z = \phi Z - (\phi - 1) Z^-, \quad
        \hat Z = \min(1, \tau |Z|_1 / |\tilde Z|_1)\, \tilde Z, \quad
        Z^{NAG} = \alpha \hat Z + (1 - \alpha) Z

    So a negative prompt has an effect without CFG too, as distilled models need it. Where picture
    and text share a softmax, Z and Z^- are what the picture's tokens take from the picture and one
    of the texts, as in the authors' code for Flux. Costs two more rows in the step's network call:
    the prompt's, and the negative prompt's for the layers to read.

    Args:
        scale: share of it that is taken, so that the sum stays linear: 0 is off, 1 the paper's
            method without CFG. With CFG the paper guides from the changed branch, which is NAG at
            CFG's own w.
        phi: the paper's scale; 1 changes nothing.
        tau: by how much a token's features may grow; the authors take 2.5.
        alpha: share of the new features; 0 changes nothing, the authors take 0.5 for U-Nets and
            0.25 for Flux.
        layers: "all" layers that attend to the text, or those that are the named self-attention
            layers or stand beside them, as in `TPG`.
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
        if not any(cross_of(model.network, path) for path in self_attentions(model.network)):
            raise ArgumentError(
                f"NAG changes attention to words, and {model.name} has none; use PAG(2.0), which"
                " needs none"
            )
        for layer in self.layer_names:
            paths = layers_of(model.network, layer)
            if not any(cross_of(model.network, path) for path in paths):
                find_cross(model.network, paths[0])  # which says so

    def perturbation(self, step: StepView) -> Perturbation:
        numbers = float(self.phi), float(self.tau), float(self.alpha)
        return NormalizedAttention(self.layer_names, *numbers, len(step.x_t))

    def in_noise(self, step: StepView) -> Tensor:
        return -super().in_noise(step)

    def in_output(self, step: StepView) -> Tensor:
        return -super().in_output(step)
