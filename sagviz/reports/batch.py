"""Many reports from a table of jobs: one for each row, in one kernel, and an index of them."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from sagviz.errors import ReportError, SagvizError
from sagviz.files import expanded
from sagviz.guidance import Guidance, Term
from sagviz.reports.index import write_index
from sagviz.reports.kernel import WarmKernel, check_installed
from sagviz.reports.parameters import Parameters
from sagviz.reports.report import make
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

    @property
    def name(self) -> str:
        """Of its files: some of the prompt, and a digest of all parameters."""
        content = json.dumps(asdict(self.parameters), sort_keys=True) if self.parameters else ""
        words = re.findall(r"[a-z0-9]+", self.parameters.prompt.lower() if self.parameters else "")
        start = "-".join(words)[:NAME_LETTERS].strip("-") or "report"
        return f"{start}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def batch(
    jobs: str | Path, out: str | Path, *, progress: bool = False
) -> Generator[Job, None, None]:
    """Make a report for each row of a table, one after the other, in a kernel that stays warm.

    Reports that are there already are not made again, so that the same call goes on where it
    stopped. A row that fails does not stop the others. At the end, or where the caller stops,
    `index.html` shows all that is there.

    Args:
        jobs: a CSV file. Its columns are called as the parameters of `report`, or as the scale of
            a term such as `pag_scale`; an empty cell is the empty text, or the usual number.
        out: a folder, which is made.
        progress: whether to show a bar for each report.

    Yields:
        The rows in their order, each when it is done.

    Raises:
        ReportError: the table cannot be read, the folder cannot be made, or papermill is missing.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sagviz.reports.batch import batch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jobs = Path(folder, "jobs.csv")
        ...     _ = jobs.write_text("prompt,steps\\na fox,0\\n")
        ...     [job.error for job in batch(jobs, folder)]
        ['steps is 0; give a whole number from 1 to 999']
    """
    check_installed()
    waiting, folder = read(jobs), _folder(out)
    return _made(waiting, folder, progress)


def read(path: str | Path) -> list[Job]:
    """The rows of a table of jobs; those that cannot be made have an error.

    Raises:
        ReportError: the file cannot be read, or has no row.
    """
    path = expanded(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ReportError(f"cannot read {path}: {error}; give a CSV file in UTF-8") from error
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)  # spreadsheets of many countries write ; for ,
    rows = csv.DictReader(text.splitlines(), delimiter=separator, strict=True)
    try:
        found = [_job(number, row) for number, row in enumerate(rows, 1)]
    except csv.Error as error:
        raise ReportError(f"{path} is no CSV table: line {rows.line_num}: {error}") from error
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
    return given | ({"terms": Guidance(tuple(others)).to_json()} if others else {})


def _converted(name: str, cell: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(cell)
    except ValueError as error:
        raise ReportError(f"{name} is {cell!r} ({error}); give a number as 3 or 0.5") from error


def _folder(out: str | Path) -> Path:
    folder = expanded(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"cannot make {folder}: {error.strerror}; give another place") from error
    return folder


def _made(waiting: Sequence[Job], folder: Path, progress: bool) -> Generator[Job, None, None]:
    done = list[Job]()
    try:
        with WarmKernel() as kernel:
            for job in waiting:
                done.append(_finished(job, folder, progress, kernel))
                yield done[-1]
    finally:
        write_index(folder, done)


def _finished(job: Job, folder: Path, progress: bool, kernel: WarmKernel) -> Job:
    """The job with its page, or with why there is none."""
    if job.parameters is None:
        return job
    page = folder / f"{job.name}.html"
    if page.exists():
        return replace(job, page=page, was_there=True)
    try:
        return replace(job, page=make(page, job.parameters, Guidance(), progress, kernel))
    except SagvizError as error:
        return replace(job, error=str(error))
