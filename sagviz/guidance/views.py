"""What a guidance term sees of a step and of a model, and what it may ask of the U-Net."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from sagviz.attention.perturb import Perturbation
from sagviz.diffusion.noise_level import NoiseLevel


@dataclass(frozen=True, eq=False, kw_only=True)
class StepView:
    r"""A step of a run, as terms see it; `records.Step` is one. Latents are (B, C, H, W), float32.

    Attributes:
        index: number of the evaluation, from 0.
        level: its time and amplitudes.
        guidance: the terms that act here, a `Guidance`.
        x_t: the noisy latent.
        out_uncond, out_cond: the network's own outputs (epsilon, v or x_0) for x_t, `None` for a
            branch that was not needed.
        kept: what the step keeps for its terms, by name: of SAG "attention", "out_degraded" and
            "hand_mask", of PAG "out_pag" ...
        seed: of the first image; image i of the batch has seed + i.
    """

    index: int
    level: NoiseLevel
    guidance: Any
    x_t: Tensor
    out_uncond: Tensor | None = None
    out_cond: Tensor | None = None
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    seed: int = 0

    @property
    def out_base(self) -> Tensor:
        """The output that guidance starts from: the unconditional one, or the only one."""
        base = self.out_cond if self.out_uncond is None else self.out_uncond
        assert base is not None, "a step without any prediction"
        return base

    @property
    def out_conditional(self) -> Tensor:
        """The output given the prompt, or the only one."""
        return self.out_base if self.out_cond is None else self.out_cond

    @property
    def eps_base(self) -> Tensor:
        """The noise that guidance starts from: unconditional under CFG or APG, else that of the
        single branch.
        """
        return self.level.eps(self.x_t, self.out_base)

    @property
    def x0_hat(self) -> Tensor:
        r""":math:`\hat x_0 = (x_t - \sigma \epsilon_{base})/\alpha` (eq. 2)."""
        return self.level.x0(self.x_t, self.out_base)


class Classifier(Protocol):
    """Tells what is in a noisy latent: `labels`, and a logit for each."""

    @property
    def labels(self) -> Sequence[str]: ...
    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Latents of unit variance (B, C, H, W), training times 0..999 (B,), to (B, labels)."""
        ...


class ModelView(Protocol):
    """A model, as terms see it; `models.Model` is one."""

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> nn.Module: ...
    @property
    def classifier(self) -> Classifier | None: ...


@dataclass(frozen=True, eq=False)
class UNetRequest:
    """Rows that a term wants of the U-Net beside the branches.

    Attributes:
        name: under which the step keeps their output.
        x: the noisy latent, (B, C, H, W), before the scheduler's scaling.
        key: what decides the output beside the step's x_t and level, and the text.
        conditional: whether under the prompt, or else under the text that guidance starts from.
        perturbation: what is done to the network for these rows.
        with_negative: whether as many rows of the same latent under the negative prompt go along,
            after these, for the perturbation to read; what comes of them is dropped.
    """

    name: str
    x: Tensor
    key: Hashable
    conditional: bool = False
    perturbation: Perturbation | None = None
    with_negative: bool = False
