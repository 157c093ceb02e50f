"""A figure beside the bound that it was promised, as a line of docs/evidence.md."""

from __future__ import annotations

from evidence import Line

WORDS = {"<=": "at most", ">=": "at least"}


def bounded(what: str, figure: float, aim: str, measured: str) -> Line:
    """A claim with its bound, such as "<= 1.25", and whether the figure keeps it; the line is shown
    as well.
    """
    sign, bound = aim.split()
    holds = figure <= float(bound) if sign == "<=" else figure >= float(bound)
    line = Line(f"{what}: {WORDS[sign]} {bound}", measured, holds)
    print(line, flush=True)
    return line
