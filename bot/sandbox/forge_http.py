"""The sandbox forge's web server without its endpoints: routing, tokens, limits, paging, and faults made on purpose."""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import hashlib
import re
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from bot.sandbox.forge_state import Refusal, Repository, State, User
from bot.sandbox.git import GitError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DOCUMENTATION = "https://docs.github.com/rest"
MOST_PER_PAGE = 100
LARGEST_BODY = 10 * 1024 * 1024
_HOUR = 3600
_RATE_NAMES = ("limit", "remaining", "used", "reset")


@dataclass(slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    user: User | None = None
    params: dict[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The body's object; an empty body is an empty one."""
        if not self.body.strip():
            return {}
        try:
            body = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, "Problems parsing JSON") from error
        if not isinstance(body, dict):
            raise Refusal(400, "Body should be a JSON object")
        return body

    def actor(self) -> User:
        """Who asks; 401 for nobody."""
        if self.user is None:
            raise Refusal(401, "Requires authentication")
        return self.user

    def number(self, name: str) -> int:
        """A number in the path; 404 for anything else."""
        value = self.params[name]
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise Refusal(404, "Not Found")
        return int(value)


@dataclass(slots=True)
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """The bytes to send."""
        if self.status in (204, 304):
            return b""
        return self.body if isinstance(self.body, bytes) else msgspec.json.encode(self.body)


Handler = Callable[[Request], Reply]
RepositoryHandler = Callable[[Request, Repository], Reply]


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next requests that match; `times` None is for ever."""

    method: str
    pattern: str
    times: int | None
    status: int | None = None
    message: str = "Server Error"
    headers: dict[str, str] = field(default_factory=dict)
    latency: float = 0.0
    cut: bool = False

    def fits(self, request: Request) -> bool:
        """Whether this request is meant: `*` matches any method, and any part of a path."""
        return self.method in ("*", request.method) and fnmatch.fnmatchcase(request.path, self.pattern)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came in, for tests that count calls."""

    method: str
    path: str
    login: str | None
    status: int


class Router:
    """Finds the endpoint for a method and a path; `{name}` is one segment, `{name:path}` any number of them."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def add(self, method: str, template: str, handler: Handler) -> None:
        """Add an endpoint; earlier ones win."""
        parts = re.split(r"\{(\w+)(:path)?\}", template)
        pattern = re.escape(parts[0])
        for name, long, literal in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            pattern += f"(?P<{name}>{'.+' if long else '[^/]+'}){re.escape(literal)}"
        self._routes.append((method, re.compile(pattern, re.DOTALL), handler))

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        """The endpoint and what its path says, 404 without one."""
        for known, pattern, handler in self._routes:
            if known == method and (match := pattern.fullmatch(path)):
                return handler, match.groupdict()
        raise Refusal(404, "Not Found")


class Rates:
    """GitHub's primary rate limit: so many requests per account and hour."""

    def __init__(self, state: State) -> None:
        self.limit = 5000
        self._state = state
        self._windows: dict[str, tuple[int, int]] = {}

    def show(self, user: User | None, *, count: bool = False) -> dict[str, int]:
        """What is left for somebody, after counting one more request where asked to."""
        limit, key, now = self.limit, user.login if user else "", int(self._state.clock())
        used, reset = self._windows.get(key, (0, now + _HOUR))
        if now >= reset:
            used, reset = 0, now + _HOUR
        used += count
        self._windows[key] = (used, reset)
        return {"limit": limit, "remaining": max(0, limit - used), "used": used, "reset": reset}

    def exhausted(self, user: User | None) -> bool:
        """Whether the next request is one too many."""
        return self.show(user)["remaining"] <= 0


class Web:
    """The ASGI app: every request is answered under the state's lock, as one step."""

    def __init__(self, state: State, router: Router, rates: Rates) -> None:
        self.faults: list[Fault] = []
        self.seen: deque[Seen] = deque(maxlen=100_000)
        self.latency = 0.0
        self._state = state
        self._router = router
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return
        request = _request(scope, body)
        if not self._state.url and "host" in request.headers:
            self._state.url = self._state.store.url = f"{scope.get('scheme', 'http')}://{request.headers['host']}"
        fault = self._fault(request)
        if latency := self.latency + (fault.latency if fault else 0):
            await asyncio.sleep(latency)
        reply = self._answer(request, fault)
        await _send(send, reply, cut=fault is not None and fault.cut)

    def _fault(self, request: Request) -> Fault | None:
        with self._state.lock:
            for fault in self.faults:
                if fault.fits(request):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self.faults.remove(fault)
                    return fault
        return None

    def _answer(self, request: Request, fault: Fault | None) -> Reply:
        with self._state.lock:
            try:
                if fault and fault.status:
                    raise Refusal(fault.status, fault.message)
                reply = self._handle(request)
            except Refusal as refusal:
                reply = _refused(refusal)
            except GitError as error:
                reply = _refused(Refusal(404, f"Not Found: {error}"))
            except UnicodeEncodeError:
                reply = _refused(Refusal(422, "Text is not valid Unicode"))
            self._finish(request, reply)
            if fault and fault.status:
                reply.headers |= fault.headers
            login = request.user.login if request.user else None
            self.seen.append(Seen(request.method, request.path, login, reply.status))
            return reply

    def _handle(self, request: Request) -> Reply:
        if len(request.body) > LARGEST_BODY:
            raise Refusal(413, "Payload too large")
        if not request.headers.get("user-agent"):
            raise Refusal(403, "Request forbidden by administrative rules. Send a User-Agent header.")
        request.user = self._who(request.headers.get("authorization", ""))
        if request.path != "/rate_limit" and self._rates.exhausted(request.user):
            who = f"user ID {request.user.id}" if request.user else "your address"
            raise Refusal(403, f"API rate limit exceeded for {who}.")
        handler, request.params = self._router.find(request.method, request.path)
        return handler(request)

    def _who(self, header: str) -> User | None:
        kind, _, value = header.partition(" ")
        if not header:
            return None
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value).decode().partition(":")[2]
            except ValueError:
                value = ""
        if value.startswith("eyJ"):
            return None  # an App signs its own requests; its endpoints look at the signature
        user = self._state.holder(value.strip())
        if user is None or kind.lower() not in ("bearer", "token", "basic"):
            raise Refusal(401, "Bad credentials")
        return user

    def _finish(self, request: Request, reply: Reply) -> None:
        """Add what every answer of GitHub carries."""
        if request.method == "GET" and reply.status == 200:
            tag = f'W/"{hashlib.sha256(reply.encoded()).hexdigest()}"'
            reply.headers["ETag"] = tag
            if request.headers.get("if-none-match") == tag:
                reply.status = 304
        token = request.headers.get("authorization", "").rpartition(" ")[2]
        if token in self._state.expiries and request.user is not None:
            ends = datetime.fromtimestamp(self._state.expiries[token], UTC)
            reply.headers["GitHub-Authentication-Token-Expiration"] = ends.strftime("%Y-%m-%d %H:%M:%S UTC")
        counts = reply.status != 304 and request.path != "/rate_limit"
        rates = self._rates.show(request.user, count=counts)
        for name in _RATE_NAMES:
            reply.headers[f"X-RateLimit-{name.capitalize()}"] = str(rates[name])
        reply.headers["X-RateLimit-Resource"] = "core"
        reply.headers["X-GitHub-Request-Id"] = uuid.uuid4().hex[:20].upper()
        reply.headers.setdefault("Content-Type", "application/json; charset=utf-8")


