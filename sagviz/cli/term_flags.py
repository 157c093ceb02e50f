"""The flags of guidance terms, read from the sources of their classes: importing those would bring
torch, for which a page of help must not wait.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GUIDANCE = Path(__file__).parents[1] / "guidance"
PARAMETERS = ("cfg", "sag")  # whose scales are parameters of a report
USUAL_HELP = "0 is off"  # what `Term` says of a scale


@dataclass(frozen=True)
class TermFlag:
    """A term that needs nothing but a scale, as its class says it."""

    name: str
    title: str
    scale_help: str = USUAL_HELP

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}-scale"


def term_flags() -> Iterator[TermFlag]:
    """Of all terms of the package beside CFG and SAG."""
    for path in sorted(GUIDANCE.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield from _flag(node)


def _flag(node: ast.ClassDef) -> Iterator[TermFlag]:
    """One, or none where the class is no term or has a field without a default."""
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    values = {ast.unparse(each.target): each.value for each in fields}
    names = ("name", "title", "scale_help")
    found = {name: values.get(name) for name in names}
    said = {name: ast.literal_eval(value) for name, value in found.items() if value is not None}
    if None not in values.values() and said.get("name", PARAMETERS[0]) not in PARAMETERS:
        yield TermFlag(**{"title": node.name, **said})
