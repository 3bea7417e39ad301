"""The webhook table of design section 10: each row is a request and its answer."""

import random
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from litestar.testing import TestClient

from bot.settings import ForgeSettings, Settings
from bot.store.deliveries import Overloaded
from bot.web.bodies import MIB, Limits
from tests.web.receiving import (
    BODY,
    HOOK,
    KEYS,
    PARTNER,
    SECRET,
    SETTINGS,
    Memory,
    app,
    gitea,
    github,
    raw,
    serving,
    sign,
)

Client = TestClient[Any]
FORM = b"payload=%7B%22zen%22%3A%22Keep%20it%22%7D"
NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def client(memory: Memory) -> Iterator[Client]:
    with TestClient(app(memory), raise_server_exceptions=False) as client:
        yield client


def signed(body: bytes, **changes: str | None) -> dict[str, str]:
    return github(body, **changes)


REFUSED = {
    "no signature": (github(x_hub_signature_256=None), BODY, 401),
    "empty signature": (github(x_hub_signature_256=""), BODY, 401),
    "wrong signature": (github(x_hub_signature_256="sha256=" + "0" * 64), BODY, 401),
    "signature of another body": (github(b"another"), BODY, 401),
    "SHA-1 only": (github(x_hub_signature_256=None, x_hub_signature="sha1=" + sign(BODY, SECRET, "sha1")), BODY, 401),
    "SHA-1 in the place of SHA-256": (github(x_hub_signature_256="sha1=" + sign(BODY, SECRET, "sha1")), BODY, 401),
    "non-ASCII signature": (github(x_hub_signature_256="sha256=\xe9\xfc" + "0" * 62), BODY, 401),
    "two signatures in one header": (
        github(x_hub_signature_256=f"sha256={sign(BODY)}, sha256={sign(BODY)}"),
        BODY,
        401,
    ),
    "huge signature": (github(x_hub_signature_256="sha256=" + "a" * 8000), BODY, 401),
    "no delivery id": (github(x_github_delivery=None), BODY, 400),
    "empty delivery id": (github(x_github_delivery=""), BODY, 400),
    "unusable delivery id": (github(x_github_delivery="caf\xe9"), BODY, 400),
    "no event": (github(x_github_event=None), BODY, 400),
    "unusable event": (github(x_github_event="ping\xff"), BODY, 400),
    "declared too large": (signed(b"x", content_length=str(25 * MIB + 1)), b"x", 413),
    "Gitea's headers": (gitea(), BODY, 401),
}


@pytest.mark.parametrize("row", REFUSED)
def test_refused(client: Client, memory: Memory, row: str) -> None:
    """Refused with the status of the table, as problem details, and nothing is kept."""
    headers, body, status = REFUSED[row]

    raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    response = client.post("/webhooks/github", content=body, headers=raw_headers)

    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/problem+json")
    problem = response.json()
    assert problem["status"] == status
    assert problem["code"] in {"signature_invalid", "delivery_id_missing", "event_missing", "body_too_large"}
    assert memory.kept == []


ACCEPTED = {
    "a ping": (github(), BODY),
    "signed by the rotation partner": (github(x_hub_signature_256="sha256=" + sign(BODY, PARTNER)), BODY),
    "both SHA-1 and SHA-256": (github(x_hub_signature="sha1=" + sign(BODY, SECRET, "sha1")), BODY),
    "form-encoded": (signed(FORM, content_type="application/x-www-form-urlencoded"), FORM),
    "invalid UTF-8": (signed(b'{"zen": "\xff\xfe"}'), b'{"zen": "\xff\xfe"}'),
    "100,000 levels": (signed(NESTED), NESTED),
    "NUL": (signed(b'{"zen": "\\u0000\x00"}'), b'{"zen": "\\u0000\x00"}'),
    "no JSON": (signed(b"hello"), b"hello"),
    "empty": (signed(b""), b""),
    "unknown event": (github(x_github_event="from_the_future"), BODY),
    "unknown content type": (github(content_type="image/png"), BODY),
    "2 MB, hashed in a thread": (signed(b"x" * 2 * MIB), b"x" * 2 * MIB),
}


