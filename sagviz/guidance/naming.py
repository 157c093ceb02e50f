"""Terms by their names, and sums however they are given."""

from __future__ import annotations

from sagviz.errors import ArgumentError
from sagviz.guidance.base import Guidance, Term


def title_of(name: str) -> str:
    """What people call a term of that name; any other word is left as it is."""
    return Term.kinds[name].title if name in Term.kinds else name


def colour_of(name: str) -> str:
    """The colour of a term of that name; grey for any other."""
    return Term.kinds[name].colour if name in Term.kinds else "#555555"


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
