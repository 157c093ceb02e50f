"""The command line: `sagviz generate` makes a picture, `sagviz report` makes the page that explains
it.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sagviz.cli.parser import parser, unknown
from sagviz.errors import SagvizError, SagvizWarning


def main(argv: list[str] | None = None) -> int:
    """Run a command; what goes wrong is one sentence on standard error and exit status 2, or 1
    where cells of a sweep failed. Without a command the help is shown.
    """
    with _prints_anything(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(argv)


def _run(argv: list[str] | None) -> int:
    made = parser()
    arguments, left = made.parse_known_args(argv)
    if left:
        made.error(unknown(arguments, left))
    if arguments.run is None:
        made.print_help()
        return 0
    try:
        status: int = arguments.run(arguments) or 0
        sys.stdout.flush()
        return status
    except SagvizError as error:
        print(f"sagviz: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # what reads our lines, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes what is left of them
        return 1
    except KeyboardInterrupt:
        print("sagviz: interrupted", file=sys.stderr)
        return 130


@contextmanager
def _prints_anything() -> Iterator[None]:
    """A terminal of few characters (cp1252) shows the others as escapes, and ends no command."""
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, io.TextIOWrapper)]
    before = [each.errors for each in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with suppress(OSError, ValueError):  # nobody reads it any more: it is closed
                stream.reconfigure(errors=errors)


def _show_warning(
    message: Warning | str, category: type[Warning], *_: object, **__: object
) -> None:
    if issubclass(category, SagvizWarning):
        print(f"sagviz: {message}", file=sys.stderr)
