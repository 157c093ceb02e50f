"""How ipywidgets reaches the page of the visitor for whom a widget was made."""

from __future__ import annotations

from typing import Any, Protocol

import comm
from comm.base_comm import BaseComm

from sagviz.widgets.common.host import current_host

NO_KERNEL = comm.create_comm  # what ipywidgets uses where nobody is reached


class Reached(Protocol):
    """Whose page it is."""

    comms: dict[str, VisitorComm]

    def post(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        """Send to the page; from any thread."""


class VisitorComm(BaseComm):
    """The line of one widget to one page.

    Args:
        visitor: whose page it is.
        given: of `BaseComm`.
    """

    def __init__(self, visitor: Reached, **given: Any) -> None:
        self.visitor = visitor
        super().__init__(**given)

    def publish_msg(
        self,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: list[bytes] | None = None,
        **keys: Any,
    ) -> None:
        """Send. Echoes stay here: they are for a second page on the same widgets."""
        del metadata, keys
        data = data or {}
        if msg_type == "comm_open":
            self.visitor.comms[self.comm_id] = self
        if msg_type == "comm_close":
            self.visitor.comms.pop(self.comm_id, None)
        if data.get("method") != "echo_update":
            message = {"type": msg_type, "comm": self.comm_id, "data": data}
            self.visitor.post(message, buffers or [])


def serve_visitors() -> None:
    """From now on, widgets that are made for a visitor speak with that visitor's page."""
    comm.create_comm = _create_comm


def _create_comm(**given: Any) -> BaseComm:
    visitor: Any = current_host()
    return NO_KERNEL(**given) if visitor is None else VisitorComm(visitor, **given)
