"""SAG: away from what the network predicts when the cells that it attends to are blurred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.errors import ArgumentError
from sagviz.guidance.base import Term, check_number

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
