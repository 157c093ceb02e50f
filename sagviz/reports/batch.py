"""Many reports from a table of jobs: one for each row, in warm kernels, and an index of them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

from sagviz.errors import ReportError, SagvizError
from sagviz.files import expanded
from sagviz.guidance import Guidance
from sagviz.reports.index import write_index
from sagviz.reports.jobs import Job, file_name, read
from sagviz.reports.kernel import check_installed
from sagviz.reports.parameters import Parameters
from sagviz.reports.report import make
from sagviz.reports.workers import Workers, how_many


def batch(
    jobs: str | Path, out: str | Path, *, workers: int | None = None, progress: bool = False
) -> Generator[Job, None, None]:
    """Make a report for each row of a table, in kernels that stay warm and share the rows.

    Reports that are there already are not made again, so that the same call goes on where it
    stopped. A row that fails does not stop the others. At the end, or where the caller stops,
    `index.html` shows all that is there.

    Args:
        jobs: a CSV file. Its columns are called as the parameters of `report`, or as the scale of
            a term such as `pag_scale`; an empty cell is the empty text, or the usual number.
        out: a folder, which is made.
        workers: how many kernels there are. Where `None`, one for each core that is idle now, if
            all rows are of the miniature, and else one: large models need all cores, or the GPU,
            and each kernel loads its own.
        progress: whether to show a bar for each report that is made at the moment.

    Yields:
        The rows in their order, each when it is done.

    Raises:
        ReportError: the table cannot be read, the folder cannot be made, or papermill is missing.
        ArgumentError: `workers` is no number of kernels.

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
    models = [job.parameters.model for job in waiting if job.parameters]
    return _made(waiting, folder, how_many(workers, models), progress)


def _folder(out: str | Path) -> Path:
    folder = expanded(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"cannot make {folder}: {error.strerror}; give another place") from error
    return folder


def _made(
    waiting: Sequence[Job], folder: Path, workers: int, progress: bool
) -> Generator[Job, None, None]:
    done = list[Job]()
    try:
        with Workers(workers) as kernels:
            begun = _begun(waiting, folder, kernels, progress)
            for job in waiting:
                again = any(job.parameters == other.parameters for other in done)
                done.append(_finished(job, folder, begun, again))
                yield done[-1]
    finally:
        write_index(folder, done)


def _begun(
    waiting: Sequence[Job], folder: Path, kernels: Workers, progress: bool
) -> dict[Path, Future[Path]]:
    """The pages that are not there yet, which are now made, each once."""
    begun = dict[Path, Future[Path]]()
    for parameters in filter(None, (job.parameters for job in waiting)):
        page = _page(folder, parameters)
        if page not in begun and not page.exists():
            begun[page] = kernels.submit(partial(make, page, parameters, Guidance(), progress))
    return begun


def _finished(job: Job, folder: Path, begun: Mapping[Path, Future[Path]], again: bool) -> Job:
    """The job with its page, or with why there is none; `again`: an earlier row is equal."""
    if job.parameters is None:
        return job
    page = _page(folder, job.parameters)
    try:
        if page in begun:
            begun[page].result()
        return replace(job, page=page, was_there=again or page not in begun)
    except SagvizError as error:
        return replace(job, error=str(error))


def _page(folder: Path, parameters: Parameters) -> Path:
    return folder / f"{file_name(parameters)}.html"
