"""`sagviz report`: a run explained in one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sagviz.cli.flags import add_force, add_settings, check_free, settings, terms
from sagviz.files import expanded


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

    check_free(arguments, (arguments.out, arguments.out.with_suffix(".ipynb")))
    more = terms(arguments)
    print(report(arguments.out, progress=True, terms=more, **settings(arguments)).resolve())
