"""Cases enough for any two settings to have met, where all combinations would take minutes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from allpairspy import AllPairs


def pairs(*settings: Iterable[Any]) -> list[tuple[Any, ...]]:
    """One value of each setting per case; each two values of different settings share a case."""
    return [tuple(case) for case in AllPairs([list(values) for values in settings])]
