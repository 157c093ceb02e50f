r"""The guidance terms as settings: small frozen records that add up, `CFG(3.0) + SAG(1.0)`.

The guided noise is :math:`\tilde\epsilon = \epsilon_{base} + \sum_k s_k \cdot term_k`; each class says its term,
unscaled, from the predictions that a `records.Step` holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from sagviz.errors import ArgumentError

if TYPE_CHECKING:
    from sagviz.guidance.cfg import CFG
    from sagviz.guidance.sag import SAG


def check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf, finite: bool = True) -> None:
    """Refuse what is not a number between `low` and `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ArgumentError(f"{name} is {value!r}; give a number")
    if not low <= value <= high or (finite and math.isinf(value)):
        span = f"from {low:g} to {high:g}" if math.isfinite(low) or math.isfinite(high) else "that is finite"
        raise ArgumentError(f"{name} is {value!r}; give a number {span}")


@dataclass(frozen=True)
class Term:
    """One direction of guidance and its scale. A subclass is known by its `name`, in sums and in files."""

    name: ClassVar[str]
    kinds: ClassVar[dict[str, type[Term]]] = {}
    scale: float

    def __init_subclass__(cls) -> None:
        Term.kinds[cls.name] = cls

    def __post_init__(self) -> None:
        check_number(f"the {self.name} scale", self.scale)

    def __add__(self, other: Term | Guidance) -> Guidance:
        return Guidance((self,)) + other

    def active(self, fraction: float) -> bool:
        """Whether the term acts in evaluation i of n, `fraction` being i / n."""
        del fraction  # a plain term always acts
        return True

    def in_noise(self, step: Any) -> Tensor:
        """The unscaled term of a `records.Step`, as a difference of noises."""
        raise NotImplementedError

    def in_output(self, step: Any) -> Tensor:
        """The same term as a difference of network outputs for x_t: equal to `in_noise` where the network predicts noise."""
        raise NotImplementedError


@dataclass(frozen=True)
class Guidance:
    """A sum of terms, at most one of each kind. The empty sum is the plain prediction."""

    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names):
            raise ArgumentError(f"the guidance {self!r} has a term twice; add their scales instead")

    def __add__(self, other: Term | Guidance) -> Guidance:
        if not isinstance(other, Term | Guidance):
            return NotImplemented
        return Guidance(self.terms + (other.terms if isinstance(other, Guidance) else (other,)))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.terms)) or "unguided"

    def get(self, name: str) -> Any:
        """The term of that name, `None` where the sum has none."""
        return next((term for term in self.terms if term.name == name), None)

    @property
    def cfg(self) -> CFG | None:
        return self.get("cfg")

    @property
    def sag(self) -> SAG | None:
        return self.get("sag")

    def at(self, fraction: float) -> Guidance:
        """The terms that act in evaluation i of n, `fraction` being i / n."""
        return Guidance(tuple(term for term in self.terms if term.active(fraction)))

    def to_json(self) -> list[dict[str, Any]]:
        return [{"kind": term.name, **asdict(term)} for term in self.terms]

    @staticmethod
    def from_json(terms: Sequence[dict[str, Any]]) -> Guidance:
        return Guidance(tuple(Term.kinds[term["kind"]](**{k: v for k, v in term.items() if k != "kind"}) for term in terms))


def as_guidance(value: object) -> Guidance:
    """`None`, a term or a sum, as a sum."""
    if value is None:
        return Guidance()
    if isinstance(value, Term):
        return Guidance((value,))
    if isinstance(value, Guidance):
        return value
    raise ArgumentError(f"guidance is {value!r}; give None, CFG(3.0), SAG(1.0) or a sum such as CFG(3.0) + SAG(1.0)")
