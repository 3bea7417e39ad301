"""Time limits, retries, rate limits, redirects and paging of the HTTP client."""

import time
from collections.abc import AsyncIterator

import httpx2
import pytest

from bot.core.errors import ConfigError, TemporaryError, UserError
from bot.http import Answer, Client, Limits
from tests.forges.server import Fault, Forge, GitHubForge

NOW = 1_800_000_000.0


class Bench:
    """A client with a clock that only moves when it sleeps."""

    def __init__(self, server: Forge) -> None:
        self.server = server
        self.slept: list[float] = []
        self.now = NOW
        limits = Limits(connect=1.0, read=0.15, whole=1.0, attempts=4)
        self.client = Client(server.url, limits=limits, sleep=self._sleep, clock=lambda: self.now, chance=lambda: 1.0)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def fail(self, *faults: Fault) -> None:
        self.server.faults = list(faults)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    server = GitHubForge()
    await server.start()
    made = Bench(server)
    yield made
    await made.client.close()
    await server.close()


async def test_reading_is_repeated_with_growing_pauses(bench: Bench) -> None:
    bench.fail(Fault(500), Fault(502), Fault())
    answer = await bench.client.request("GET", "/user")
    assert answer.status == 200
    assert bench.slept == [0.5, 1.0, 2.0]
    assert bench.client.calls == 4


async def test_reading_gives_up_in_the_end(bench: Bench) -> None:
    bench.fail(*[Fault(503, body='{"message": "down"}')] * 4)
    with pytest.raises(TemporaryError, match="503: down") as caught:
        await bench.client.request("GET", "/user")
    assert caught.value.delay > 0
    assert len(bench.server.calls) == 4


async def test_the_pauses_are_jittered(bench: Bench) -> None:
    bench.client._chance = lambda: 0.0
    bench.fail(Fault(500), Fault(500))
    await bench.client.request("GET", "/user")
    assert bench.slept == [0.25, 0.5]


@pytest.mark.parametrize("fault", [Fault(500), Fault(502, after=True), Fault(), Fault(after=True)])
async def test_writing_is_never_repeated_on_its_own(bench: Bench, fault: Fault) -> None:
    bench.fail(fault)
    with pytest.raises(TemporaryError):
        await bench.client.request("POST", "/repos/acme/web/issues/1/comments", body={"body": "x"})
    assert len(bench.server.calls) == 1
    assert bench.slept == []


async def test_writing_is_repeated_when_nothing_can_have_been_sent(bench: Bench) -> None:
    """A refused connection is safe to try again."""
    sent = []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        if len(sent) < 3:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(201, json={"id": 1})

    client = Client("http://forge.test", sleep=bench._sleep, transport=httpx2.MockTransport(answer))
    assert (await client.request("POST", "/x", body={})).status == 201
    assert len(sent) == 3
    await client.close()


async def test_a_server_that_is_not_there(bench: Bench) -> None:
    client = Client("http://127.0.0.1:1", sleep=bench._sleep)
    with pytest.raises(TemporaryError, match=r"127\.0\.0\.1:1 did not answer \(ConnectError\)"):
        await client.request("GET", "/user")
    await client.close()


async def test_a_server_that_drips_is_left(bench: Bench) -> None:
    """The limit on the whole call holds although every single read is quick."""

    async def drip(request: httpx2.Request) -> httpx2.Response:
        async def body() -> AsyncIterator[bytes]:
            import asyncio

            while True:
                await asyncio.sleep(0.02)
                yield b" "

        return httpx2.Response(200, content=body())

    limits = Limits(whole=0.1, attempts=1)
    client = Client("http://forge.test", limits=limits, transport=httpx2.MockTransport(drip))
    begun = time.monotonic()
    with pytest.raises(TemporaryError, match="TimeoutError"):
        await client.request("GET", "/x")
    assert time.monotonic() - begun < 1.0
    await client.close()


# Rate limits


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (429, {"retry-after": "7"}, "{}", 7.0),
        (403, {"retry-after": "3"}, '{"message": "You have exceeded a secondary rate limit."}', 3.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 5)}, "{}", 6.0),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) - 99)}, "{}", 1.0),
        (429, {"retry-after": "0"}, "{}", None),
    ],
)
async def test_a_short_limit_is_waited_for(
    bench: Bench, status: int, headers: dict[str, str], body: str, wait: float | None
) -> None:
    """Also for a POST: what was limited was not carried out."""
    bench.fail(Fault(status, headers, body))
    answer = await bench.client.request("POST", "/repos/acme/web/issues/1/comments", body={"body": "x"})
    assert answer.status == 201
    assert bench.slept == ([] if wait is None else [wait])
    assert len(bench.server.comments) == 1


