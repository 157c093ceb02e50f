r"""The guidance terms as settings: small frozen records that add up, `CFG(3.0) + SAG(1.0)`.

The guided noise is :math:`\tilde\epsilon = \epsilon_{base} + \sum_k s_k \cdot term_k`. Each class
is one term: its direction, the predictions that it is made of, and how people meet it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, overload

import torch
from torch import Tensor

from sagviz.attention.read import Reading
from sagviz.errors import ArgumentError
from sagviz.guidance.recorded import made
from sagviz.guidance.scaled import Scaled
from sagviz.guidance.views import ModelView, StepView, UNetRequest

Kind = TypeVar("Kind", bound="Term")
SPARE_COLOURS = ("#8C564B", "#17BECF", "#BCBD22", "#7F7F7F", "#E377C2")


@dataclass(frozen=True, repr=False)
class Term(Scaled):
    r"""One direction of guidance and its scale. A new term is a subclass, in a notebook cell too.

    A subclass has a `name` and says its direction, `in_noise`; all else has a default. From then on
    it works everywhere: in runs, files, sweeps, what-if, plots, widgets and reports.

    Args:
        scale: factor on the direction: a number, or a curve over the run, see `schedule`. The terms
            of a step have its number.
        start: fraction of the evaluations (0..1) at which the term begins to act.
        stop: fraction at which it ends; evaluation i of n is guided where start <= i / n < stop
            (the guidance interval of Kynkäänniemi et al. 2024, arXiv 2404.07724). Where CFG does
            not act, what is left is the plain prediction given the prompt: w = 1.

    Attributes:
        name: in sums, files and columns, such as "sag"; that of one of ours is refused.
        title: for people ("SAG"; the class's name); symbol: of the scale ("s"); formula: of the
            direction, in Unicode ("Δ"); colour: in figures, "#rrggbb" (one of a few spare ones).
        scale_range, scale_step: of the scale's slider ((0, 10), 0.1); runs may go beyond.
        scale_help: what the scale means, for a tooltip.
        field_titles: what its other fields are called, where their names do not say it.
        needs_both_branches: whether it compares the predictions with and without the prompt.
        reads_negative_prompt: whether the negative prompt has an effect on it without CFG.
        second_pass: whether what it requests of the network depends on what the branches gave.
        requires: names of terms without which it means nothing.
    """

    kinds: ClassVar[dict[str, type[Term]]] = {}  # every class by its name

    title: ClassVar[str]
    symbol: ClassVar[str] = "s"
    formula: ClassVar[str] = "Δ"
    colour: ClassVar[str]
    scale_range: ClassVar[tuple[float, float]] = (0.0, 10.0)
    scale_step: ClassVar[float] = 0.1
    scale_help: ClassVar[str] = "0 is off"
    field_titles: ClassVar[Mapping[str, str]] = {}
    needs_both_branches: ClassVar[bool] = False
    reads_negative_prompt: ClassVar[bool] = False
    second_pass: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            return  # what several terms share, no term itself
        known = Term.kinds.get(cls.name, cls)
        theirs, own = ((kind.__module__, kind.__qualname__) for kind in (known, cls))
        if theirs[0].startswith("sagviz.") and theirs != own:
            raise ArgumentError(f"the name {cls.name!r} is that of {known.__name__}; give another")
        cls.title = cls.__dict__.get("title", cls.__name__)
        spare = SPARE_COLOURS[zlib.crc32(cls.name.encode()) % len(SPARE_COLOURS)]
        cls.colour = cls.__dict__.get("colour", spare)
        Term.kinds[cls.name] = cls

    def __add__(self, other: Term | Guidance) -> Guidance:
        return Guidance((self,)) + other

    def __radd__(self, zero: int) -> Guidance:
        return Guidance((self,)).__radd__(zero)

    def check(self, model: ModelView, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        """Refuse, before anything runs, what this model, sum or latent (C, H, W) does not allow."""
        del model, shape
        missing = [Term.kinds[name].__name__ for name in self.requires if not guidance.get(name)]
        if missing:
            wanted = f"add {missing[0]}(3.0) to the guidance"
            raise ArgumentError(
                f"{type(self).__name__} does nothing without {missing[0]}; {wanted}"
            )

    @property
    def cost(self) -> tuple[int, int]:
        """Batch rows and network calls that it adds to a step beside a plain prediction, and beside
        the terms that it requires.
        """
        asks = type(self).request is not Term.request
        branch = self.needs_both_branches and not self.requires
        return branch + asks * (1 + self.reads_negative_prompt), int(asks and self.second_pass)

    @property
    def keeps(self) -> tuple[str, ...]:
        """Names of the tensors that a step keeps for this term, beside the branches: of floats,
        with one row for each image, as a file of the run has them.
        """
        return ()

    @property
    def reads(self) -> Mapping[str, Reading]:
        """What the first pass reads of the attention for it, by the name it is kept under."""
        return {}

    def is_ready(self, step: StepView) -> bool:
        """Whether the first pass has left what the term needs of it."""
        return all(name in step.kept for name in self.reads)

    def request(self, step: StepView) -> UNetRequest | None:  # noqa: ARG002
        """What the step still lacks for this term of the network's outputs."""
        return None  # a plain term is made of the branches

    def compute(self, step: StepView, model: ModelView) -> dict[str, Tensor]:  # noqa: ARG002
        """What the step still lacks that is not the network's, by the name it is kept under."""
        return {}

    def carry_over(self, step: StepView) -> dict[str, Tensor]:  # noqa: ARG002
        """What the next step must know of this one, by the name it is kept under."""
        return {}

    def reusable(self, old: StepView, new: StepView) -> dict[str, Tensor]:
        """What `old` keeps that also holds for `new`: the same x_t, under a sum with this term."""
        before = old.guidance.get(self.name)
        same = before is not None and before.without_scale == self.without_scale
        if not same or old.guidance.needs_both_branches != new.guidance.needs_both_branches:
            return {}
        return {name: old.kept[name] for name in self.keeps if name in old.kept}

    def kept_numbers(self, shape: tuple[int, int, int]) -> int:
        """How many numbers a step keeps for it at the most, for one latent (C, H, W)."""
        maps, tensors = len(self.reads), len(self.keeps)
        return ((tensors - maps) * shape[0] + maps) * math.prod(shape[1:])

    def in_noise(self, step: StepView) -> Tensor:
        """The unscaled direction, as a difference of noises, (B, C, H, W)."""
        raise NotImplementedError

    def in_output(self, step: StepView) -> Tensor:
        """The same as a difference of the network's outputs for x_t, whatever it predicts."""
        level, noise = step.level, self.in_noise(step)
        if level.prediction == "epsilon":
            return noise
        if level.alpha == 0:  # in pure noise a difference of noises says nothing of the picture
            return torch.zeros_like(noise)
        return -level.sigma / level.alpha * level.slope * noise

    def formula_at(self, step: StepView) -> str:  # noqa: ARG002
        """The formula for the branches that this step has."""
        return self.formula


@dataclass(frozen=True, repr=False)
class Guidance:
    """A sum of terms, at most one of each kind. The empty sum is the plain prediction.

    Example:
        >>> from sagviz.guidance import CFG, SAG
        >>> total = CFG(3.0) + SAG(1.0, stop=0.5)
        >>> total.get(SAG).stop, total.at(0.7)
        (0.5, CFG(3.0))
    """

    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        if len({term.name for term in self.terms}) < len(self.terms):
            raise ArgumentError(f"the guidance {self!r} has a term twice; add their scales")

    def __add__(self, other: Term | Guidance) -> Guidance:
        more = (other,) if isinstance(other, Term) else getattr(other, "terms", None)
        return NotImplemented if more is None else Guidance(self.terms + more)

    def __radd__(self, zero: int) -> Guidance:
        return self if zero == 0 else NotImplemented  # `sum` begins with 0

    def __repr__(self) -> str:
        """The code that makes it."""
        return " + ".join(map(repr, self.terms)) or "None"

    def __str__(self) -> str:
        return repr(self) if self.terms else "unguided"

    @overload
    def get(self, kind: type[Kind]) -> Kind | None: ...
    @overload
    def get(self, kind: str) -> Term | None: ...
    def get(self, kind: type[Term] | str) -> Term | None:
        """The term of that class or name, `None` where the sum has none."""
        name = kind if isinstance(kind, str) else kind.name
        return next((term for term in self.terms if term.name == name), None)

    @property
    def needs_both_branches(self) -> bool:
        """Whether guidance starts from the branch without the prompt, else from the only one."""
        return any(term.needs_both_branches for term in self.terms)

    @property
    def reads_negative_prompt(self) -> bool:
        """Whether the negative prompt has an effect: as the other branch's text, or by a term."""
        return self.needs_both_branches or any(term.reads_negative_prompt for term in self.terms)

    @property
    def costs(self) -> tuple[tuple[int, int], ...]:
        """The `cost` of each term beside those before it: the other branch counts once."""
        costs, branches = list[tuple[int, int]](), False
        for term in self.terms:
            rows, calls = term.cost
            brings = term.needs_both_branches and not term.requires
            costs.append((rows - (brings and branches), calls))
            branches = branches or brings
        return tuple(costs)

    @property
    def applicable(self) -> Guidance:
        """Without the terms that need another one which is not there."""
        return Guidance(tuple(term for term in self.terms if all(map(self.get, term.requires))))

    def at(self, fraction: float) -> Guidance:
        """The terms that act in evaluation i of n, `fraction` being i / n: their scales there."""
        acting = (term for term in self.terms if term.start <= fraction < term.stop)
        return Guidance(tuple(term.at(fraction) for term in acting)).applicable

    def to_json(self) -> list[dict[str, Any]]:
        """The terms as plain values by name, each with its `kind`."""
        return [{"kind": term.name, **term.to_json()} for term in self.terms]

    @staticmethod
    def from_json(terms: Sequence[Any]) -> Guidance:
        """The sum that `to_json` gave.

        Raises:
            ArgumentError: a term is of a kind that is not defined here, or has other fields.
        """
        return Guidance(tuple(made(Term.kinds, term) for term in terms))