@pytest.mark.parametrize("row", ACCEPTED)
def test_accepted(client: Client, memory: Memory, row: str) -> None:
    """What is signed is kept byte for byte; what it means is the worker's question."""
    headers, body = ACCEPTED[row]

    response = client.post("/webhooks/github", content=body, headers=headers)

    assert response.status_code == 202
    assert response.json() == {"delivery": str(next(iter(memory.ids.values()))), "result": "recorded"}
    [kept] = memory.kept
    assert (kept.provider, kept.hook_id, kept.body) == ("github", None, body)
    assert kept.delivery_key == headers["x-github-delivery"]
    assert kept.event == headers["x-github-event"]
    assert msgspec.json.decode(kept.headers)["x-github-event"] == headers["x-github-event"]
    assert kept.received_at.tzinfo is not None


def test_secrets_in_headers_are_not_kept(client: Client, memory: Memory) -> None:
    """What authorises is no part of the record."""
    client.post(
        "/webhooks/github", content=BODY, headers={**github(), "authorization": "Bearer planted", "cookie": "a=b"}
    )

    assert not {"authorization", "cookie"} & set(msgspec.json.decode(memory.kept[0].headers))


@pytest.mark.parametrize("name", ["x-hub-signature-256", "x-github-delivery", "x-github-event"])
def test_a_header_that_comes_twice_counts_for_nothing(client: Client, memory: Memory, name: str) -> None:
    """Which of the two was meant is not guessed."""
    headers = github()

    response = client.post("/webhooks/github", content=BODY, headers=[*headers.items(), (name, headers[name])])

    assert response.status_code == (401 if "signature" in name else 400)
    assert memory.kept == []


def test_a_delivery_again(client: Client, memory: Memory) -> None:
    """The second answer names the row of the first."""
    headers = github()
    first = client.post("/webhooks/github", content=BODY, headers=headers).json()

    again = client.post("/webhooks/github", content=BODY, headers=headers)

    assert again.status_code == 202
    assert again.json() == {"delivery": first["delivery"], "result": "duplicate"}
    assert len(memory.kept) == 1


def test_gitea_on_its_own_url(client: Client, memory: Memory) -> None:
    """The URL chooses the forge, the headers in GitHub's name do not."""
    assert client.post("/webhooks/gitea", content=BODY, headers=gitea()).status_code == 202
    assert memory.kept[0].provider == "gitea"


def test_githubs_headers_with_githubs_secret_on_giteas_url(client: Client, memory: Memory) -> None:
    """One forge does not speak for another."""
    assert client.post("/webhooks/gitea", content=BODY, headers=github()).status_code == 401
    assert client.post("/webhooks/gitea", content=BODY, headers=gitea(secret=SECRET)).status_code == 401
    assert memory.kept == []


@pytest.mark.parametrize(
    "path", ["/webhooks/gitlab", "/webhooks/github2", f"/webhooks/gitlab/{HOOK}", "/webhooks/GitHub"]
)
def test_forges_that_are_not_configured(client: Client, path: str) -> None:
    """404, whatever is sent."""
    response = client.post(path, content=BODY, headers=github())

    assert (response.status_code, response.json()["code"]) == (404, "forge_not_configured")


def test_a_forge_without_secret_is_closed(memory: Memory) -> None:
    """A forge with only a token has no forge-wide webhook, not an open one."""
    bare = Settings(forges={"github": ForgeSettings(url="https://api.github.com", token="t" * 20)})
    empty = github(x_hub_signature_256="sha256=" + sign(BODY, b""))

    with TestClient(app(memory, settings=bare)) as client:
        assert client.post("/webhooks/github", content=BODY, headers=empty).status_code == 404
        assert client.post(f"/webhooks/github/{HOOK}", content=BODY, headers=empty).status_code == 401
    assert memory.kept == []


