"""SAG: away from what the network predicts when the cells that it attends to are blurred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sagviz.attention.layers import find_layer
from sagviz.attention.read import Reading
from sagviz.checks import check_kind, check_number, check_wholes
from sagviz.diffusion.blur import gaussian_blur, kernel_size
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance, Term
from sagviz.guidance.sag_mask import ATTENTION, degrade, detail, highest, random_scores, upsampled
from sagviz.guidance.views import ModelView, StepView, UNetRequest

MASK_SOURCES = {  # what is blurred, in a few words
    "attention": "attention above ψ",
    "none": "everything: a global blur",
    "random": "random cells, equal area",
    "high-frequency": "fine detail, equal area",
    "inverted": "least attended cells, equal area",
}
DEGRADED, HAND_MASK = "out_degraded", "hand_mask"  # what a step keeps beside the map


@dataclass(frozen=True, repr=False)
class SAG(Term):
    r"""Self-attention guidance (Hong et al. 2023, arXiv 2210.00939v6, eqs. 15-16): direction
    :math:`\epsilon(x_t) - \epsilon(\hat x_t)`.

    Costs a second network call of one row.

    Args:
        scale: the paper's s: 0 is off, negative is allowed. The original code's `guide_scale` is
            1 + s.
        threshold: psi, in units of the mean attention (the map averages exactly 1); inf masks
            nothing, below 0 everything.
        blur_sigma: standard deviation of the blur in latent pixels; 0 blurs nothing.
        blur_kernel: taps of the blur, odd; `None` is 2 ceil(4 sigma) + 1, which is 9 at sigma = 1.
        layer: self-attention layer that is read: "mid", the first in the middle block, or a dotted
            path that ends in `attn1`. A transformer has no middle block: there "mid" is the block
            at half the depth, a choice of ours and not the paper's.
        heads: which heads to average; all where `None`.
        mask_source: what is blurred, so that the attention's own part can be told (the paper's
            ablation of the mask has the first four): "attention", the cells whose attention exceeds
            psi; "none", the whole latent: a global blur; and three that take as many cells of the
            same grid as the attention's own mask has in that image at that step: "random", drawn
            from the image's seed and the step's index; "high-frequency", those where the blur takes
            most from :math:`\hat x_0` (mean of the absolute difference over channels); "inverted",
            those of least attention.
        start, stop: the interval in which it acts, see `Term`.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import SAG
        >>> trace = sv.trace(sv.load(), seed=17, steps=4, guidance=SAG(1.0, blur_sigma=3.0),
        ...                  progress=False)
        >>> round(float(trace[2].attention.mean()), 4)
        1.0
    """

    name: ClassVar[str] = "sag"
    title: ClassVar[str] = "SAG"
    formula: ClassVar[str] = "ε(xₜ) − ε(x̂ₜ)"
    colour: ClassVar[str] = "#D55E00"
    scale_range: ClassVar[tuple[float, float]] = (-0.5, 2.0)
    scale_step: ClassVar[float] = 0.05
    field_titles: ClassVar[Mapping[str, str]] = {
        "threshold": "threshold ψ",
        "blur_sigma": "blur σ",
        "blur_kernel": "blur taps",
    }
    second_pass: ClassVar[bool] = True

    threshold: float = 1.0
    blur_sigma: float = 1.0
    blur_kernel: int | None = None
    layer: str = "mid"
    heads: tuple[int, ...] | None = None
    mask_source: str = "attention"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, finite=False)
        check_number("blur_sigma", self.blur_sigma, 0, 1000)
        check_kind("layer", self.layer, str, "'mid' or a dotted path")
        if not isinstance(self.mask_source, str) or self.mask_source not in MASK_SOURCES:
            raise ArgumentError(
                f"mask_source is {self.mask_source!r}; give one of"
                f" {', '.join(map(repr, MASK_SOURCES))}"
            )
        kernel, heads = self.blur_kernel, self.heads
        if kernel is not None and (not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0):
            raise ArgumentError(
                f"blur_kernel is {kernel!r}; give an odd number of taps such as 9, or None"
            )
        if heads is not None:
            object.__setattr__(self, "heads", check_wholes("heads", heads))

    @property
    def keeps(self) -> tuple[str, ...]:
        return (ATTENTION, DEGRADED)

    @property
    def reads(self) -> Mapping[str, Reading]:
        return {ATTENTION: Reading(self.layer, heads=self.heads)}

    def check(self, model: ModelView, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        find_layer(model.network, self.layer, self.heads)
        taps, side = kernel_size(self.blur_sigma, self.blur_kernel), min(shape[1:])
        if taps // 2 >= side:
            raise ArgumentError(
                f"a blur of {taps} taps does not fit a latent of {shape[1]} x {shape[2]}; "
                f"give blur_kernel={2 * side - 1} or less, or a larger size"
            )

    def mask(self, step: StepView, attention: Tensor | None = None) -> Tensor | None:
        """M_t, (B, 1, H, W), 0 or 1: the hand-made one before that of the attention (the step's,
        or the one that is given); `None` where there is neither.
        """
        if HAND_MASK in step.kept:
            return step.kept[HAND_MASK]
        attention = step.kept.get(ATTENTION) if attention is None else attention
        if attention is None:
            return None
        height, width = step.x_t.shape[2:]
        return upsampled(self._cells(step, attention), (height, width))

    def _cells(self, step: StepView, attention: Tensor) -> Tensor:
        """Which cells of the map's grid the mask takes, (B, h, w)."""
        above = attention > self.threshold
        if self.mask_source == "attention":
            return above
        if self.mask_source == "none":
            return torch.ones_like(above)
        if self.mask_source == "random":
            return highest(random_scores(attention, step.seed, step.index), above)
        if self.mask_source == "inverted":
            return highest(-attention, above)
        grid = (attention.shape[1], attention.shape[2])
        return highest(detail(step.x0_hat, self.x0_blurred(step), grid), above)

    def x0_blurred(self, step: StepView) -> Tensor:
        r""":math:`\tilde x_0`: all of :math:`\hat x_0`, blurred."""
        return gaussian_blur(step.x0_hat, self.blur_sigma, self.blur_kernel)

    def x_degraded(self, step: StepView, attention: Tensor | None = None) -> Tensor | None:
        r""":math:`\hat x_t` (eq. 15): blurred where the mask is 1, with the same noise put back;
        exactly x_t elsewhere; `None` without a mask.
        """
        mask = self.mask(step, attention)
        if mask is None:
            return None
        return degrade(step.x_t, step.level.mix(self.x0_blurred(step), step.eps_base), mask)

    def is_ready(self, step: StepView) -> bool:
        return HAND_MASK in step.kept or super().is_ready(step)

    def request(self, step: StepView) -> UNetRequest | None:
        """Its own pass: the degraded latent, on the branch that guidance starts from."""
        x_degraded = None if DEGRADED in step.kept else self.x_degraded(step)
        if x_degraded is None:
            return None
        key = (self.without_scale, id(step.kept.get(HAND_MASK)), step.seed)
        return UNetRequest(DEGRADED, x_degraded, key)

    def reusable(self, old: StepView, new: StepView) -> dict[str, Tensor]:
        """The map where it is read alike, and the second pass where the degraded latent is."""
        before = old.guidance.get(SAG)
        if before is None or old.guidance.needs_both_branches != new.guidance.needs_both_branches:
            return {}
        attention = old.kept.get(ATTENTION) if self.reads == before.reads else None
        found = {} if attention is None else {ATTENTION: attention}
        now, then = self.x_degraded(new, attention), before.x_degraded(old)
        if DEGRADED in old.kept and now is not None and then is not None and torch.equal(now, then):
            found[DEGRADED] = old.kept[DEGRADED]
        return found

    def in_noise(self, step: StepView) -> Tensor:
        return step.eps_base - self.eps_degraded(step)

    def eps_degraded(self, step: StepView) -> Tensor:
        r""":math:`\epsilon(\hat x_t)`, on the branch that guidance starts from."""
        if step.level.prediction == "epsilon":
            return step.kept[DEGRADED]  # spares the blur, which only the other kinds need
        x_degraded = self.x_degraded(step)
        assert x_degraded is not None, "a second pass without a degraded latent"
        return step.level.eps(x_degraded, step.kept[DEGRADED])

    def in_output(self, step: StepView) -> Tensor:
        # The second pass saw another input, so outputs cannot be subtracted; the clean latents
        # that they mean can.
        mask, x_degraded = self.mask(step), self.x_degraded(step)
        assert mask is not None and x_degraded is not None, "a second pass without a mask"
        partly_blurred = torch.where(mask > 0, self.x0_blurred(step), step.x0_hat)
        clean = step.level.x0(x_degraded, step.kept[DEGRADED])
        return step.level.slope * (partly_blurred - clean)

    def formula_at(self, step: StepView) -> str:
        return self.formula if step.out_uncond is not None else "ε(xₜ, c) − ε(x̂ₜ, c)"
