r"""The records of a run: `Step`, one evaluation under the paper's letters, and `Settings`, all that
the run depended on.

A step stores only what cannot be recomputed: x_t, the network's own outputs and the attention map.
Everything else is the method itself, written once, as properties; the sampler reads the same
properties that the reader sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sagviz.attention.captured import Captured
from sagviz.diffusion.blur import gaussian_blur
from sagviz.diffusion.noise_level import Level
from sagviz.guidance import SAG, Guidance
from sagviz.guidance.sag_mask import degrade, detail, highest, random_scores, upsampled

# what it stores for one term alone
OF_TERMS = ("attention", "out_degraded", "out_pag", "out_seg", "slope_cg", "apg_before")
STORED = ("x_t", "out_uncond", "out_cond", "painted", *OF_TERMS, "x_next")  # what a step stores


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    r"""One evaluation. Tensors are (B, C, H, W) float32 in latent units unless said otherwise;
    `None` where not needed.

    Attributes:
        index: number of the evaluation, from 0.
        level: its time and amplitudes; `t`, `alpha` and `sigma` are shortcuts.
        guidance: the terms that act here.
        x_t: noisy latent.
        out_uncond, out_cond, out_degraded: the network's own outputs (epsilon, v or x_0) for x_t,
            and for \hat x_t.
        attention: A_t, (B, h, w): attention received per cell of the layer's grid; its mean is 1.
        painted: a hand-made mask (B, 1, H, W) that takes the place of M_t.
        out_pag, out_seg: the network's outputs for x_t under the prompt, while PAG or SEG disturbs
            its self-attention.
        slope_cg: the gradient of CG's log-probability with respect to x_t.
        apg_before: APG's running average before this step, a difference of clean latents; `None` is
            0.
        x_next: the latent that the scheduler made of it.
        forwards, samples: U-Net calls that this step cost, and batch rows in them.
        captured: what a `Capture` asked for, by the layer's name; empty in steps that it did not
            ask about.
        seed: that of the first image; image i has seed + i, and its random mask comes from it and
            the index.
    """

    index: int
    level: Level
    guidance: Guidance
    x_t: Tensor
    out_uncond: Tensor | None = None
    out_cond: Tensor | None = None
    attention: Tensor | None = None
    painted: Tensor | None = None
    out_degraded: Tensor | None = None
    out_pag: Tensor | None = None
    out_seg: Tensor | None = None
    slope_cg: Tensor | None = None
    apg_before: Tensor | None = None
    x_next: Tensor | None = None
    forwards: int = 0
    samples: int = 0
    captured: Mapping[str, Captured] = field(default_factory=dict)
    seed: int = 0

    @property
    def t(self) -> float:
        return self.level.t

    @property
    def alpha(self) -> float:
        return self.level.alpha

    @property
    def sigma(self) -> float:
        return self.level.sigma

    @property
    def _out_base(self) -> Tensor:
        """The output that guidance starts from: the unconditional one, or the only one."""
        base = self.out_cond if self.out_uncond is None else self.out_uncond
        assert base is not None, "a step without any prediction"
        return base

    @property
    def out_told(self) -> Tensor:
        """The output given the prompt, or the only one."""
        told = self.out_uncond if self.out_cond is None else self.out_cond
        assert told is not None, "a step without any prediction"
        return told

    @property
    def lacks_prediction(self) -> bool:
        """Whether the first pass has still to be made: a branch is missing, or the attention that a
        mask is made of.
        """
        if self.guidance.sag is not None and self.attention is None and self.painted is None:
            return True
        missing = (self.out_uncond is None, self.out_cond is None)
        return any(missing) if self.guidance.both else all(missing)

    @property
    def eps_base(self) -> Tensor:
        """The noise that guidance starts from: unconditional under CFG or APG, else the single
        branch.
        """
        return self.level.eps(self.x_t, self._out_base)

    @property
    def eps_uncond(self) -> Tensor | None:
        """epsilon(x_t)."""
        return None if self.out_uncond is None else self.level.eps(self.x_t, self.out_uncond)

    @property
    def eps_cond(self) -> Tensor | None:
        """epsilon(x_t, c)."""
        return None if self.out_cond is None else self.level.eps(self.x_t, self.out_cond)

    @property
    def x0_hat(self) -> Tensor:
        r""":math:`\hat x_0 = (x_t - \sigma \epsilon_{base})/\alpha` (eq. 2)."""
        return self.level.x0(self.x_t, self._out_base)

    @property
    def mask(self) -> Tensor | None:
        """M_t = 1(A_t > psi), (B, 1, H, W), 0 or 1; or that of another source; or the hand-made one
        before both.
        """
        sag = self.guidance.sag
        if sag is None or self.painted is not None:
            return self.painted
        if self.attention is None:
            return None
        height, width = self.x_t.shape[2:]
        return upsampled(self._cells(self.attention, sag), (height, width))

    def _cells(self, attention: Tensor, sag: SAG) -> Tensor:
        """Which cells of the map's grid the mask takes, (B, h, w)."""
        taken = attention > sag.threshold
        if sag.mask_source == "attention":
            return taken
        if sag.mask_source == "none":
            return torch.ones_like(taken)
        if sag.mask_source == "random":
            return highest(random_scores(attention, self.seed, self.index), taken)
        if sag.mask_source == "inverted":
            return highest(-attention, taken)
        blurred = gaussian_blur(self.x0_hat, sag.blur_sigma, sag.blur_kernel)
        return highest(
            detail(self.x0_hat, blurred, (attention.shape[1], attention.shape[2])), taken
        )

    @property
    def x0_blurred(self) -> Tensor | None:
        r""":math:`\tilde x_0`: all of x̂_0, blurred."""
        sag = self.guidance.sag
        return None if sag is None else gaussian_blur(self.x0_hat, sag.blur_sigma, sag.blur_kernel)

    @property
    def x_degraded(self) -> Tensor | None:
        r""":math:`\hat x_t`: blurred where the mask is 1, with the same noise put back; exactly x_t
        elsewhere (eq. 15).
        """
        blurred, mask = self.x0_blurred, self.mask
        if blurred is None or mask is None:
            return None
        return degrade(self.x_t, self.level.mix(blurred, self.eps_base), mask)

    @property
    def eps_degraded(self) -> Tensor | None:
        r""":math:`\epsilon(\hat x_t)`, on the branch that guidance starts from."""
        if self.out_degraded is None:
            return None
        if self.level.prediction == "epsilon":
            return self.out_degraded  # spares the blur, which only the other kinds need
        assert self.x_degraded is not None, "an output for a latent that cannot be told"
        return self.level.eps(self.x_degraded, self.out_degraded)

    @property
    def terms(self) -> dict[str, Tensor]:
        """Each guidance term unscaled, in noise units: eps = eps_base + sum of scale x term."""
        return {term.name: term.in_noise(self) for term in self.guidance.terms}

    @property
    def eps(self) -> Tensor:
        r""":math:`\tilde\epsilon = \epsilon_{base} + \sum_k s_k term_k` (eq. 16 for SAG)."""
        return self._sum(self.eps_base, self.terms)

    @property
    def output(self) -> Tensor:
        """The guided prediction in the network's own kind, which the scheduler is given.

        v- and x_0-models are guided in their own kind, the same rule, because at alpha = 0 the
        noise has lost the image.
        """
        if self.level.prediction == "epsilon":
            return self.eps
        return self._sum(
            self._out_base, {term.name: term.in_output(self) for term in self.guidance.terms}
        )

    @property
    def pushes(self) -> dict[str, Tensor]:
        """Each unscaled term as a difference of clean latents: x0_guided = x0_hat + sum of scale x
        push.
        """
        is_noise = self.level.prediction == "epsilon"
        moved = {
            t.name: self._out_base + (t.in_noise(self) if is_noise else t.in_output(self))
            for t in self.guidance.terms
        }
        return {
            name: self.level.x0(self.x_t, output) - self.x0_hat for name, output in moved.items()
        }

    @property
    def x0_guided(self) -> Tensor:
        r""":math:`(x_t - \sigma\tilde\epsilon)/\alpha`: the clean latent that the guided prediction
        means.
        """
        return self.level.x0(self.x_t, self.output)

    def of_image(self, image: int) -> Step:
        """The record of one image of the batch, from 0. What it cost is still that of all."""
        row = slice(image, image + 1)
        own: dict[str, Any] = {
            name: value[row] for name in STORED if (value := getattr(self, name)) is not None
        }
        captured = {
            layer: found.with_tensors({k: v[row] for k, v in found.tensors.items()})
            for layer, found in self.captured.items()
        }
        return replace(self, seed=self.seed + image, captured=captured, **own)

    def _sum(self, base: Tensor, terms: dict[str, Tensor]) -> Tensor:
        for term in self.guidance.terms:
            base = base + term.scale * terms[term.name]
        return base