def hooked(secret: bytes, body: bytes = BODY) -> dict[str, str]:
    return github(x_hub_signature_256="sha256=" + sign(body, secret))


NEWEST, OLDER = SETTINGS.hook_secrets(HOOK)
STRANGE = UUID("99999999-2222-4333-8444-555555555555")
HOOK_ROWS: dict[str, tuple[str, bytes, int]] = {
    "its own secret": (f"/webhooks/github/{HOOK}", NEWEST, 202),
    "of the key before": (f"/webhooks/github/{HOOK}", OLDER, 202),
    "the forge-wide secret": (f"/webhooks/github/{HOOK}", SECRET, 401),
    "the master key": (f"/webhooks/github/{HOOK}", KEYS[0], 401),
    "another hook's secret": (f"/webhooks/github/{HOOK}", SETTINGS.hook_secrets(STRANGE)[0], 401),
    "a hook that is not registered": (f"/webhooks/github/{STRANGE}", SETTINGS.hook_secrets(STRANGE)[0], 401),
    "a hook of another forge": (f"/webhooks/gitea/{HOOK}", NEWEST, 401),
    "no hook's name": ("/webhooks/github/42", SECRET, 401),
    "another spelling": (f"/webhooks/github/{HOOK.hex}", NEWEST, 401),
    "a hook's secret on the forge's URL": ("/webhooks/github", NEWEST, 401),
}


@pytest.mark.parametrize("row", HOOK_ROWS)
def test_hooks_that_sluice_registered(client: Client, memory: Memory, row: str) -> None:
    """A hook's URL takes that hook's secret and no other; an unknown hook is answered like a wrong signature."""
    path, secret, status = HOOK_ROWS[row]
    headers = hooked(secret)
    if "gitea" in path:
        headers = gitea(secret=secret)

    response = client.post(path, content=BODY, headers=headers)

    assert response.status_code == status
    assert [kept.hook_id for kept in memory.kept] == ([HOOK] if status == 202 else [])
    if status == 401:
        assert response.json()["code"] == "signature_invalid"


def test_a_hook_that_cannot_be_looked_up(memory: Memory) -> None:
    """The database is away: 503, not 401, so that the forge's log shows the truth."""

    async def broken(forge: str, hook_id: UUID) -> bool:
        raise OSError("planted detail")

    with TestClient(app(memory, known_hook=broken)) as client:
        response = client.post(f"/webhooks/github/{HOOK}", content=BODY, headers=hooked(NEWEST))
        stranger = client.post(f"/webhooks/github/{HOOK}", content=BODY, headers=hooked(SECRET))

    assert (response.status_code, response.json()["code"]) == (503, "not_kept")
    assert "planted" not in response.text
    assert stranger.status_code == 401


@pytest.mark.parametrize("error", [Overloaded("too many"), RuntimeError("planted detail"), TimeoutError()])
def test_what_cannot_be_kept_is_503(client: Client, memory: Memory, error: Exception) -> None:
    """With Retry-After, and without the database's words."""
    memory.error = error

    response = client.post("/webhooks/github", content=BODY, headers=github())

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["code"] == ("overloaded" if isinstance(error, Overloaded) else "not_kept")
    assert "planted" not in response.text


