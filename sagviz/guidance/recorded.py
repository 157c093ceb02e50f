"""Terms that a file has as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sagviz.checks import check_fields, shown
from sagviz.errors import ArgumentError

Kind = TypeVar("Kind")


def made(kinds: Mapping[str, type[Kind]], content: Any) -> Kind:
    """What a file has of one of these classes: its fields, and its name as `kind`.

    Raises:
        ArgumentError: there is no such class here, or it has other fields.
    """
    own = dict(content) if isinstance(content, Mapping) else {}
    name = str(own.pop("kind", None))
    if name not in kinds:
        raise ArgumentError(
            f"there is no guidance term {name!r} here; define its class first, as where it was"
            f" made; known are {', '.join(kinds)}"
        )
    check_fields(f"the guidance term {name!r}", own, kinds[name])
    try:
        return kinds[name](**own)
    except (TypeError, AttributeError, KeyError) as error:  # of a value of another kind
        raise ArgumentError(
            f"the guidance term {name!r} cannot be made of {shown(own)} ({error}); give a file that"
            " sagviz wrote"
        ) from error