@pytest.mark.parametrize(
    ("status", "headers", "body", "delay"),
    [
        (429, {"retry-after": "120"}, "{}", 120.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 1800)}, "{}", 1801.0),
        (403, {}, '{"message": "You have exceeded a secondary rate limit. Please wait."}', 60.0),
        (429, {}, "{}", 60.0),
        (429, {"retry-after": "soon"}, "{}", 60.0),
        (429, {"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT"}, "{}", 60.0),
    ],
)
async def test_a_long_limit_puts_the_run_off(
    bench: Bench, status: int, headers: dict[str, str], body: str, delay: float
) -> None:
    bench.fail(Fault(status, headers, body))
    with pytest.raises(TemporaryError, match="limits the rate") as caught:
        await bench.client.request("GET", "/user")
    assert caught.value.delay == delay
    assert bench.slept == []


async def test_while_limited_nothing_is_sent(bench: Bench) -> None:
    bench.fail(Fault(429, {"retry-after": "120"}))
    for _ in range(3):
        with pytest.raises(TemporaryError):
            await bench.client.request("GET", "/user")
    assert len(bench.server.calls) == 1
    bench.now += 121
    assert (await bench.client.request("GET", "/user")).status == 200


async def test_the_forges_own_clock_counts(bench: Bench) -> None:
    """Our clock is an hour behind; the reset is 5 seconds after the answer's date."""
    date = "Fri, 15 Jan 2027 09:00:00 GMT"
    headers = {"date": date, "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 3605)}
    bench.fail(Fault(403, headers))
    await bench.client.request("GET", "/user")
    assert bench.slept == [6.0]


async def test_a_plain_403_is_an_answer(bench: Bench) -> None:
    bench.fail(Fault(403, {"x-ratelimit-remaining": "12"}, '{"message": "Resource not accessible"}'))
    answer = await bench.client.request("GET", "/user")
    with pytest.raises(UserError, match="Resource not accessible"):
        answer.checked()


async def test_limited_for_ever_gives_up(bench: Bench) -> None:
    bench.fail(*[Fault(429, {"retry-after": "1"})] * 9)
    with pytest.raises(TemporaryError):
        await bench.client.request("GET", "/user")
    assert len(bench.server.calls) == 4


# Redirects, pages, addresses


async def test_a_renamed_repository_is_followed_on_this_server(bench: Bench) -> None:
    bench.fail(Fault(301, {"location": "/repos/acme/web"}))
    assert (await bench.client.request("GET", "/repos/old/name")).status == 200


@pytest.mark.parametrize("location", ["https://elsewhere.test/user", "http://127.0.0.1:1/user", "//evil.test/user"])
async def test_no_redirect_leaves_the_server(bench: Bench, location: str) -> None:
    bench.fail(Fault(302, {"location": location}))
    answer = await bench.client.request("GET", "/user")
    assert answer.status == 302
    assert bench.client.calls == 1


async def test_a_write_does_not_become_a_read(bench: Bench) -> None:
    bench.fail(Fault(302, {"location": "/user"}))
    assert (await bench.client.request("POST", "/x", body={})).status == 302


async def test_a_circle_of_redirects_ends(bench: Bench) -> None:
    bench.fail(*[Fault(301, {"location": "/user"})] * 9)
    assert (await bench.client.request("GET", "/user")).status == 301
    assert bench.client.calls == 4


async def test_pages_stay_on_the_server(bench: Bench) -> None:
    bench.fail(Fault(200, {"link": '<https://evil.test/?page=2>; rel="next"'}, "[]"))
    with pytest.raises(UserError, match="another server"):
        _ = [answer async for answer in bench.client.pages("/x")]
    assert bench.client.calls == 1


async def test_pages_end_with_a_refusal(bench: Bench) -> None:
    bench.fail(Fault(200, {"link": '</b?page=2>; rel="next"'}, "[]"), Fault(404))
    assert [answer.status async for answer in bench.client.pages("/a")] == [200, 404]


async def test_only_the_own_server_is_called(bench: Bench) -> None:
    with pytest.raises(ValueError):
        await bench.client.request("GET", "https://evil.test/user")


@pytest.mark.parametrize(
    "url", ["forge.test", "ftp://forge.test", "https://", "https://u:p@forge.test", "https://forge.test/?x", ""]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        Client(url)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "Not Found"}', "Not Found"),
        (b'{"message": "Validation Failed", "errors": [{"message": "too many"}]}', "Validation Failed; too many"),
        (b'{"message": "V", "errors": [{"resource": "Hook", "field": "url", "code": "x"}]}', "V; Hook url x"),
        (b'{"message": "V", "errors": ["plain", 3, null]}', "V; plain"),
        (b"<html>Bad gateway</html>", "status 418"),
        (b"[1]", "status 418"),
        (b"\xff", "status 418"),
        (b'{"message": "a\\nb"}', "a b"),
        (b'{"message": 7}', "status 418"),
    ],
)
def test_words_of_a_refusal(body: bytes, words: str) -> None:
    assert Answer(status=418, headers={}, body=body, host="forge.test").words == words
