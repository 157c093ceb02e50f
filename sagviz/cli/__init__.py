"""The command line: `sagviz generate` makes a picture, `sagviz report` makes the page that explains
it.
"""

from __future__ import annotations

import io
import sys
import warnings

from sagviz.cli.parser import parser, unknown
from sagviz.errors import SagvizError, SagvizWarning


def main(argv: list[str] | None = None) -> int:
    """Run a command; what goes wrong is one sentence on standard error and exit status 2, or 1
    where cells of a sweep failed. Without a command the help is shown.
    """
    _print_anything()
    made = parser()
    arguments, left = made.parse_known_args(argv)
    if left:
        made.error(unknown(arguments, left))
    if arguments.run is None:
        made.print_help()
        return 0
    warnings.showwarning = _show_warning
    try:
        return arguments.run(arguments) or 0
    except SagvizError as error:
        print(f"sagviz: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sagviz: interrupted", file=sys.stderr)
        return 130


def _print_anything() -> None:
    """A terminal of few characters (cp1252) shows the others as escapes, and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show_warning(
    message: Warning | str, category: type[Warning], *_: object, **__: object
) -> None:
    if issubclass(category, SagvizWarning):
        print(f"sagviz: {message}", file=sys.stderr)
