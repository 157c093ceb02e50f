"""What the study puts in SAG's place: terms that are not methods, but controls of one.

Each is SAG with one thing changed, so that they share its mask, its blur and its second pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sagviz.checks import check_whole
from sagviz.diffusion.seeds import generator, normal
from sagviz.errors import ArgumentError
from sagviz.guidance import SAG, UNetRequest
from sagviz.guidance.views import StepView

PLACEBO_STREAM = 2  # apart from the noise of a stochastic scheduler and that of a random mask
BEFORE = "sag_before"  # the last term that was computed


@dataclass(frozen=True, repr=False)
class Placebo(SAG):
    """Something of SAG's size that knows nothing: at each step the term of each picture is replaced
    by what has the same norm.

    Args:
        content: "noise", Gaussian; or "shuffled", the term's own cells in random places, which
            keeps the values of each channel.
    """

    name: ClassVar[str] = "placebo"
    title: ClassVar[str] = "Placebo"

    content: str = "noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.content not in ("noise", "shuffled"):
            raise ArgumentError(f"content is {self.content!r}; give 'noise' or 'shuffled'")

    def in_noise(self, step: StepView) -> Tensor:
        """The replacement; what is drawn for image i comes from seed + i and the step's index."""
        rows = enumerate(super().in_noise(step))
        return torch.stack([self._replaced(row, step.seed + i, step.index) for i, row in rows])

    def _replaced(self, term: Tensor, seed: int, index: int) -> Tensor:
        drawn_by = generator(seed, index, PLACEBO_STREAM)
        if self.content == "shuffled":
            cells = term.flatten(1)
            return cells[:, torch.randperm(cells.shape[1], generator=drawn_by)].view_as(term)
        noise = normal(tuple(term.shape), drawn_by)
        return noise * (term.norm() / noise.norm())


@dataclass(frozen=True, repr=False)
class AlongCFG(SAG):
    r"""The part of SAG's term along CFG's direction :math:`d = \epsilon(x_t, c) - \epsilon(x_t)`.

    Beside `CFG(w)` it is CFG alone at the signed equivalent scale :math:`w + s \langle \Delta, d
    \rangle / \langle d, d \rangle` of each picture at each step (after "Guidance Matters", 2026,
    arXiv 2602.22570, which takes projections without their sign).
    """

    name: ClassVar[str] = "along_cfg"
    title: ClassVar[str] = "SAG along CFG"
    needs_both_branches: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("cfg",)

    def in_noise(self, step: StepView) -> Tensor:
        term = super().in_noise(step)
        d = step.level.eps(step.x_t, step.out_conditional) - step.eps_base
        along, length = ((x * d).sum(dim=(1, 2, 3), keepdim=True) for x in (term, d))
        return along / length.clamp(min=1e-12) * d


@dataclass(frozen=True, repr=False)
class SparseSAG(SAG):
    """SAG at every k-th evaluation, without a second pass at the others.

    Args:
        every: k: the second pass is made where the step's index is a multiple of it.
        reuse: whether the others repeat the last term, as a difference of noises; else they have
            none.
    """

    name: ClassVar[str] = "sparse_sag"
    title: ClassVar[str] = "SAG"

    every: int = 1
    reuse: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("every", self.every, 1, 999)

    @property
    def keeps(self) -> tuple[str, ...]:
        return (*super().keeps, BEFORE)

    def carry_over(self, step: StepView) -> dict[str, Tensor]:
        return {BEFORE: self.in_noise(step)} if self.reuse else {}

    def request(self, step: StepView) -> UNetRequest | None:
        return None if step.index % self.every else super().request(step)

    def in_noise(self, step: StepView) -> Tensor:
        if step.index % self.every == 0:
            return super().in_noise(step)
        return step.kept.get(BEFORE, torch.zeros_like(step.x_t))
