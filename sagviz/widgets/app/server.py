"""The server: one page, its scripts, and a websocket for each visitor, for those who have the
token; nothing else of this computer is behind it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import socket
import threading
from contextlib import suppress
from functools import partial
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sagviz.errors import SagvizError
from sagviz.widgets.app.classroom import Classroom
from sagviz.widgets.app.comms import serve_visitors
from sagviz.widgets.app.visitor import Visitor

HERE = files("sagviz.widgets.app")
FILES = {  # by the name in their address: where they are, and their kind
    "": (HERE / "page.html", "text/html"),
    "page.css": (HERE / "page.css", "text/css"),
    "modules.js": (HERE / "modules.js", "text/javascript"),
    "page.js": (HERE / "page.js", "text/javascript"),
    "widgets.js": (files("widgetsnbextension") / "static" / "extension.js", "text/javascript"),
    "anywidget.js": (files("anywidget") / "nbextension" / "index.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' blob:; style-src 'self' 'unsafe-inline'; img-src"
        " data: blob:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=86400",  # another start has another address
}
MAX_MESSAGE = 2**24  # bytes that a page may send at once: a large picture
REFUSED = 4000  # websocket's code for a sentence of ours
GRACE = 3  # seconds for pages to hear the goodbye
LAST_STEP = 20  # seconds for a run to end the step that it is in


class Guard:
    """Lets nobody in who has not the token, which is the first part of the path."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = scope.get("path", "").lstrip("/").partition("/")[0].encode()
        if scope["type"] == "lifespan" or secrets.compare_digest(given, self.token):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)  # which is a 403 before it opens
        else:
            words = "403: use the whole address that the host shows, with its token"
            await PlainTextResponse(words, 403)(scope, receive, send)


class Server:
    """The page for a class.

    Args:
        classroom: what the visitors share.
        listener: a socket that is bound.
        token: what an address must begin with.
    """

    def __init__(self, classroom: Classroom, listener: socket.socket, token: str) -> None:
        self.classroom, self.listener = classroom, listener
        served = [
            WebSocketRoute("/live", self._live),
            Route("/{name:path}", _file, methods=["GET"]),
        ]
        guards = [Middleware(Guard, token=token), Middleware(GZipMiddleware, compresslevel=5)]
        self.app = Starlette(routes=[Mount(f"/{token}", routes=served)], middleware=guards)

    def run(self) -> None:
        """Serve until Ctrl-C, and say goodbye to the pages.

        Raises:
            KeyboardInterrupt: the end.
        """
        serve_visitors()
        gc.freeze()  # what is here by now stays: `_free` need not look through it
        config = uvicorn.Config(
            self.app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws_max_size=MAX_MESSAGE,
            timeout_graceful_shutdown=GRACE,
        )
        try:
            uvicorn.Server(config).run(sockets=[self.listener])
        finally:
            _join_threads()

    async def _live(self, line: WebSocket) -> None:
        await line.accept()
        # Without a bound: a page that takes nothing answers no ping either, and is closed.
        outbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(text: str, buffers: list[bytes]) -> None:
            outbox.put_nowait(text)
            for buffer in buffers:
                outbox.put_nowait(buffer)

        try:
            visitor = Visitor(self.classroom, partial(_into, loop, put))
        except SagvizError as error:
            await line.close(REFUSED, str(error))
            return
        sender = asyncio.create_task(_send_all(line, outbox))
        try:
            await run_in_threadpool(visitor.open)
            with suppress(WebSocketDisconnect):
                await _receive_all(line, visitor)
        finally:
            sender.cancel()
            await run_in_threadpool(_free, visitor)


def _free(visitor: Visitor) -> None:
    visitor.leave()
    gc.collect()  # widgets refer to each other in circles, and Python seldom looks for those


def _join_threads() -> None:
    """Let runs end their step: Python ends threads wherever they are, and torch then aborts."""
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(LAST_STEP)


async def _file(request: Request) -> Response:
    found = FILES.get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("404: there is nothing here", 404)
    return Response(found[0].read_bytes(), media_type=found[1], headers=HEADERS)


def _into(loop: asyncio.AbstractEventLoop, put: Any, *parts: Any) -> None:
    """From any thread; after the end of the server, nowhere."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(put, *parts)


async def _send_all(line: WebSocket, outbox: asyncio.Queue[str | bytes]) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # of a closed line
        while True:
            part = await outbox.get()
            await (line.send_text(part) if isinstance(part, str) else line.send_bytes(part))


async def _receive_all(line: WebSocket, visitor: Visitor) -> None:
    """One message after the other, until the page goes or says what is none."""
    while True:
        message, buffers = await _message(line)
        await run_in_threadpool(visitor.take, message, buffers)


async def _message(line: WebSocket) -> tuple[dict[str, Any], list[bytes]]:
    """JSON that says how many buffers follow, and these.

    Raises:
        WebSocketDisconnect: the page has gone, or says nothing of the kind.
    """
    try:
        message = json.loads(await line.receive_text())
        buffers = [await line.receive_bytes() for _ in range(message["buffers"])]
        return {name: message[name] for name in ("id", "comm", "data")}, buffers
    except (ValueError, KeyError, TypeError, RuntimeError) as error:  # the last: a closed line
        raise WebSocketDisconnect(1003) from error
