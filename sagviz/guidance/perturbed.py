"""What PAG and SEG share: away from what the network predicts while its self-attention is
disturbed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sagviz.attention.perturb import Perturbation, layers_of
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Ask, Guidance, Term


@dataclass(frozen=True, repr=False)
class Perturbed(Term):
    """A disturbed row of x_t, under the prompt: beside the branches, in the same U-Net call."""

    layers: str | tuple[str, ...] = "mid"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = (self.layers,) if isinstance(self.layers, str) else self.layers
        if (
            not isinstance(given, tuple | list)
            or not given
            or not all(isinstance(layer, str) and layer for layer in given)
        ):
            raise ArgumentError(
                f"layers is {self.layers!r}; give 'mid', a dotted path, or a tuple of them"
            )
        if not isinstance(self.layers, str):
            object.__setattr__(self, "layers", tuple(given))

    @property
    def change(self) -> Perturbation:
        """What is done to the row's self-attention."""
        raise NotImplementedError

    @property
    def stored(self) -> tuple[str, ...]:
        return (f"out_{self.name}",)

    def check(self, model: Any, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        for layer in self.change.layers:
            layers_of(model.unet, layer)

    def ask(self, step: Any) -> Ask | None:
        (where,) = self.stored
        done = getattr(step, where) is not None
        return (
            None if done else Ask(where, step.x_t, key=self.change, told=True, change=self.change)
        )

    def kept(self, old: Any, new: Any) -> dict[str, Any]:
        del new
        (where,), before = self.stored, old.guidance.get(self.name)
        there = (
            before is not None and before.change == self.change and getattr(old, where) is not None
        )
        return {where: getattr(old, where)} if there else {}

    def in_noise(self, step: Any) -> Tensor:
        (where,) = self.stored
        return step.level.eps(step.x_t, step.out_told) - step.level.eps(
            step.x_t, getattr(step, where)
        )

    def in_output(self, step: Any) -> Tensor:
        (where,) = self.stored
        return step.out_told - getattr(step, where)
