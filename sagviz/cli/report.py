"""`sagviz report`: a run explained in one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sagviz.cli.flags import add_settings, settings, terms
from sagviz.reports.report import report


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    about = "explain a run in one HTML file"
    parser = commands.add_parser("report", help=about, description=f"{about.capitalize()}.")
    parser.add_argument(
        "out", type=Path, nargs="?", default=Path("report.html"), help="HTML file (report.html)"
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Make the report."""
    more = terms(arguments)
    print(report(arguments.out, progress=True, terms=more, **settings(arguments)).resolve())
