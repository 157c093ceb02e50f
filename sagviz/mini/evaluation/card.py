"""The figures in the model card: written between two marks of README.md, so that they are those
that were measured.
"""

from __future__ import annotations

from pathlib import Path

from sagviz.guidance import Guidance, Term
from sagviz.mini import WEIGHTS

SHEET, CARD = WEIGHTS.parent / "samples.png", WEIGHTS.parent / "README.md"
BEGIN, END = "<!-- measured: written by sagviz.mini.evaluation -->", "<!-- end of measured -->"
SWEEP = [
    "guidance",
    "objects right",
    "Fréchet distance to renders",
    "more than CFG alone",
    "1,000 × sharpness",
    "more than CFG alone",
]
Rows = list[list[str]]


def label(guidance: Guidance | Term | None) -> str:
    """'CFG 3 + SAG 1, blur_sigma 2', 'unguided'."""
    if guidance is None:
        return "unguided"
    terms = guidance.terms if isinstance(guidance, Guidance) else (guidance,)
    return " + ".join(map(_label, terms))


def _label(term: Term) -> str:
    """The interval comes last."""
    changed = sorted(term.changed_settings.items(), key=lambda each: each[0] in ("start", "stop"))
    numbers = [
        f", {name} {f'{value:g}' if isinstance(value, float) else value}" for name, value in changed
    ]
    return f"{term.title} {term.scale:g}" + "".join(numbers)


def tables(found: dict[str, Rows]) -> str:
    """The figures in Markdown: one table of measures, one of SAG's settings."""
    plain = [row for part, rows in found.items() if part != "sag" for row in rows]
    texts = [markdown(["measure", "value"], plain)]
    if found.get("sag"):
        texts.append(markdown(SWEEP, found["sag"]))
    return "\n\n".join(texts)


def markdown(header: list[str], rows: Rows) -> str:
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]
    )


def write_card(found: dict[str, Rows], folder: Path) -> None:
    """Put the figures, and the sheet where there is one, into the card."""
    before, rest = CARD.read_text().split(BEGIN)
    CARD.write_text(f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{rest.split(END)[1]}")
    if (folder / SHEET.name).exists():
        SHEET.write_bytes((folder / SHEET.name).read_bytes())
