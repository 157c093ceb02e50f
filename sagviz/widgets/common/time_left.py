"""How long work will take that goes on, in words."""

from __future__ import annotations


def time_left(spent: float, done: int, total: int) -> str:
    """What is left of `total` equal pieces, after `done` of them took `spent` seconds."""
    return f"{duration(spent / done * (total - done))} left"


def duration(seconds: float) -> str:
    """In the unit that one would say."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
