"""HTTP proxies around Sluice that pull the plug at a chosen request: before it is passed on, or when it is answered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

LIMIT = 1 << 20  # bytes of one line of a head
CHUNK = 1 << 16


class Request:
    """One request as it passes a proxy."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.target, self.headers, self.body = method, target, headers, body

    @property
    def path(self) -> str:
        """The path without the query."""
        return urlsplit(self.target).path

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


class Trap:
    """Springs once, at the first request that fits: `spring` is called before it is passed on, or when it is answered.

    In both cases the one who asked gets no answer.
    """

    def __init__(self, fits: Callable[[Request], bool], spring: Callable[[], None], *, answered: bool) -> None:
        self.answered = answered
        self.at = ""
        self._fits, self._spring = fits, spring
        self._claimed, self._sprung = False, threading.Event()

    def claims(self, request: Request) -> bool:
        """Whether the trap is for this request; at most one ever is."""
        if self._claimed or not self._fits(request):
            return False
        self._claimed, self.at = True, str(request)
        return True

    def spring(self) -> None:
        """Pull the plug."""
        self._spring()
        self._sprung.set()

    def wait(self, seconds: float) -> None:
        """Return when it has sprung."""
        if not self._sprung.wait(seconds):
            raise TimeoutError(f"not within {seconds:g} s: the request that the trap is for")


class Proxy:
    """Passes everything on to one server, in a thread of its own; `trap` may be set and taken away at any time."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, token: str = "", *, listen: str = "127.0.0.1"
    ) -> None:
        self.host, self.port = listen, 0
        self.trap: Trap | None = None
        self.refused: Callable[[Request], bool] = lambda _: False  # what is neither passed on nor answered
        self._upstream, self._tls, self._token = (host, port), tls, token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()  # a loop alone does not keep its tasks

    @classmethod
    def to_url(cls, url: str, listen: str = "127.0.0.1") -> Self:
        """To a server that speaks plain HTTP; `listen` is the address to be reached at."""
        place = urlsplit(url)
        assert place.scheme == "http"
        assert place.hostname
        return cls(place.hostname, place.port or 80, listen=listen)

    @classmethod
    def to_cluster(cls, kubeconfig: Path) -> Self:
        """To an API server, as the user of this kubeconfig; towards Sluice it speaks plain HTTP."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]).decode())
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(_decoded(user["client-key-data"]) + b"\n" + _decoded(user["client-certificate-data"]))
                pair.flush()
                context.load_cert_chain(pair.name)
        place = urlsplit(cluster["server"])
        return cls(place.hostname or "", place.port or 443, context, user.get("token", ""))

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that names this proxy as the API server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {"server": self.url}}],
            "users": [{"name": "tests", "user": {}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, self.host, 0, limit=LIMIT))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_exception: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _end(self) -> None:
        assert self._server
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    # One connection.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with request after request."""
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # either side has gone: so does the other
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._serving.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is at its end."""
        request, head = await self._request(reader)
        if request is None or self.refused(request):
            return False
        trap = self.trap if self.trap is not None and self.trap.claims(request) else None
        if trap is not None and not trap.answered:
            await asyncio.to_thread(trap.spring)
            return False
        # A connection for each request: one that lay idle may have been given up at the other end.
        back, upstream = await asyncio.open_connection(*self._upstream, ssl=self._tls, limit=LIMIT)
        try:
            upstream.write(head + request.body)
            await upstream.drain()
            goes_on = await self._answer(request, back, None if trap else writer)
        finally:
            upstream.transport.abort()
        if trap is not None:
            await asyncio.to_thread(trap.spring)
            return False
        return goes_on

    async def _request(self, reader: asyncio.StreamReader) -> tuple[Request | None, bytes]:
        raw = await _head(reader)
        if not raw:
            return None, b""
        first, headers = _parsed(raw)
        method, target, version = first.split(" ")
        body = b"".join([part async for part in _body(reader, headers)])
        kept = headers | ({"authorization": f"Bearer {self._token}"} if self._token else {})
        lines = [f"{name}: {text}" for name, text in kept.items()]
        head = "\r\n".join([f"{method} {target} {version}", *lines, "", ""])
        return Request(method, target, headers, body), head.encode("latin-1")

    async def _answer(self, request: Request, back: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> bool:
        """Read the answer to its end; pass it on as it comes, unless nobody is to get it."""
        head = await _head(back)
        if not head:
            raise asyncio.IncompleteReadError(head, 1)
        first, headers = _parsed(head)
        status = first.split(" ")[1]
        _send(writer, head)
        endless = False
        if request.method != "HEAD" and status not in ("204", "304") and not status.startswith("1"):
            endless = "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "")
            async for part in _body(back, headers, endless=endless):
                _send(writer, part)
                if writer is not None:
                    await writer.drain()
        if writer is not None:
            await writer.drain()
        return not endless and "close" not in (headers.get("connection", "") + request.headers.get("connection", ""))


def _send(writer: asyncio.StreamWriter | None, data: bytes) -> None:
    if writer is not None:
        writer.write(data)


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the empty line; nothing at the end of the stream."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(
    reader: asyncio.StreamReader, headers: dict[str, str], *, endless: bool = False
) -> AsyncIterator[bytes]:
    """The body as it goes over the wire, in pieces as they come."""
    if "chunked" in headers.get("transfer-encoding", ""):
        async for part in _chunks(reader):
            yield part
        return
    left = int(headers.get("content-length", 0))
    while left or endless:
        part = await reader.read(CHUNK if endless else min(left, CHUNK))
        if not part:
            if endless:
                return
            raise asyncio.IncompleteReadError(part, left)
        left -= 0 if endless else len(part)
        yield part


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Chunks with their lengths, and the end of them with its trailers."""
    while True:
        line = await reader.readuntil(b"\r\n")
        length = int(line.split(b";")[0], 16)
        yield line + await reader.readexactly(length + 2) if length else line
        if not length:
            while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
                yield trailer
            yield trailer
            return


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)
