"""All commands and their flags."""

from __future__ import annotations

import argparse

from sagviz.cli import estimate, generate, report, show, sweep

COMMANDS = (generate, report, sweep, show, estimate)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; `run` of what it gives is the command's function."""
    made = argparse.ArgumentParser(
        prog="sagviz", description="Self-Attention Guidance, made visible."
    )
    names = " | ".join(command.__name__.rpartition(".")[2] for command in COMMANDS)
    commands = made.add_subparsers(required=True, metavar=names)
    for command in COMMANDS:
        command.add(commands)
    return made
