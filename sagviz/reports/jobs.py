"""A table of jobs: rows of a CSV file as the parameters of reports."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sagviz.checks.texts import whole
from sagviz.errors import ReportError, SagvizError
from sagviz.files import expanded
from sagviz.guidance import Guidance, Term
from sagviz.reports.parameters import Parameters
from sagviz.reports.texts import KINDS, scale

TYPES = {field.name: str(field.type) for field in fields(Parameters)}
NAME_LETTERS = 40  # of the prompt, in a file's name


@dataclass(frozen=True)
class Job:
    """A row of the table, and what became of it.

    Attributes:
        row: its number, from 1; the names of the columns do not count.
        parameters: `None` where they were refused.
        page: its report, `None` where there is none.
        error: why there is none, "" where nothing went wrong.
        was_there: whether an earlier batch, or an equal row, had made it.
    """

    row: int
    parameters: Parameters | None = None
    page: Path | None = None
    error: str = ""
    was_there: bool = False


def file_name(parameters: Parameters) -> str:
    """Of a report's files: some of the prompt, and a digest of all parameters."""
    content = json.dumps(asdict(parameters), sort_keys=True)
    words = re.findall(r"[a-z0-9]+", parameters.prompt.lower())
    start = "-".join(words)[:NAME_LETTERS].strip("-") or "report"
    return f"{start}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def read(path: str | Path) -> list[Job]:
    """The rows of a table of jobs; those that cannot be made have an error.

    Raises:
        ReportError: the file cannot be read, or has no row.
    """
    path = expanded(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ReportError(f"cannot read {path}: {error}; give a CSV file in UTF-8") from error
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)  # spreadsheets of many countries write ; for ,
    # newline="", because a cell in quotes may have lines of its own
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        names = Counter(name.strip() for name in rows.fieldnames or ())
        found = [_job(number, row) for number, row in enumerate(rows, 1)]
    except csv.Error as error:
        raise ReportError(f"{path} is no CSV table: line {rows.line_num}: {error}") from error
    for name in (name for name, count in names.items() if count > 1):
        raise ReportError(f"{path} has the column {name!r} twice; give each once")
    if not found:
        raise ReportError(
            f"{path} has no jobs; give names of parameters, and a row for each report"
        )
    return found


def _job(number: int, row: Mapping[Any, Any]) -> Job:
    try:
        if None in row or None in row.values():
            raise ReportError("it has more or fewer cells than the first line has names")
        return Job(number, Parameters.checked(_values(row)))
    except SagvizError as error:
        return Job(number, error=str(error))


def _values(row: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a row; what other columns say is handed on, to be refused."""
    given, others = dict[str, Any](), list[Term]()
    for name, cell in ((name.strip(), cell.strip()) for name, cell in row.items()):
        kind = Term.kinds.get(name.removesuffix("_scale"))
        if name in TYPES or kind is None:
            if cell or TYPES.get(name) == "str":
                given[name] = _converted(name, cell, KINDS.get(TYPES.get(name, "str"), json.loads))
        elif cell:
            others.append(kind(_converted(name, cell, scale)))
    named = given.get("terms", [])
    if others and isinstance(named, list):  # else it is refused as it is
        given["terms"] = [*named, *Guidance(tuple(others)).to_json()]
    return given


def _converted(name: str, cell: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(cell)
    except (ValueError, RecursionError) as error:
        such = "a whole number as 3" if kind is whole else "a number as 3 or 0.5"
        raise ReportError(f"{name} is {cell!r} ({error}); give {such}") from error
