"""All commands and their flags."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sagviz.cli import app, estimate, generate, report, show, sweep, votes

COMMANDS = (generate, report, sweep, show, estimate, app, votes)


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


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        # the front door, which lies above, has been imported before anything of it
        print(f"sagviz {sys.modules['sagviz'].__version__}")
        parser.exit()
