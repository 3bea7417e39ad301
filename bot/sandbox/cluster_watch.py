"""Watches of the sandbox cluster: one stream of changes per request, from the store's ring of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec

from bot.sandbox.cluster_errors import ApiError, Json, invalid
from bot.sandbox.cluster_http import Request, Target, selector
from bot.sandbox.cluster_select import Match
from bot.sandbox.cluster_store import Event, Store
from bot.sandbox.server import Receive, Send

BOOKMARK_EVERY = 30.0
_LONGEST = 1800.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


class Watches:
    """The open watches of one cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: set[Watch] = set()

    def drop(self, *, abrupt: bool) -> None:
        """End every open watch; abruptly: in the middle of the answer, as a broken connection does."""
        for watch in tuple(self._open):
            watch.end(abrupt=abrupt)

    def count(self) -> int:
        return len(self._open)

    async def serve(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        """Stream until the client goes, the time is over, or the watch is dropped."""
        watch = Watch(self._store, request, target)
        self._open.add(watch)
        try:
            await watch.run(receive, send)
        finally:
            self._open.discard(watch)


class Watch:
    """One stream."""

    def __init__(self, store: Store, request: Request, target: Target) -> None:
        self._store = store
        self._target = target
        self._match = _narrowed(selector(request), target)
        self._bookmarks = request.flag("allowWatchBookmarks")
        self._initial = _initial(request)
        self._from = _version(request)
        self._limit = min(float(request.query.get("timeoutSeconds") or _LONGEST), _LONGEST)
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._ended = False
        self._abrupt = False

    def end(self, *, abrupt: bool) -> None:
        self._ended, self._abrupt = True, abrupt
        self._wake()

    def _wake(self, _: Event | None = None) -> None:
        with contextlib.suppress(RuntimeError):  # the server's loop is closed
            self._loop.call_soon_threadsafe(self._changed.set)

    async def run(self, receive: Receive, send: Send) -> None:
        unsubscribe = self._store.subscribe(self._wake)
        gone = asyncio.ensure_future(_until_gone(receive))
        gone.add_done_callback(lambda _: self._changed.set())
        try:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._stream(send, gone)
            if not self._abrupt:
                await send({"type": "http.response.body", "body": b""})
        finally:
            unsubscribe()
            gone.cancel()

    async def _stream(self, send: Send, gone: asyncio.Future[None]) -> None:
        position = self._from
        if self._initial:
            position, lines = self._snapshot()
            await _send(send, lines)
        end = self._loop.time() + self._limit
        bookmark = self._loop.time() + BOOKMARK_EVERY
        while not (self._ended or gone.done()):
            self._changed.clear()
            events = self._store.since(position)
            if events is None:
                text = f"too old resource version: {position} ({self._store.compacted})"
                await _send(send, [{"type": "ERROR", "object": ApiError(410, text).status()}])
                return
            await _send(send, [line for event in events for line in self._lines(event)])
            position = events[-1].version if events else position
            now = self._loop.time()
            if self._bookmarks and now >= min(bookmark, end):
                await _send(send, [self._bookmark(position)])
                bookmark = now + BOOKMARK_EVERY
            if now >= end:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(bookmark, end) - now):
                    await self._changed.wait()

    def _snapshot(self) -> tuple[int, list[Json]]:
        version, found = self._store.listing(self._target.kind, self._target.namespace)
        lines: list[Json] = [{"type": "ADDED", "object": obj} for obj in found if self._match(obj)]
        if self._bookmarks and self._initial == "asked":
            lines.append(self._bookmark(version, _INITIAL_END))
        return version, lines

    def _bookmark(self, version: int, annotations: dict[str, str] | None = None) -> Json:
        kind = self._target.kind
        meta: Json = {"resourceVersion": str(version)}
        if annotations:
            meta["annotations"] = annotations
        return {
            "type": "BOOKMARK",
            "object": {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta},
        }

    def _lines(self, event: Event) -> Iterator[Json]:
        """The event as this watch sees it: what comes into its selection is ADDED, what leaves it DELETED."""
        if event.kind is not self._target.kind or not self._here(event):
            return
        before = event.old is not None and self._match(event.old)
        after = event.type != "DELETED" and self._match(event.obj)
        if after:
            yield {"type": "MODIFIED" if before else "ADDED", "object": event.obj}
        elif before:
            yield {"type": "DELETED", "object": _at(event)}

    def _here(self, event: Event) -> bool:
        return not self._target.namespace or event.namespace == self._target.namespace


def _at(event: Event) -> Json:
    """What a deletion shows: the last state that was selected, at the version of the deletion."""
    last = event.obj if event.type == "DELETED" else (event.old or event.obj)
    return {**last, "metadata": {**last["metadata"], "resourceVersion": str(event.version)}}


def _narrowed(match: Match, target: Target) -> Match:
    if not target.name:
        return match
    return lambda obj: obj["metadata"]["name"] == target.name and match(obj)


def _initial(request: Request) -> str:
    """Whether the watch begins with what is there: because it was asked, or because no version was named."""
    if request.flag("sendInitialEvents"):
        if request.query.get("resourceVersionMatch") != "NotOlderThan":
            text = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise invalid("ListOptions", "meta.k8s.io", "", [("FieldValueForbidden", text, "resourceVersionMatch")])
        return "asked"
    return "unversioned" if request.query.get("resourceVersion", "") in ("", "0") else ""


def _version(request: Request) -> int:
    text = request.query.get("resourceVersion", "") or "0"
    if not text.isdecimal():
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(500, why, "")
    return int(text)


async def _send(send: Send, lines: list[Json]) -> None:
    if lines:
        body: Any = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
