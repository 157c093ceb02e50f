"""`docs/evidence.md`: what was claimed, what was measured, by which command, on which machine.

Each command writes its own section anew and leaves the others as they are, so that the page is made
of runs and of nothing else. Lines that fell short stay, and say so.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"
LIBRARIES = ("sagviz", "torch", "diffusers", "transformers")


@dataclass(frozen=True)
class Line:
    """A claim and what a run says of it.

    Attributes:
        claim: in words, with its bound where it has one ("overhead of a traced run at most 1.25").
        measured: the figure, with its unit.
        holds: whether the claim stands.
    """

    claim: str
    measured: str
    holds: bool

    def __str__(self) -> str:
        return (
            f"| {self.claim} | {self.measured} | {'holds' if self.holds else '**falls short**'} |"
        )


def machine() -> str:
    """This machine and its libraries, in a line."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, {python}, {libraries}"


def section(title: str, command: str, lines: Iterable[Line]) -> str:
    """A section of the page, in Markdown."""
    head = f"## {title}\n\n`{command}`, {datetime.now(timezone.utc):%Y-%m-%d}; {machine()}.\n"
    rows = "\n".join(map(str, lines))
    return f"{head}\n| claim | measured | |\n|---|---|---|\n{rows}\n"


def record(title: str, command: str, lines: Iterable[Line], page: Path = PAGE) -> None:
    """Writes a command's section into the page in place of its former one, or at the end."""
    new = section(title, command, lines)
    text = page.read_text()
    pattern = rf"^## {re.escape(title)}\n.*?(?=^## |\Z)"
    former = re.search(pattern, text, re.M | re.S)
    start, end = former.span() if former else (len(text), len(text))
    parts = (text[:start].rstrip(), new.strip(), text[end:].strip())
    page.write_text("\n\n".join(part for part in parts if part) + "\n")
