r"""The guidance terms as settings: small frozen records that add up, `CFG(3.0) + SAG(1.0)`.

The guided noise is :math:`\tilde\epsilon = \epsilon_{base} + \sum_k s_k \cdot term_k`; each class
says its term, unscaled, from the predictions that a `records.Step` holds, and which predictions
those are.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from sagviz.attention.perturb import Perturbation
from sagviz.checks import check_number
from sagviz.errors import ArgumentError

if TYPE_CHECKING:
    from sagviz.guidance.cfg import CFG
    from sagviz.guidance.sag import SAG

WINDOW = {"start": 0.0, "stop": 1.0}  # the whole run


@dataclass(frozen=True, eq=False)
class Ask:
    """Rows that a term wants of the U-Net beside the branches.

    Attributes:
        field: where the step stores their output.
        x: the noisy latent, (B, C, H, W), before the scheduler's scaling.
        key: what decides the output beside the step's x_t and level, and the text.
        told: whether under the prompt, or else under the text that guidance starts from.
        change: what is done to the self-attention of these rows.
    """

    field: str
    x: Tensor
    key: Hashable
    told: bool = False
    change: Perturbation | None = None


@dataclass(frozen=True, repr=False)
class Term:
    """One direction of guidance and its scale. A subclass is known by its `name`, in sums and in
    files.

    Args:
        scale: factor on the direction.
        start: fraction of the evaluations (0..1) at which the term begins to act.
        stop: fraction at which it ends; evaluation i of n is guided where start <= i / n < stop
            (the guidance interval of Kynkäänniemi et al. 2024, arXiv 2404.07724). Where CFG does
            not act, what is left is the plain prediction given the prompt: w = 1.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    formula: ClassVar[str]  # of the direction, for people
    kinds: ClassVar[dict[str, type[Term]]] = {}
    both: ClassVar[bool] = False  # whether it needs both branches, with and without the prompt
    # whether what it asks of the U-Net depends on what the branches gave
    late: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ()  # terms without which it means nothing
    window_always_told: ClassVar[bool] = False

    scale: float
    start: float = field(default=WINDOW["start"], kw_only=True)
    stop: float = field(default=WINDOW["stop"], kw_only=True)

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            Term.kinds[cls.name] = cls

    def __post_init__(self) -> None:
        check_number(f"the {self.name} scale", self.scale)
        check_number("start", self.start, 0, 1)
        check_number("stop", self.stop, self.start, 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"

    def __add__(self, other: Term | Guidance) -> Guidance:
        return Guidance((self,)) + other

    def settings(self) -> dict[str, Any]:
        """All that the term was told, by name. The window is left out where it is the whole run, as
        in files before it was every term's, so that the cells of old sweeps keep their keys."""
        own = {
            each.name: getattr(self, each.name) for each in fields(self) if each.name not in WINDOW
        }
        window = {name: getattr(self, name) for name in WINDOW}
        return {**own, **window} if self.window_always_told or window != WINDOW else own

    @property
    def unusual(self) -> dict[str, Any]:
        """The settings beside the scale that differ from their defaults, by name."""
        usual = {each.name: each.default for each in fields(self)}
        return {
            name: value
            for name, value in self.settings().items()
            if name != "scale" and value != usual[name]
        }

    @property
    def silent(self) -> Term:
        """The term without all that its predictions do not depend on."""
        return replace(self, scale=0.0, **WINDOW)

    @property
    def stored(self) -> tuple[str, ...]:
        """The fields that a step stores for this term, beside the branches."""
        return ()

    def check(self, model: Any, guidance: Guidance, shape: tuple[int, int, int]) -> None:
        """Refuse, before anything runs, what cannot be done with this model, this sum, a latent of
        this (C, H, W).
        """
        del model, shape
        missing = [
            Term.kinds[name].__name__ for name in self.requires if guidance.get(name) is None
        ]
        if missing:
            raise ArgumentError(
                f"{type(self).__name__} does nothing without {missing[0]}; add {missing[0]}(3.0) to"
                " the guidance"
            )

    def ask(self, step: Any) -> Ask | None:
        """What a `records.Step` still lacks for this term of the U-Net's outputs."""
        del step  # a plain term is made of the branches
        return None

    def beside(self, step: Any, model: Any) -> dict[str, Any]:
        """What a step still lacks that is not the U-Net's, by the field that stores it."""
        del step, model
        return {}

    def carry(self, step: Any) -> dict[str, Any]:
        """What the next step must know of this one, by the field that stores it."""
        del step
        return {}

    def kept(self, old: Any, new: Any) -> dict[str, Any]:
        """What `old` stores that also holds for `new`: the same x_t, under a guidance that has this
        term.
        """
        del old, new
        return {}

    def in_noise(self, step: Any) -> Tensor:
        """The unscaled term of a `records.Step`, as a difference of noises."""
        raise NotImplementedError

    def in_output(self, step: Any) -> Tensor:
        """The same term as a difference of network outputs for x_t: equal to `in_noise` where the
        network predicts noise.
        """
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

    @property
    def both(self) -> bool:
        """Whether some term needs both branches. Then guidance starts from the one without the
        prompt, else from the only one.
        """
        return any(term.both for term in self.terms)

    @property
    def able(self) -> Guidance:
        """Without the terms that need another one which is not there."""
        names = {term.name for term in self.terms}
        return Guidance(tuple(term for term in self.terms if names.issuperset(term.requires)))

    def at(self, fraction: float) -> Guidance:
        """The terms that act in evaluation i of n, `fraction` being i / n."""
        return Guidance(
            tuple(term for term in self.terms if term.start <= fraction < term.stop)
        ).able

    def to_json(self) -> list[dict[str, Any]]:
        return [{"kind": term.name, **term.settings()} for term in self.terms]

    @staticmethod
    def from_json(terms: Sequence[dict[str, Any]]) -> Guidance:
        return Guidance(
            tuple(
                Term.kinds[term["kind"]](**{k: v for k, v in term.items() if k != "kind"})
                for term in terms
            )
        )


def title_of(name: str) -> str:
    """What people call a term of that name; any other word is left as it is."""
    return Term.kinds[name].title if name in Term.kinds else name


def as_guidance(value: object) -> Guidance:
    """`None`, a term or a sum, as a sum."""
    if value is None:
        return Guidance()
    if isinstance(value, Term):
        return Guidance((value,))
    if isinstance(value, Guidance):
        return value
    raise ArgumentError(
        f"guidance is {value!r}; give None, CFG(3.0), SAG(1.0) or a sum such as CFG(3.0) + SAG(1.0)"
    )
