"""Numbers that are written as text: on a command line, in a table, in a form."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

LONGEST = 30  # digits


def whole(text: str) -> int:
    """A whole number written as text, which may be written as 1e12, to the last digit.

    Raises:
        ValueError: it is none.
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text} is no number") from None
    sensible = number.is_finite() and number.adjusted() < LONGEST
    if not sensible or number != number.to_integral_value():
        raise ValueError(f"{text} is no whole number")
    return int(number)
