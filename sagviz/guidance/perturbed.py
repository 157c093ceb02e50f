"""What PAG, SEG, TPG, SSG, SLG and NAG share: one more row, for which the network is disturbed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sagviz.attention.perturb import Perturbation, layers_of
from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance, Term
from sagviz.guidance.views import ModelView, StepView, UNetRequest


@dataclass(frozen=True, repr=False)
class Perturbed(Term):
    """A disturbed row of x_t, under the prompt: beside the branches, in the same network call."""

    layers: str | tuple[str, ...] = "mid"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.layer_names
        if not given or not all(isinstance(layer, str) and layer for layer in given):
            raise ArgumentError(
                f"layers is {self.layers!r}; give 'mid', 'all', a dotted path, or a tuple of them"
            )
        if not isinstance(self.layers, str):
            object.__setattr__(self, "layers", given)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers as a tuple; empty for what is none."""
        if isinstance(self.layers, str):
            return (self.layers,)
        return tuple(self.layers) if isinstance(self.layers, tuple | list) else ()

    def perturbation(self, step: StepView) -> Perturbation:
        """What is done to the network for this row."""
        raise NotImplementedError

    @property
    def output_name(self) -> str:
        """Under which a step keeps the disturbed row's output."""
        return f"out_{self.name}"

    @property
    def keeps(self) -> tuple[str, ...]:
        return (self.output_name,)

    def check(self, model: ModelView, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        super().check(model, guidance, shape)
        for layer in self.layer_names:
            layers_of(model.network, layer)

    def request(self, step: StepView) -> UNetRequest | None:
        if (name := self.output_name) in step.kept:
            return None
        change = self.perturbation(step)
        negative = self.reads_negative_prompt
        return UNetRequest(name, step.x_t, change, True, change, with_negative=negative)

    def reusable(self, old: StepView, new: StepView) -> dict[str, Tensor]:
        """Also where CFG comes or goes and the prompt's branch stays: the row is under its text.
        Without a prompt, a single branch may be under another text than CFG's.
        """
        name, before = self.output_name, old.guidance.get(type(self))
        alike = old.guidance.needs_both_branches == new.guidance.needs_both_branches
        same_text = alike or new.out_cond is not None
        same = before is not None and before.perturbation(old) == self.perturbation(new)
        return {name: old.kept[name]} if same_text and same and name in old.kept else {}

    def in_noise(self, step: StepView) -> Tensor:
        level, disturbed = step.level, step.kept[self.output_name]
        return level.eps(step.x_t, step.out_conditional) - level.eps(step.x_t, disturbed)

    def in_output(self, step: StepView) -> Tensor:
        return step.out_conditional - step.kept[self.output_name]

    def formula_at(self, step: StepView) -> str:
        return self.formula if step.out_cond is not None else self.formula.replace(", c", "")
