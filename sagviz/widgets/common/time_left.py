"""How long work will take that goes on, in words."""

from __future__ import annotations


def time_left(spent: float, done: int, total: int) -> str:
    """What is left of `total` equal pieces, after `done` of them took `spent` seconds."""
    return f"{duration(spent / done * (total - done))} left"


def duration(seconds: float) -> str:
    """In the unit that one would say."""
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
