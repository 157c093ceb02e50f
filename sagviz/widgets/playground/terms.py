"""The terms of guidance beside CFG and SAG, as settings of a form: a scale for each that the model
takes, by what their classes say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, SAG, Guidance, Term
from sagviz.models import Model
from sagviz.sampling.checks import check_text
from sagviz.widgets.common.traits import Amount, Text
from sagviz.widgets.microscope.settings import scale_name

IN_THE_FORM = (CFG, SAG)  # they have a place of their own


def taken(model: Model) -> tuple[type[Term], ...]:
    """The kinds of terms that the model takes, those of the user among them. One that needs more
    than a scale is refused, if at all, when it is run.
    """
    kinds = [kind for kind in Term.kinds.values() if kind not in IN_THE_FORM]
    return tuple(kind for kind in kinds if kind.needed() or _takes(model, kind))


def need_of(kind: type[Term], need: str) -> str:
    """The setting that is something else a term must be given."""
    return f"{kind.name}_{need}"


def traits_of(kinds: tuple[type[Term], ...]) -> dict[str, traitlets.TraitType]:
    """The settings: each scale with its range, and a text for what else is needed."""
    traits: dict[str, traitlets.TraitType] = {}
    for kind in kinds:
        low, high = kind.scale_range
        words = (
            f"{kind.title} {kind.symbol}, {low:g} to {high:g} (0, without it): {kind.scale_help}."
        )
        traits[scale_name(kind)] = Amount(0.0, min=min(low, 0.0), max=high, help=words)
        for need in kind.needed():
            words = f"The {need} that {kind.title} needs, in words (none)."
            traits[need_of(kind, need)] = Text("", help=words)
    return traits


def total(kinds: tuple[type[Term], ...], values: Mapping[str, Any]) -> Guidance:
    """The terms whose scale is not 0."""
    return Guidance(
        tuple(
            kind(
                values[scale_name(kind)],
                **{need: values[need_of(kind, need)] for need in kind.needed()},
            )
            for kind in kinds
            if values[scale_name(kind)]
        )
    )


def values_of(guidance: Guidance, kinds: tuple[type[Term], ...]) -> dict[str, Any]:
    """The settings that stand for a sum's terms; 0 for those that it has not."""
    values: dict[str, Any] = {}
    for kind in kinds:
        term = guidance.get(kind)
        values[scale_name(kind)] = float(term.peak) if term else 0.0
        values |= {
            need_of(kind, need): getattr(term, need) if term else "" for need in kind.needed()
        }
    return values


def _takes(model: Model, kind: type[Term]) -> bool:
    """Whether a run of this model, of its own size, takes it beside CFG where there is a prompt."""
    term = kind(1.0)
    guidance = (CFG(3.0) + term) if model.reads_text else Guidance((term,))
    try:
        check_text(model, guidance)
        term.check(model, guidance, model.latent_shape(model.default_size))
    except ArgumentError:
        return False
    return True
