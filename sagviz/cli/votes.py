"""`sagviz votes merge`: the votes of several people as one result."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sagviz.cli.flags import add_force, check_free
from sagviz.errors import ArgumentError
from sagviz.files import expanded

ABOUT = "Count the votes of several people on the same pairs together, with an interval."


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser("votes", help="count the votes of a class", description=ABOUT)
    parser.set_defaults(run=lambda _: parser.print_help())
    merging = parser.add_subparsers(metavar="merge").add_parser(
        "merge", help="count files of votes together", description=ABOUT
    )
    merging.add_argument(
        "votes",
        type=expanded,
        nargs="+",
        metavar="VOTES.json",
        help="what Preference(pairs, path=...) or sagviz app wrote, a file for each person",
    )
    merging.add_argument("-o", "--out", type=expanded, help="JSON file for the result (none)")
    add_force(merging)
    merging.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the result, and write it where a file is named."""
    from sagviz.files import save
    from sagviz.measure.merged_votes import merge
    from sagviz.measure.preference import Votes

    if arguments.out:
        check_free(arguments, (arguments.out,))
    paths: dict[str, Path] = {}
    votes = [Votes.load(path) for path in arguments.votes]
    for path, each in zip(arguments.votes, votes, strict=True):
        # A ballot is for a person; one without it is known by its file.
        first = paths.setdefault(each.ballot or str(path.resolve()), path)
        if first is not path:
            raise ArgumentError(
                f"{first} and {path} are one person's votes; give each person's votes once"
            )
    result = merge(votes)
    if arguments.out:
        save(arguments.out, json.dumps(asdict(result), indent=1).encode())
    print(result)
