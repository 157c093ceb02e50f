"""What was measured, line by line, as a table for readers and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

HELD, NOT_HELD, NEEDS_CUDA, NO_AIM = "held", "not held", "needs CUDA", "no aim"


@dataclass(frozen=True)
class Row:
    """One line: what was measured, what came out, the aim, and whether it held.

    Attributes:
        verdict: "held", "not held", "needs CUDA", "no aim", "skipped ..." or "failed: ...".
        numbers: the same for a program.
    """

    what: str
    measured: str
    aim: str
    verdict: str
    note: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    check: str = ""

    @property
    def is_fine(self) -> bool:
        return self.verdict in (HELD, NEEDS_CUDA, NO_AIM)


def row(
    what: str, measured: str, aim: str, held: bool | None, note: str = "", **numbers: float
) -> Row:
    """A line; `held` is `None` where there is no aim to hold."""
    verdict = NO_AIM if held is None else HELD if held else NOT_HELD
    return Row(what, measured, aim, verdict, note, numbers)


def needs_cuda(what: str, aim: str = "") -> Row:
    """A line that only a GPU can fill."""
    return Row(what, "", aim, NEEDS_CUDA)


@dataclass
class Report:
    """All lines so far, and where and how they were measured."""

    facts: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """`gpu.md` and `gpu.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "facts": self.facts,
            "seconds": self.seconds,
            "rows": [asdict(each) for each in self.rows],
        }
        (folder / "gpu.json").write_text(
            json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
        )
        (folder / "gpu.md").write_text(self.markdown())

    def markdown(self) -> str:
        facts = "\n".join(f"* {name}: {value}" for name, value in self.facts.items())
        lines = [
            "| | what | measured | aim | held | note |",
            "|---|---|---|---|---|---|",
            *(
                _line(each.check, each.what, each.measured, each.aim, each.verdict, each.note)
                for each in self.rows
            ),
        ]
        times = ", ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())
        return (
            "# What was proved on a GPU\n\nEach line is one measurement on networks of random"
            " weights, of the published sizes, and on the bundled miniature.\n\n"
            f"{facts}\n\n" + "\n".join(lines) + f"\n\nTime of each check: {times}.\n"
        )


def _line(*cells: str) -> str:
    shown = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(shown) + " |"
