r"""`Step`: one evaluation of a run under the paper's letters.

A step stores only what cannot be recomputed: x_t, the network's own outputs and what its terms
keep, such as the attention map. Everything else is the method itself, written once, as properties;
the sampler reads the same properties that the reader sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sagviz.attention.captured import Captured
from sagviz.checks import check_whole
from sagviz.guidance import SAG, Guidance
from sagviz.guidance.sag import ATTENTION, DEGRADED, HAND_MASK
from sagviz.guidance.views import StepView

LATENTS = ("x_t", "out_uncond", "out_cond", "x_next")  # the stored tensors of one latent's shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Step(StepView):
    r"""One evaluation. Tensors are (B, C, H, W) float32 in latent units unless said otherwise;
    `None` where not needed.

    Attributes:
        index: number of the evaluation, from 0.
        level: its time and amplitudes; `t`, `alpha` and `sigma` are shortcuts.
        guidance: the terms that act here.
        x_t: noisy latent.
        out_uncond, out_cond: the network's own outputs (epsilon, v or x_0) for x_t.
        kept: what the step keeps for its terms, by name: of SAG "attention", "out_degraded" and
            "hand_mask", of PAG "out_pag" ...
        x_next: the latent that the scheduler made of it.
        forwards, samples: network calls that this step cost, and batch rows in them.
        captured: what a `Capture` asked for, by the layer's name; empty in steps that it did not
            ask about.
        seed: that of the first image; image i has seed + i, and its random mask comes from it and
            the index.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG, SAG
        >>> guidance = CFG(3.0) + SAG(1.0)
        >>> trace = sv.trace(sv.load(), "a fox", steps=4, guidance=guidance, progress=False)
        >>> step = trace[1]
        >>> step.attention.shape, step.mask.shape, step.forwards, step.samples
        (torch.Size([1, 8, 8]), torch.Size([1, 1, 16, 16]), 2, 3)
    """

    guidance: Guidance
    x_next: Tensor | None = None
    forwards: int = 0
    samples: int = 0
    captured: Mapping[str, Captured] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Its place in the run as people count, from 1: what words and pictures say."""
        return self.index + 1

    @property
    def t(self) -> float:
        """The training time that the network is given."""
        return self.level.t

    @property
    def alpha(self) -> float:
        """Amplitude of the clean latent in x_t."""
        return self.level.alpha

    @property
    def sigma(self) -> float:
        """Amplitude of the noise in x_t."""
        return self.level.sigma

    @property
    def lacks_prediction(self) -> bool:
        """Whether the first pass has still to be made: a branch is missing, or what a term reads of
        the attention.
        """
        missing = (self.out_uncond is None, self.out_cond is None)
        lacks_branch = any(missing) if self.guidance.needs_both_branches else all(missing)
        return lacks_branch or not all(term.is_ready(self) for term in self.guidance.terms)

    @property
    def eps_uncond(self) -> Tensor | None:
        """epsilon(x_t)."""
        return None if self.out_uncond is None else self.level.eps(self.x_t, self.out_uncond)

    @property
    def eps_cond(self) -> Tensor | None:
        """epsilon(x_t, c)."""
        return None if self.out_cond is None else self.level.eps(self.x_t, self.out_cond)

    @property
    def attention(self) -> Tensor | None:
        """A_t, (B, h, w): attention received per cell of the layer's grid; its mean is 1."""
        return self.kept.get(ATTENTION)

    @property
    def hand_mask(self) -> Tensor | None:
        """A hand-made mask (B, 1, H, W) that takes the place of M_t."""
        return self.kept.get(HAND_MASK)

    @property
    def mask(self) -> Tensor | None:
        """M_t = 1(A_t > psi), (B, 1, H, W), 0 or 1; or that of another source; or the hand-made one
        before both. `None` where SAG does not act.
        """
        sag = self.guidance.get(SAG)
        return None if sag is None else sag.mask(self)

    @property
    def x0_blurred(self) -> Tensor | None:
        r""":math:`\tilde x_0`: all of x̂_0, blurred."""
        sag = self.guidance.get(SAG)
        return None if sag is None else sag.x0_blurred(self)

    @property
    def x_degraded(self) -> Tensor | None:
        r""":math:`\hat x_t`: blurred where the mask is 1, with the same noise put back; exactly x_t
        elsewhere (eq. 15).
        """
        sag = self.guidance.get(SAG)
        return None if sag is None else sag.x_degraded(self)

    @property
    def eps_degraded(self) -> Tensor | None:
        r""":math:`\epsilon(\hat x_t)`, on the branch that guidance starts from."""
        sag = self.guidance.get(SAG)
        return None if sag is None or DEGRADED not in self.kept else sag.eps_degraded(self)

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
        return self._sum(self.out_base, self._in_output)

    @property
    def pushes(self) -> dict[str, Tensor]:
        """Each unscaled term as a difference of clean latents: x0_guided = x0_hat + sum of scale x
        push.
        """
        moved = {name: self.out_base + value for name, value in self._in_output.items()}
        return {name: self.level.x0(self.x_t, out) - self.x0_hat for name, out in moved.items()}

    @property
    def x0_guided(self) -> Tensor:
        r""":math:`(x_t - \sigma\tilde\epsilon)/\alpha`: the clean latent that the guided prediction
        means.
        """
        return self.level.x0(self.x_t, self.output)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that it stores, by name: `x_t`, `kept.attention`, `captured.0.mass` ..."""
        found = {name: getattr(self, name) for name in LATENTS if name != "x_next"}
        found |= {f"kept.{name}": value for name, value in self.kept.items()}
        for number, read in enumerate(self.captured.values()):
            found |= {f"captured.{number}.{kind}": part for kind, part in read.tensors.items()}
        found["x_next"] = self.x_next  # last: what comes of the others
        return {name: value for name, value in found.items() if value is not None}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Step:
        """The same step with other tensors under names of `tensors`."""
        captured = {
            layer: read.with_tensors(below(f"captured.{number}.", tensors))
            for number, (layer, read) in enumerate(self.captured.items())
        }
        kept = {**self.kept, **below("kept.", tensors)}
        latents = {name: tensors[name] for name in LATENTS if name in tensors}
        return replace(self, kept=kept, captured=captured, **latents)  # type: ignore[arg-type]

    def map(self, change: Callable[[Tensor], Tensor]) -> Step:
        """The same step with each tensor changed."""
        return self.with_tensors({name: change(value) for name, value in self.tensors.items()})

    def to(self, device: torch.device) -> Step:
        """The same step with each tensor on a device."""
        return self.map(lambda value: value.to(device))

    def of_image(self, image: int) -> Step:
        """The record of one image of the batch, from 0. What it cost is still that of all.

        Raises:
            ArgumentError: there is no such image.
        """
        image = check_whole("image", image, 0, len(self.x_t) - 1)
        own = self.map(lambda value: value[image : image + 1])
        return replace(own, seed=self.seed + image)

    @property
    def _in_output(self) -> dict[str, Tensor]:
        return {term.name: term.in_output(self) for term in self.guidance.terms}

    def _sum(self, base: Tensor, terms: Mapping[str, Tensor]) -> Tensor:
        for term in self.guidance.terms:
            base = base + term.factor * terms[term.name]
        return base


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin so, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
