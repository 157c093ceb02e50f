"""What a guidance term sees of a step and of a model, and what it may ask of the U-Net."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from sagviz.attention.perturb import Perturbation
from sagviz.diffusion.noise_level import NoiseLevel


class StepView(Protocol):
    """A step of a run, as terms see it; `records.Step` is one. Latents are (B, C, H, W), float32.

    Attributes:
        index: number of the evaluation, from 0; `level`: its time and amplitudes.
        guidance: the terms that act here, a `Guidance`.
        x_t: the noisy latent.
        out_base: the network's output that guidance starts from: unconditional under CFG, else the
            only one; `eps_base`, `x0_hat`: the noise and the clean latent that it implies.
        out_conditional: the output given the prompt, or the only one.
        out_uncond, out_cond: the outputs of the two branches, `None` for one that was not needed.
        kept: what the step keeps for its terms, by name.
        seed: of the first image; image i of the batch has seed + i.
    """

    @property
    def index(self) -> int: ...
    @property
    def level(self) -> NoiseLevel: ...
    @property
    def guidance(self) -> Any: ...
    @property
    def x_t(self) -> Tensor: ...
    @property
    def out_base(self) -> Tensor: ...
    @property
    def out_conditional(self) -> Tensor: ...
    @property
    def out_uncond(self) -> Tensor | None: ...
    @property
    def out_cond(self) -> Tensor | None: ...
    @property
    def eps_base(self) -> Tensor: ...
    @property
    def x0_hat(self) -> Tensor: ...
    @property
    def kept(self) -> Mapping[str, Tensor]: ...
    @property
    def seed(self) -> int: ...


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
    def unet(self) -> nn.Module: ...
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
        perturbation: what is done to the self-attention of these rows.
    """

    name: str
    x: Tensor
    key: Hashable
    conditional: bool = False
    perturbation: Perturbation | None = None
