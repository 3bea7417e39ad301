"""The one place that speaks HTTP to forges: time limits, retries, rate limits and paging."""

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import httpx2
import msgspec

from bot.core.errors import ConfigError, TemporaryError, UserError

T = TypeVar("T")
Params = Mapping[str, str | int]
Sleep = Callable[[float], Awaitable[None]]

REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)  # the forge cannot have acted on these
LONGEST_WAIT = 10.0  # seconds that a call may spend waiting for a rate limit; beyond it the run is put off
UNNAMED_LIMIT = 60.0  # what GitHub asks for when it names no time
MOST_REDIRECTS = 3
MOST_PAGES = 1000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long (seconds) and how often one call may try."""

    connect: float = 5.0
    read: float = 20.0
    whole: float = 60.0
    attempts: int = 4
    connections: int = 20


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a forge answered, whole. Header names are lower-case; `host` is whom to blame."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    host: str
    next_page: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the forge did what was asked."""
        return 200 <= self.status < 300

    def read(self, type: type[T]) -> T:
        """The JSON body as `type`; TemporaryError when it is something else (a proxy's error page, half an answer)."""
        try:
            return msgspec.json.decode(self.body, type=type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
            raise TemporaryError(f"{self.host} answered {self.status} with something unreadable: {error}") from None

    @property
    def words(self) -> str:
        """The forge's own words for a refusal, on one line; the status when it has none."""
        try:
            said = json.loads(self.body)
        except (ValueError, RecursionError):
            said = None
        texts: list[str] = []
        if isinstance(said, dict):
            errors = said.get("errors")
            details = errors if isinstance(errors, list) else []
            texts = [_text(part) for part in (said.get("message"), *details)]
        told = "; ".join(dict.fromkeys(text for text in texts if text))
        return " ".join(told.split())[:300] or f"status {self.status}"

    def checked(self) -> "Answer":
        """Itself; UserError `forge_refused` with the forge's words unless the status is 2xx."""
        if self.ok:
            return self
        raise UserError("forge_refused", f"{self.host} answered {self.status}: {self.words}")


class Client:
    """HTTP to one server, with one credential, for one event loop. `calls` counts the requests that were sent.

    The credential goes to this server only and is in no text, log or repr. `sleep`, `clock` (seconds since 1970) and
    `chance` (0 to 1) are there to be replaced in tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        authorization: str | None = None,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = _base(base_url)
        self.host = urlsplit(self.base_url).netloc
        self.calls = 0
        self._limits = limits or Limits()
        self._sleep = sleep
        self._clock = clock
        self._chance = chance
        self._closed_until = 0.0
        self._secret = (authorization or "").rsplit(" ", 1)[-1]
        sent = {"user-agent": "sluice", **(headers or {})}
        if authorization:
            sent["authorization"] = authorization
        self._http = httpx2.AsyncClient(
            headers=sent,
            follow_redirects=False,
            transport=transport,
            verify=_trusted(),
            timeout=httpx2.Timeout(self._limits.read, connect=self._limits.connect),
            limits=httpx2.Limits(max_connections=self._limits.connections),
        )

    def __repr__(self) -> str:
        return f"Client({self.base_url!r})"

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        params: Params | None = None,
        repeatable: bool | None = None,
        authorization: str | None = None,
        hidden: Sequence[str] = (),
    ) -> Answer:
        """One call; `path` follows the base URL, `body` is sent as JSON, `form` as a form. Below 500 is an answer.

        `authorization` takes the place of the client's own. It, and what is `hidden`, is blotted out of refusals.

        A 5xx, a time-out or a broken connection is tried again with growing pauses, but only when `repeatable` (by
        default: GET, HEAD, PUT, DELETE) or when nothing can have been sent; then, or at once, TemporaryError: the
        forge may have acted. Rate limits are waited for up to 10 seconds, else TemporaryError with their delay.
        """
        url = self._url(path)
        again = method in REPEATABLE if repeatable is None else repeatable
        sent = _Sent.made(body, form, params, authorization, hidden)
        for attempt in range(1, self._limits.attempts + 1):
            last = attempt == self._limits.attempts
            await self._await_opening()
            answer, trouble, arrived = await self._once(method, url, sent)
            if answer is None:
                if last or (arrived and not again):
                    raise TemporaryError(f"{self.host} did not answer ({trouble})", self._pause(attempt))
            elif (closed := self._limited(answer)) is not None:
                self._closed_until = self._clock() + closed
                if last:
                    raise TemporaryError(f"{self.host} limits the rate of calls", closed)
                continue
            elif answer.status < 500:
                return answer
            elif last or not again:
                raise TemporaryError(f"{self.host} answered {answer.status}: {answer.words}", self._pause(attempt))
            await self._sleep(self._pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    async def pages(self, path: str, *, params: Params | None = None) -> AsyncIterator[Answer]:
        """The answers to GET `path`, page by page along `Link: rel="next"`, which may only point to this server.

        A refusal (not 2xx) is given as the only or last answer.
        """
        answer = await self.request("GET", path, params=params)
        for _ in range(MOST_PAGES):
            yield answer
            if answer.next_page is None or not answer.ok:
                return
            if not self._ours(answer.next_page):
                raise UserError("forge_refused", f"{self.host} points to another server for the next page of a list")
            answer = await self.request("GET", answer.next_page)
        raise TemporaryError(f"{self.host} listed more than {MOST_PAGES} pages")

    async def _once(self, method: str, url: str, sent: "_Sent") -> tuple[Answer | None, str, bool]:
        """(answer, what went wrong, whether the forge may have acted); outside of `except`, so no error holds it."""
        try:
            async with asyncio.timeout(self._limits.whole):
                return await self._follow(method, url, sent), "", True
        except NOT_SENT as error:
            return None, type(error).__name__, False
        except (httpx2.TransportError, httpx2.DecodingError, TimeoutError) as error:
            return None, type(error).__name__, True

    async def _follow(self, method: str, url: str, sent: "_Sent") -> Answer:
        """One call and its redirects, as far as they stay on this server."""
        params = sent.params
        for _ in range(MOST_REDIRECTS + 1):
            self.calls += 1
            response = await self._http.request(method, url, content=sent.content, params=params, headers=sent.headers)
            target = response.next_request
            same_verb = response.status_code in (307, 308) or method in ("GET", "HEAD")
            if target is None or not same_verb or not self._ours(str(target.url)):
                return self._answer(response, sent)
            url, params = str(target.url), None
        return self._answer(response, sent)

    def _answer(self, response: httpx2.Response, sent: "_Sent") -> Answer:
        found = response.links.get("next", {}).get("url")
        body = response.content
        if response.status_code >= 400:
            for secret in (self._secret, *sent.hidden):
                body = body.replace(secret.encode(), b"***") if secret else body
        return Answer(
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
            host=self.host,
            next_page=str(response.url.join(found)) if found else None,
        )

    def _ours(self, url: str) -> bool:
        here, there = urlsplit(self.base_url), urlsplit(url)
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)

    def _url(self, path: str) -> str:
        if path.startswith("/"):
            return self.base_url + path
        if not self._ours(path):
            raise ValueError("a call may only go to the client's own server")
        return path

    async def _await_opening(self) -> None:
        """Wait until a rate limit that an earlier call met is over."""
        wait = self._closed_until - self._clock()
        if wait > LONGEST_WAIT:
            raise TemporaryError(f"{self.host} limits the rate of calls", wait)
        if wait > 0:
            await self._sleep(wait)

    def _limited(self, answer: Answer) -> float | None:
        """Seconds for which the forge wants no calls; None when the answer is not about a rate limit."""
        if answer.status not in (403, 429):
            return None
        headers = answer.headers
        if "retry-after" in headers:
            return _seconds(headers["retry-after"], self._clock())
        if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdigit():
            now = _date(headers.get("date", "")) or self._clock()  # theirs, where it differs from ours
            return max(1.0, int(headers["x-ratelimit-reset"]) - now + 1.0)
        if answer.status == 429 or "secondary rate limit" in answer.words.lower():
            return UNNAMED_LIMIT
        return None

    def _pause(self, attempt: int) -> float:
        """Seconds before the next attempt: half fixed, half by chance, so that many callers do not march in step."""
        whole = min(0.5 * 2.0 ** (attempt - 1), 8.0)
        return whole * (0.5 + 0.5 * self._chance())


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What goes out with a call, whatever its attempts and redirects."""

    content: bytes | None
    params: Params | None
    headers: dict[str, str]
    hidden: tuple[str, ...]

    @classmethod
    def made(
        cls,
        body: Any,
        form: Mapping[str, str] | None,
        params: Params | None,
        authorization: str | None,
        hidden: Sequence[str],
    ) -> "_Sent":
        content, headers = None, {}
        if body is not None:
            content, headers["content-type"] = msgspec.json.encode(body), "application/json"
        elif form is not None:
            content, headers["content-type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        if authorization is not None:
            headers["authorization"] = authorization
            hidden = (*hidden, authorization.rsplit(" ", 1)[-1])
        return cls(content=content, params=params, headers=headers, hidden=tuple(hidden))


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes as long as a dozen calls, so it is done once."""
    return httpx2.create_ssl_context()


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is no URL of a forge: it must start with https:// (or http://) and name a server")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("the URL of a forge must carry no user, password, query or fragment; the token has a setting")
    return url.rstrip("/")


def _text(part: object) -> str:
    if isinstance(part, dict):
        known = [part.get(key) for key in ("message", "resource", "field", "code")]
        return known[0] if isinstance(known[0], str) else " ".join(text for text in known if isinstance(text, str))
    return part if isinstance(part, str) else ""


def _seconds(value: str, now: float) -> float:
    """A Retry-After header, which is a number of seconds or a date."""
    if value.strip().isdigit():
        return float(value)
    date = _date(value)
    return UNNAMED_LIMIT if date is None else max(0.0, date - now)


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, IndexError):
        return None
