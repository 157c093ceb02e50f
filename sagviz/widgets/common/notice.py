"""Errors, warnings and news in a line under the buttons that they come of."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape

import ipywidgets as W

from sagviz.errors import RunError, SagvizError, collected
from sagviz.widgets.common.host import current_host


class Notice(W.HTML):
    """A line for errors, warnings and news, which screen readers say aloud."""

    def __init__(self) -> None:
        super().__init__(layout=W.Layout(width="100%", margin="0"))
        self.add_class("sag-notice")

    def say(self, words: str) -> None:
        """News, in plain text."""
        self.value = f'<div role="status">{escape(words)}</div>'

    def warn(self, *words: str) -> None:
        """Something was ignored or cut off; nothing is shown where there are no words."""
        if not words:
            self.clear()
            return
        lines = "<br>".join(map(escape, words))
        self.value = f'<div class="sag-warning" role="status">{lines}</div>'

    def fail(self, error: BaseException) -> None:
        """What went wrong: our own errors as the sentence that they are, others with their trace
        folded in.
        """
        if isinstance(error, SagvizError) and not isinstance(error, RunError):
            content = escape(str(error))
        else:
            lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            content = summary = escape(f"{type(error).__name__}: {error}")
            if current_host() is None:
                content = (
                    f"<details><summary>{summary}</summary><pre>{escape(lines)}</pre></details>"
                )
            else:  # the trace tells of the server's files: it is for its terminal alone
                print(lines, file=sys.stderr)
        self.value = f'<div class="sag-error" role="alert">{content}</div>'

    def clear(self) -> None:
        self.value = ""

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Around what a control sets off: an error is shown here, and the widget stays usable; so
        are our warnings.
        """
        self.clear()
        try:
            with collected() as words:
                yield
            if words:
                self.warn(*words)
        except Exception as error:
            self.fail(error)

    def attempt(self, action: Callable[[], object]) -> None:
        """Do it, `guarded`."""
        with self.guarded():
            action()
