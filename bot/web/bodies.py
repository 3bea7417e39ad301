"""Reads request bodies within bounds: of size, of time, and of what all of them hold at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Request

from bot.web.problems import Problem

MIB = 1024 * 1024
RETRY_AFTER = 5


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of the intake."""

    body: int = 25 * MIB  # what GitHub sends at most
    read_seconds: float = 10.0
    in_flight: int = 128 * MIB  # of all bodies that are being read or kept
    thread_from: int = MIB  # larger bodies are hashed in a thread


class Bodies:
    """Reads bodies and counts what they hold until they are done with."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
        """The whole body; its bytes count as held until this is left."""
        self._check_declared(request)
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self.limits.read_seconds):
                size = await self._collect(request, chunks)
        except TimeoutError:
            self.held -= sum(map(len, chunks))
            raise Problem(408, "body_too_slow", "the body did not arrive in time", close=True) from None
        except BaseException:
            self.held -= sum(map(len, chunks))
            raise
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        try:
            yield body
        finally:
            self.held -= size

    def _check_declared(self, request: Request[Any, Any, Any]) -> None:
        declared = request.headers.get("content-length", "0")
        if not declared.isascii() or not declared.isdigit():
            raise Problem(400, "bad_request", "the header content-length is no number", close=True)
        if int(declared[:20]) > self.limits.body:
            raise _too_large(self.limits.body)

    async def _collect(self, request: Request[Any, Any, Any], chunks: list[bytes]) -> int:
        size = 0
        while True:
            message = await request.receive()
            if message["type"] != "http.request":
                raise Problem(400, "body_incomplete", "the connection ended before the body did", close=True)
            if chunk := message["body"]:
                chunks.append(chunk)
                self.held += len(chunk)
                size += len(chunk)
            if size > self.limits.body:
                raise _too_large(self.limits.body)
            if self.held > self.limits.in_flight:
                raise Problem(503, "overloaded", "too many bodies are being read", retry_after=RETRY_AFTER, close=True)
            if not message["more_body"]:
                return size


def _too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"a body may have {limit} bytes", close=True)
