"""`sagviz report`: a run explained in one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sagviz.cli.flags import add_force, add_settings, check_free, settings, terms
from sagviz.errors import ReportError
from sagviz.files import expanded
from sagviz.html import page_path


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    about = "explain a run in one HTML file"
    parser = commands.add_parser("report", help=about, description=f"{about.capitalize()}.")
    parser.add_argument(
        "out",
        type=expanded,
        nargs="?",
        default=Path("report.html"),
        help="HTML file (report.html); the executed notebook comes beside it",
    )
    add_force(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Make the report."""
    from sagviz.reports.report import report

    out = page_path(arguments.out, ReportError)
    check_free(arguments, (out, out.with_suffix(".ipynb")))
    more = terms(arguments)
    print(report(out, progress=True, terms=more, **settings(arguments)).resolve())
