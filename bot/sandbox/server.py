"""Serve an ASGI app on the loopback interface from a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_START_LIMIT = 10.0
_GRACE = 0.5
_TICK = 0.005


class _Server(uvicorn.Server):
    """Uvicorn, waiting for events where it would look ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()
        self.stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()

    async def main_loop(self) -> None:
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._drained()
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._drained()
        await self.lifespan.shutdown()

    async def _drained(self) -> None:
        deadline = asyncio.get_running_loop().time() + _GRACE
        while self.server_state.connections:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_TICK)


class Loopback:
    """One app on 127.0.0.1 and a free port, from `start` to `stop`."""

    def __init__(self, app: App, *, port: int = 0) -> None:
        self._app = app
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = ""

    def start(self) -> str:
        """Listen; the base URL answers when this returns."""
        if self._thread is not None:
            raise RuntimeError("already started")
        listener = socket.create_server(("127.0.0.1", self._port), backlog=256)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer is 40 ms late
        self._port = listener.getsockname()[1]  # a second start comes back on the same port
        self.url = f"http://127.0.0.1:{self._port}"
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener, ready), name="loopback", daemon=True)
        self._thread.start()
        ready.wait(_START_LIMIT)
        if self._server is None or not self._server.up.wait(_START_LIMIT):
            self.stop()
            raise RuntimeError("the loopback server did not start")
        return self.url

    def stop(self) -> None:
        """End open streams, close all connections, and wait for the thread."""
        thread, loop, server = self._thread, self._loop, self._server
        if thread is None:
            return
        if loop is not None and server is not None and thread.is_alive():
            loop.call_soon_threadsafe(server.stopping.set)
        thread.join(_START_LIMIT)
        self._thread = self._loop = self._server = None

    def __enter__(self) -> Loopback:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(listener, ready))
        finally:
            listener.close()
            ready.set()

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        app: Any = self._wrapped
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", http="h11", interface="asgi3")
        self._loop = asyncio.get_running_loop()
        self._server = _Server(config)
        ready.set()
        await self._server.serve(sockets=[listener])

    async def _wrapped(self, scope: Message, receive: Receive, send: Send) -> None:
        """The app, told at the end of the server that its client has gone, so that streams end in order."""
        server = self._server
        if scope["type"] != "http" or server is None:
            await self._app(scope, receive, send)
            return

        async def receive_until_stop() -> Message:
            incoming = asyncio.ensure_future(receive())
            stopping = asyncio.ensure_future(server.stopping.wait())
            try:
                await asyncio.wait({incoming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                return incoming.result() if incoming.done() else {"type": "http.disconnect"}
            finally:
                incoming.cancel()
                stopping.cancel()

        await self._app(scope, receive_until_stop, send)
