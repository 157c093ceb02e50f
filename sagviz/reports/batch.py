"""Many reports from a table of jobs: one for each row, in one kernel, and an index of them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from sagviz.errors import ReportError, SagvizError
from sagviz.files import expanded
from sagviz.guidance import Guidance
from sagviz.reports.index import write_index
from sagviz.reports.jobs import Job, file_name, read
from sagviz.reports.kernel import WarmKernel, check_installed
from sagviz.reports.report import make


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
    page = folder / f"{file_name(job.parameters)}.html"
    if page.exists():
        return replace(job, page=page, was_there=True)
    try:
        return replace(job, page=make(page, job.parameters, Guidance(), progress, kernel))
    except SagvizError as error:
        return replace(job, error=str(error))
