r"""The guidance terms as settings: small frozen records that add up, `CFG(3.0) + SAG(1.0)`.

The guided noise is :math:`\tilde\epsilon = \epsilon_{base} + \sum_k s_k \cdot term_k`; each class says its term,
unscaled, from the predictions that a `records.Step` holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.errors import ArgumentError


def check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf, finite: bool = True) -> None:
    """Refuse what is not a number between `low` and `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ArgumentError(f"{name} is {value!r}; give a number")
    if not low <= value <= high or (finite and math.isinf(value)):
        span = f"from {low:g} to {high:g}" if math.isfinite(low) or math.isfinite(high) else "that is finite"
        raise ArgumentError(f"{name} is {value!r}; give a number {span}")


@dataclass(frozen=True)
class Term:
    """One direction of guidance and its scale."""

    name: ClassVar[str]
    scale: float

    def __post_init__(self) -> None:
        check_number(f"the {self.name} scale", self.scale)

    def __add__(self, other: Term | Guidance) -> Guidance:
        return Guidance((self,)) + other

    def active(self, fraction: float) -> bool:
        """Whether the term acts in evaluation i of n, `fraction` being i / n."""
        del fraction  # a plain term always acts
        return True

    def in_noise(self, step: Any) -> Tensor:
        """The unscaled term of a `records.Step`, as a difference of noises."""
        raise NotImplementedError

    def in_output(self, step: Any) -> Tensor:
        """The same term as a difference of network outputs for x_t: equal to `in_noise` where the network predicts noise."""
        raise NotImplementedError


@dataclass(frozen=True)
class CFG(Term):
    r"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598): term :math:`\epsilon(x_t, c) - \epsilon(x_t)`.

    Args:
        scale: w, in diffusers' and the article's convention: 0 ignores the prompt, 1 is the plain conditional prediction.
            The other convention, :math:`\epsilon_c + s(\epsilon_c - \epsilon)`, is w = 1 + s.
    """

    name: ClassVar[str] = "cfg"

    def in_noise(self, step: Any) -> Tensor:
        return step.eps_cond - step.eps_uncond

    def in_output(self, step: Any) -> Tensor:
        return step.out_cond - step.out_uncond


MASK_SOURCES = ("attention", "none", "random", "high-frequency", "inverted")


@dataclass(frozen=True)
class SAG(Term):
    r"""Self-attention guidance (Hong et al. 2023, arXiv 2210.00939v6, eqs. 15-16): :math:`\epsilon(x_t) - \epsilon(\hat x_t)`.

    Args:
        scale: the paper's s: 0 is off, negative is allowed. The original code's `guide_scale` is 1 + s.
        threshold: psi, in units of the mean attention (the map averages exactly 1); inf masks nothing, below 0 everything.
        blur_sigma: standard deviation of the blur in latent pixels; 0 blurs nothing.
        blur_kernel: taps of the blur, odd; `None` is 2 ceil(4 sigma) + 1, which is 9 at sigma = 1.
        layer: self-attention layer that is read: "mid" or a dotted path that ends in `attn1`.
        heads: which heads to average; all where `None`.
        mask_source: what is blurred, so that the attention's own part can be told (the paper's ablation of the mask has the
            first four): "attention", the cells whose attention exceeds psi; "none", the whole latent: a global blur; and three
            that take as many cells of the same grid as the attention's own mask has in that image at that step: "random",
            drawn from the image's seed and the step's index; "high-frequency", those where the blur takes most from
            :math:`\hat x_0` (mean of the absolute difference over channels); "inverted", those of least attention.
        start: fraction of the evaluations (0..1) at which SAG begins.
        stop: fraction at which it ends; evaluation i of n is guided where start <= i / n < stop.
    """

    name: ClassVar[str] = "sag"
    threshold: float = 1.0
    blur_sigma: float = 1.0
    blur_kernel: int | None = None
    layer: str = "mid"
    heads: tuple[int, ...] | None = None
    mask_source: str = "attention"
    start: float = 0.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, finite=False)
        check_number("blur_sigma", self.blur_sigma, 0, 1000)
        check_number("start", self.start, 0, 1)
        check_number("stop", self.stop, self.start, 1)
        if self.mask_source not in MASK_SOURCES:
            raise ArgumentError(f"mask_source is {self.mask_source!r}; give one of {', '.join(map(repr, MASK_SOURCES))}")
        kernel = self.blur_kernel
        if kernel is not None and (not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0):
            raise ArgumentError(f"blur_kernel is {kernel!r}; give an odd number of taps such as 9, or None")
        if self.heads is not None:
            if isinstance(self.heads, str | int) or not all(isinstance(head, int) for head in self.heads) or not self.heads:
                raise ArgumentError(f"heads is {self.heads!r}; give a tuple of head numbers such as (0, 3), or None")
            object.__setattr__(self, "heads", tuple(self.heads))

    def active(self, fraction: float) -> bool:
        return self.start <= fraction < self.stop

    def in_noise(self, step: Any) -> Tensor:
        return step.eps_base - step.eps_degraded

    def in_output(self, step: Any) -> Tensor:
        # The second pass saw another input, so outputs cannot be subtracted; the clean latents that they mean can.
        partly_blurred = torch.where(step.mask > 0, step.x0_blurred, step.x0_hat)
        return step.level.slope * (partly_blurred - step.level.x0(step.x_degraded, step.out_degraded))


KINDS: dict[str, type[Term]] = {kind.name: kind for kind in (CFG, SAG)}


@dataclass(frozen=True)
class Guidance:
    """A sum of terms, at most one of each kind. The empty sum is the plain prediction."""

    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names):
            raise ArgumentError(f"the guidance {self!r} has a term twice; add their scales instead")

    def __add__(self, other: Term | Guidance) -> Guidance:
        if not isinstance(other, Term | Guidance):
            return NotImplemented
        return Guidance(self.terms + (other.terms if isinstance(other, Guidance) else (other,)))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.terms)) or "unguided"

    @property
    def cfg(self) -> CFG | None:
        return next((term for term in self.terms if isinstance(term, CFG)), None)

    @property
    def sag(self) -> SAG | None:
        return next((term for term in self.terms if isinstance(term, SAG)), None)

    def at(self, fraction: float) -> Guidance:
        """The terms that act in evaluation i of n, `fraction` being i / n."""
        return Guidance(tuple(term for term in self.terms if term.active(fraction)))

    def to_json(self) -> list[dict[str, Any]]:
        return [{"kind": term.name, **asdict(term)} for term in self.terms]

    @staticmethod
    def from_json(terms: Sequence[dict[str, Any]]) -> Guidance:
        return Guidance(tuple(KINDS[term["kind"]](**{k: v for k, v in term.items() if k != "kind"}) for term in terms))


def as_guidance(value: object) -> Guidance:
    """`None`, a term or a sum, as a sum."""
    if value is None:
        return Guidance()
    if isinstance(value, Term):
        return Guidance((value,))
    if isinstance(value, Guidance):
        return value
    raise ArgumentError(f"guidance is {value!r}; give None, CFG(3.0), SAG(1.0) or a sum such as CFG(3.0) + SAG(1.0)")
