"""`sagviz show`: saved runs side by side in one page."""

from __future__ import annotations

import argparse
from typing import Any

from sagviz.cli.flags import add_force, check_free
from sagviz.files import expanded


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "show", help="show saved runs in one HTML file", description="Show saved runs side by side."
    )
    parser.add_argument(
        "traces",
        type=expanded,
        nargs="+",
        metavar="FILE.sagtrace",
        help="what Trace.save wrote; several are compared",
    )
    parser.add_argument(
        "-o", "--out", type=expanded, help="HTML file (the first file's name with .html)"
    )
    add_force(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the player's page."""
    from sagviz.player import page
    from sagviz.records.trace import Trace

    first = arguments.traces[0]
    out = arguments.out or first.parent / f"{first.stem}.html"  # also where the name is empty
    check_free(arguments, (out,))
    print(page([Trace.load(path) for path in arguments.traces], out).resolve())