def test_26_megabytes(memory: Memory) -> None:
    """Refused by its declared length; the body is not waited for."""
    body = b"x" * 26_000_000 * 2
    with serving(lambda: app(memory)) as port:
        answer = raw(port, "/webhooks/github", {**github(b""), "content-length": str(len(body))})

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert memory.kept == []


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_chunked_past_the_limit(memory: Memory) -> None:
    """No length was declared: refused as soon as there is too much of it."""
    limits = Limits(body=100_000)
    with serving(lambda: app(memory, limits=limits)) as port:
        headers = {**github(b""), "transfer-encoding": "chunked"}
        answer = raw(port, "/webhooks/github", headers, chunk(b"x" * 60_000), chunk(b"x" * 60_000))
        exact = b"x" * 100_000
        fits = raw(
            port,
            "/webhooks/github",
            {**github(exact), "transfer-encoding": "chunked", "connection": "close"},
            chunk(exact),
            b"0\r\n\r\n",
        )

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert fits.startswith(b"HTTP/1.1 202 ")
    assert len(memory.kept) == 1


def test_a_body_that_stops_half_way(memory: Memory) -> None:
    """Its time runs out: 408, and the connection is closed."""
    with serving(lambda: app(memory, limits=Limits(read_seconds=0.2))) as port:
        answer = raw(port, "/webhooks/github", {**github(), "content-length": str(len(BODY))}, BODY[:10])

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body_too_slow"' in answer
    assert memory.kept == []


def test_too_many_bodies_at_once(memory: Memory) -> None:
    """What all bodies hold is bounded; the next one is told to come again, and those before are served."""
    limits = Limits(in_flight=50_000)
    body = b"x" * 60_000
    with TestClient(app(memory, limits=limits)) as client:
        refused = client.post("/webhooks/github", content=body, headers=github(body))
        later = client.post("/webhooks/github", content=BODY, headers=github())

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert "retry-after" in refused.headers
    assert later.status_code == 202


def test_other_methods_and_paths_are_problems_too(client: Client) -> None:
    """Everything that is refused is refused in one form."""
    for response, status, code in (
        (client.get("/webhooks/github"), 405, "method_not_allowed"),
        (client.get("/nothing"), 404, "not_found"),
        (client.post("/webhooks"), 404, "not_found"),
    ):
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert response.headers["content-type"].startswith("application/problem+json")


def test_a_bug_says_nothing_outside(memory: Memory) -> None:
    """An unexpected error is 500 with a reason code; the words stay in the log."""

    async def broken() -> str | None:
        raise RuntimeError("planted detail")

    with TestClient(app(memory, ready=broken), raise_server_exceptions=False) as client:
        response = client.get("/readyz")

    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "planted" not in response.text
    assert "Traceback" not in response.text


def test_health(memory: Memory) -> None:
    """It lives also when it cannot work; readiness names what is missing."""

    async def missing() -> str | None:
        return "the database is empty; run: sluice migrate"

    with TestClient(app(memory, ready=missing)) as client:
        assert client.get("/healthz").status_code == 200
        unready = client.get("/readyz")
    with TestClient(app(memory)) as client:
        assert client.get("/readyz").json() == {"status": "ready"}

    assert (unready.status_code, unready.json()["code"]) == (503, "not_ready")
    assert unready.json()["detail"] == "the database is empty; run: sluice migrate"


def test_the_schema_describes_the_answers(client: Client) -> None:
    """OpenAPI is at /schema and lists every status of the table."""
    operation = client.get("/schema").json()["paths"]["/webhooks/{forge}"]["post"]

    assert {"202", "400", "401", "404", "408", "413", "503"} <= set(operation["responses"])


@pytest.mark.parametrize("seed", range(4))
def test_nothing_random_gets_in(client: Client, memory: Memory, seed: int) -> None:
    """Without the key, no header and no body is accepted, and none breaks the server."""
    dice = random.Random(seed)
    names = ["x-hub-signature-256", "x-hub-signature", "x-github-delivery", "x-github-event", "content-type"]
    for _ in range(100):
        headers = [
            (dice.choice(names).encode(), bytes(dice.choices(range(0x20, 0x100), k=dice.randrange(80))).strip())
            for _ in range(dice.randrange(8))
        ]
        response = client.post("/webhooks/github", content=dice.randbytes(dice.randrange(200)), headers=headers)
        assert response.status_code in {400, 401}
    assert memory.kept == []
