"""The settings of a run as columns of a table, `<term>_<field>` for those of its guidance, and in
words.
"""

from __future__ import annotations

from typing import Any

from sagviz.guidance import Guidance, Term


def columns_of(guidance: Guidance) -> dict[str, Any]:
    """All fields of all terms, by column: `cfg_scale`, `sag_threshold`."""
    return {
        f"{term.name}_{name}": value
        for term in guidance.terms
        for name, value in term.settings().items()
    }


def term_of(column: str) -> tuple[type[Term] | None, str]:
    """The term that a column is of, and the field; no term and the column itself without one."""
    kinds = [kind for kind in Term.kinds.values() if column.startswith(f"{kind.name}_")]
    kind = max(kinds, key=lambda each: len(each.name), default=None)
    return kind, column if kind is None else column[len(kind.name) + 1 :]


def is_scale(column: str) -> bool:
    """Whether a column has the scale of a term."""
    kind, part = term_of(column)
    return kind is not None and part == "scale"


def title_of_column(column: str) -> str:
    """What people call it: "seed", "CFG scale", "SAG threshold ψ"."""
    kind, part = term_of(column)
    if kind is None:
        return column
    return f"{kind.title} {kind.field_titles.get(part, part.replace('_', ' '))}"


def counted(steps: int) -> str:
    """A number of steps."""
    return f"{steps} step{'s' * (steps != 1)}"
