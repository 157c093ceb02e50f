"""Errors, warnings and news in a line under the buttons that they come of."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape

import ipywidgets as W

from sagviz.errors import RunError, SagvizError, SagvizWarning
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
        """Something was ignored or cut off."""
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
            with self._warnings_shown():
                yield
        except Exception as error:
            self.fail(error)

    def attempt(self, action: Callable[[], object]) -> None:
        """Do it, `guarded`."""
        with self.guarded():
            action()

    @contextmanager
    def _warnings_shown(self) -> Iterator[None]:
        """Keep it short in a thread: what warns elsewhere meanwhile is caught as well."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SagvizWarning)
            yield
        ours = [each for each in caught if issubclass(each.category, SagvizWarning)]
        for each in caught:
            if each not in ours:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        if ours:
            self.warn(*dict.fromkeys(str(each.message) for each in ours))
