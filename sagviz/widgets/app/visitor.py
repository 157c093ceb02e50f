"""A visitor: one open page, its widgets, and its runs."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ipywidgets import Widget, widget_serialization

from sagviz.errors import SagvizError
from sagviz.sampling.prepare import Run
from sagviz.widgets.app.classroom import Classroom
from sagviz.widgets.app.comms import VisitorComm
from sagviz.widgets.app.page import ClassPage
from sagviz.widgets.common.host import hosted_by
from sagviz.widgets.common.layout import close_all

Send = Callable[[str, list[bytes]], None]


class Visitor:
    """What one open page has on the server; the `Host` of its widgets.

    Args:
        classroom: what all visitors share.
        send: a text, and bytes after it, to the page; from any thread.

    Attributes:
        number: counts the visitors.
        page: the widgets, from `open` to `leave`.
        comms: the lines of its widgets, by their ids; a page reaches no other.
        served: when its last run began, in runs of all.

    Raises:
        SagvizError: the class is full.
    """

    def __init__(self, classroom: Classroom, send: Send) -> None:
        self.classroom, self._send = classroom, send
        self.number = classroom.enter()
        self.comms: dict[str, VisitorComm] = {}
        self.page: ClassPage | None = None
        self.served = 0
        self.gone = False
        self._stops: set[threading.Event] = set()

    def open(self) -> None:
        """Make the widgets and show them."""
        with hosted_by(self):
            self.page = ClassPage(self.classroom, self.number)
        self.post({"type": "show", "comm": self.page.model_id}, [])

    def post(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        """Send to the page: JSON that says how many buffers follow."""
        if not self.gone:
            parts = [bytes(buffer) for buffer in buffers]
            self._send(json.dumps({**message, "buffers": len(parts)}), parts)

    def take(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        """What the page says to one of its widgets; then the page hears that it was done."""
        line = self.comms.get(message["comm"])
        views = [memoryview(buffer) for buffer in buffers]
        with hosted_by(self):
            try:
                if line is not None:
                    line.handle_msg({"content": {"data": message["data"]}, "buffers": views})
            except Exception:  # a page may say anything: the next message is a new one
                traceback.print_exc()
        self.post({"type": "done", "id": message["id"]}, [])
        if self.page is not None and self.page.vote is not None:
            self.classroom.count(self.number, self.page.vote.votes)

    def tell_place(self, before: int) -> None:
        """Show how many runs come before this visitor's."""
        if self.page is not None:
            self.page.tell_place(before)

    @contextmanager
    def turn(self, stop: threading.Event) -> Iterator[None]:
        """As `Host` says; a run ends when its visitor leaves."""
        self._stops.add(stop)
        try:
            if self.gone:
                raise SagvizError("the visitor has left")
            with self.classroom.turns.turn(self, stop):
                yield
        finally:
            self._stops.discard(stop)

    def check(self, runs: Sequence[Run]) -> None:
        """As `Host` says."""
        self.classroom.limits.check(runs)

    def leave(self) -> None:
        """Stop what runs, and free everything."""
        self.gone = True
        self.classroom.leave()
        for stop in tuple(self._stops):
            stop.set()
        page, self.page = self.page, None
        if page is not None:
            close_all((page,))
        for name in tuple(self.comms):  # styles, layouts and whatever else has a line
            widget = widget_serialization["from_json"](f"IPY_MODEL_{name}", None)
            if isinstance(widget, Widget):  # else a thread of its own was faster
                widget.close()
