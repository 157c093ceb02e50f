"""`sagviz report`: a run explained in one page, or a page for each row of a table."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from sagviz.checks.texts import whole
from sagviz.cli.flags import add_force, add_settings, check_free, settings, terms
from sagviz.errors import ArgumentError, ReportError
from sagviz.files import expanded
from sagviz.html import page_path
from sagviz.reports.parameters import Parameters


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    about = "explain a run in one HTML file"
    parser = commands.add_parser("report", help=about, description=f"{about.capitalize()}.")
    parser.add_argument(
        "page",
        type=expanded,
        nargs="?",
        help="HTML file (report.html); the executed notebook comes beside it",
    )
    parser.add_argument(
        "--batch",
        type=expanded,
        metavar="JOBS.csv",
        help="a report for each row of a table, whose columns are called as these flags, prompt,"
        " seed, sag_scale ...; the same command goes on where it stopped",
    )
    parser.add_argument(
        "--out",
        type=expanded,
        help="with --batch the folder of the reports and of their index (reports), else the file",
    )
    parser.add_argument(
        "--workers",
        type=whole,
        help="kernels that share a batch, each with the model (one for each idle core, with the"
        " miniature; else one)",
    )
    add_force(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the report, or all of a batch; the status is 1 where rows of it failed."""
    from sagviz.reports.report import report

    if arguments.batch is not None:
        return _batch(arguments)
    if arguments.workers is not None:
        raise ArgumentError("--workers shares the rows of a --batch; leave it out for one report")
    if arguments.page and arguments.out:
        raise ArgumentError(f"the file is {arguments.page} and {arguments.out}; give one")
    out = page_path(arguments.page or arguments.out or Path("report.html"), ReportError)
    check_free(arguments, (out, out.with_suffix(".ipynb")))
    more = terms(arguments)
    print(report(out, progress=True, terms=more, **settings(arguments)).resolve())
    return 0


def _batch(arguments: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from sagviz.reports.batch import batch

    usual = vars(Parameters())
    given = [name for name, value in settings(arguments).items() if value != usual[name]]
    if given or arguments.terms:
        raise ArgumentError(
            f"with --batch the settings stand in the table, and {given[0] if given else 'a term'}"
            " was given beside it; make it a column"
        )
    counts = Counter[str]()
    if arguments.page or arguments.force:
        raise ArgumentError(
            f"{arguments.page or '--force'} is for one report; with --batch, --out names a folder,"
            " and finished reports stay"
        )
    folder = arguments.out or Path("reports")
    made = batch(arguments.batch, folder, workers=arguments.workers, progress=True)
    for job in made:
        state = "failed" if job.page is None else "was there" if job.was_there else "made"
        counts[state] += 1
        place = f"row {job.row}: {job.error or job.page}"
        tqdm.write(place, file=sys.stderr if job.error else sys.stdout)  # above the bars
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    print((folder / "index.html").resolve())
    return 1 if counts["failed"] else 0
