"""SAG: away from what the network predicts when the cells that it attends to are blurred."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.attention.layers import find_layer
from sagviz.attention.read import Reading
from sagviz.checks import check_number
from sagviz.diffusion.blur import kernel_size
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Ask, Guidance, Term

MASK_SOURCES = ("attention", "none", "random", "high-frequency", "inverted")


@dataclass(frozen=True, repr=False)
class SAG(Term):
    r"""Self-attention guidance (Hong et al. 2023, arXiv 2210.00939v6, eqs. 15-16):
    :math:`\epsilon(x_t) - \epsilon(\hat x_t)`.

    Costs a second U-Net call of one row.

    Args:
        scale: the paper's s: 0 is off, negative is allowed. The original code's `guide_scale` is 1
            + s.
        threshold: psi, in units of the mean attention (the map averages exactly 1); inf masks
            nothing, below 0 everything.
        blur_sigma: standard deviation of the blur in latent pixels; 0 blurs nothing.
        blur_kernel: taps of the blur, odd; `None` is 2 ceil(4 sigma) + 1, which is 9 at sigma = 1.
        layer: self-attention layer that is read: "mid" or a dotted path that ends in `attn1`.
        heads: which heads to average; all where `None`.
        mask_source: what is blurred, so that the attention's own part can be told (the paper's
            ablation of the mask has the first four): "attention", the cells whose attention exceeds
            psi; "none", the whole latent: a global blur; and three that take as many cells of the
            same grid as the attention's own mask has in that image at that step: "random", drawn
            from the image's seed and the step's index; "high-frequency", those where the blur takes
            most from :math:`\hat x_0` (mean of the absolute difference over channels); "inverted",
            those of least attention.
        start, stop: the interval in which it acts, see `Term`.
    """

    name: ClassVar[str] = "sag"
    title: ClassVar[str] = "SAG"
    formula: ClassVar[str] = "ε(xₜ) − ε(x̂ₜ)"
    late: ClassVar[bool] = True
    window_always_told: ClassVar[bool] = True  # its files have had it from the beginning

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
        if self.mask_source not in MASK_SOURCES:
            raise ArgumentError(
                f"mask_source is {self.mask_source!r}; give one of"
                f" {', '.join(map(repr, MASK_SOURCES))}"
            )
        kernel = self.blur_kernel
        if kernel is not None and (not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0):
            raise ArgumentError(
                f"blur_kernel is {kernel!r}; give an odd number of taps such as 9, or None"
            )
        if self.heads is not None:
            if (
                isinstance(self.heads, str | int)
                or not all(isinstance(head, int) for head in self.heads)
                or not self.heads
            ):
                raise ArgumentError(
                    f"heads is {self.heads!r}; give a tuple of head numbers such as (0, 3), or None"
                )
            object.__setattr__(self, "heads", tuple(self.heads))

    @property
    def stored(self) -> tuple[str, ...]:
        return ("attention", "out_degraded")

    @property
    def reading(self) -> Reading:
        """The map that it reads, where guidance starts from."""
        return Reading(self.layer, heads=self.heads)

    def check(self, model: Any, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        find_layer(model.unet, self.layer, self.heads)
        taps, side = kernel_size(self.blur_sigma, self.blur_kernel), min(shape[1:])
        if taps // 2 >= side:
            raise ArgumentError(
                f"a blur of {taps} taps does not fit a latent of {shape[1]} x {shape[2]}; "
                f"give blur_kernel={2 * side - 1} or less, or a larger size"
            )

    def ask(self, step: Any) -> Ask | None:
        """Its own pass: the degraded latent, on the branch that guidance starts from."""
        if step.out_degraded is not None or step.lacks_prediction:
            return None
        return Ask("out_degraded", step.x_degraded, key=(self.silent, id(step.painted), step.seed))

    def kept(self, old: Any, new: Any) -> dict[str, Any]:
        before = old.guidance.sag
        if before is None or old.guidance.both != new.guidance.both:
            return {}
        found = {"attention": old.attention} if self.reading == before.reading else {}
        with_map = replace(new, **found)
        if (
            with_map.lacks_prediction
            or old.out_degraded is None
            or not torch.equal(with_map.x_degraded, old.x_degraded)
        ):
            return found
        return {**found, "out_degraded": old.out_degraded}

    def in_noise(self, step: Any) -> Tensor:
        return step.eps_base - step.eps_degraded

    def in_output(self, step: Any) -> Tensor:
        # The second pass saw another input, so outputs cannot be subtracted; the clean latents that
        # they mean can.
        partly_blurred = torch.where(step.mask > 0, step.x0_blurred, step.x0_hat)
        return step.level.slope * (
            partly_blurred - step.level.x0(step.x_degraded, step.out_degraded)
        )
