"""All commands and their flags."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

from sagviz.checks import SHOWN, meant, shortened
from sagviz.cli import app, estimate, generate, report, show, sweep, votes

COMMANDS = (generate, report, sweep, show, estimate, app, votes)

NAMED = re.compile(r"(give|mean) (\w+)(=?)")  # an argument, as `meant` offers it


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; `run` of what it gives is the command's function, `None`
    without a command.
    """
    made = argparse.ArgumentParser(
        prog="sagviz", description="Self-Attention Guidance, made visible."
    )
    made.add_argument("--version", action=_Version, nargs=0, help="tell the version and stop")
    made.set_defaults(run=None)
    names = " | ".join(command.__name__.rpartition(".")[2] for command in COMMANDS)
    commands = made.add_subparsers(metavar=names)
    for command in COMMANDS:
        command.add(commands)
    return made


def unknown(arguments: argparse.Namespace, left: Sequence[str]) -> str:
    """The sentence about words of a command line that no flag takes: what the first flag among them
    is called here, or that a text needs quotes.
    """
    words = f"unrecognized arguments: {shortened(' '.join(left), SHOWN)}"
    flag = next((each for each in left if each.startswith("--")), None)
    if flag is None:
        return f"{words}; put a text of several words in quotes"
    name = flag.strip("-").partition("=")[0].replace("-", "_")
    known = [each for each in vars(arguments) if each not in ("run", "terms")]
    if name in known:
        return f"{words}; give the {name} alone, without {flag.partition('=')[0]}"
    hint = meant(name, known)
    if hint.startswith("it takes"):
        return f"{words}; --help lists what there is"
    return f"{words}; {NAMED.sub(_as_flag, hint)}"


def _as_flag(named: re.Match[str]) -> str:
    return f"{named[1]} --{named[2].replace('_', '-')}{' ' if named[3] else ''}"


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        # the front door, which lies above, has been imported before anything of it
        print(f"sagviz {sys.modules['sagviz'].__version__}")
        parser.exit()