def paged(request: Request, items: Sequence[Any], shape: Callable[[Any], Any], key: str = "", **more: Any) -> Reply:
    """One page of a list with its Link header; `key` puts the list into an object."""
    size = min(_positive(request, "per_page", 30), MOST_PER_PAGE)
    page = _positive(request, "page", 1)
    last = max(1, -(-len(items) // size))
    shown = [shape(item) for item in items[(page - 1) * size : page * size]]
    links = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
    if page >= last:
        del links["next"], links["last"]
    if page == 1:
        del links["prev"], links["first"]
    url = request.headers["sandbox-url"] + request.path
    texts = (f'<{url}?{urlencode({**request.query, "page": at})}>; rel="{rel}"' for rel, at in links.items())
    headers = {"Link": ", ".join(texts)} if links else {}
    return Reply(200, {**more, key: shown} if key else shown, headers)


def after_cursor(request: Request, items: Iterable[Any], shape: Callable[[Any], Any]) -> Reply:
    """One page of a list, newest first, that is walked by a cursor."""
    size = min(_positive(request, "per_page", 30), MOST_PER_PAGE)
    cursor = _positive(request, "cursor", 0)
    found = [item for item in items if not cursor or item.id < cursor]
    headers = {}
    if len(found) > size:
        url = request.headers["sandbox-url"] + request.path
        query = urlencode({**request.query, "cursor": found[size - 1].id})
        headers["Link"] = f'<{url}?{query}>; rel="next"'
    return Reply(200, [shape(item) for item in found[:size]], headers)


def _positive(request: Request, name: str, default: int) -> int:
    value = request.query.get(name, "")
    return max(1, int(value)) if value.isascii() and value.isdigit() and len(value) < 18 else default


def _refused(refusal: Refusal) -> Reply:
    body: dict[str, Any] = {"message": refusal.message}
    if refusal.errors:
        body["errors"] = refusal.errors
    return Reply(refusal.status, {**body, "documentation_url": DOCUMENTATION, "status": str(refusal.status)})


def _request(scope: Scope, body: bytes) -> Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path = scope["path"].removeprefix("/api/v3").rstrip("/") or "/"
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
    headers["sandbox-url"] = f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}"
    return Request(scope["method"], path, query, headers, body)


async def _body(receive: Receive) -> bytes | None:
    """The whole body, None when the client left before its end."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        size += len(part)
        if size <= LARGEST_BODY + 1:
            parts.append(part[: LARGEST_BODY + 1])
        if not message.get("more_body"):
            return b"".join(parts)


async def _send(send: Send, reply: Reply, *, cut: bool) -> None:
    body = reply.encoded()
    headers = {**reply.headers, "Content-Length": str(len(body) + cut)}
    status = 200 if cut and reply.status in (204, 304) else reply.status
    if status == 204:
        del headers["Content-Length"], headers["Content-Type"]
    raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if not cut:  # else the server drops the connection, for the promised body never comes
        await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def given(mapping: Mapping[str, Any], resource: str, name: str) -> str:
    """A text that has to be in a body; 422 without it."""
    value = mapping.get(name)
    if not isinstance(value, str):
        raise Refusal(422, "Validation Failed", [{"resource": resource, "field": name, "code": "missing_field"}])
    return value


def optional(mapping: Mapping[str, Any], resource: str, name: str) -> str | None:
    """A text that may be in a body."""
    return None if mapping.get(name) is None else given(mapping, resource, name)
