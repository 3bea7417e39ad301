"""Made-up settings, recorders and senders for the tests of the intake."""

import asyncio
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import uvicorn
from litestar import Litestar

from bot.forges.gitea import Gitea
from bot.forges.github import GitHub
from bot.settings import ForgeSettings, Settings
from bot.store.deliveries import NewDelivery, Recorded
from bot.web.app import create_app

SECRET = b"the-secret-of-github"
PARTNER = b"the-next-secret-of-github"
GITEA_SECRET = b"the-secret-of-gitea!"
KEYS = (b"k" * 32, b"o" * 32)
HOOK = UUID("11111111-2222-4333-8444-555555555555")
BODY = json.dumps({"zen": "Keep it logically awesome."}).encode()

SETTINGS = Settings(
    secret_keys=KEYS,
    forges={
        "github": ForgeSettings(url="https://api.github.com", webhook_secrets=(SECRET, PARTNER)),
        "gitea": ForgeSettings(url="https://gitea.example", webhook_secrets=(GITEA_SECRET,)),
    },
)


class Memory:
    """A recorder that keeps deliveries in a list."""

    def __init__(self) -> None:
        self.kept: list[NewDelivery] = []
        self.ids: dict[tuple[str, str], UUID] = {}
        self.error: Exception | None = None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def record(self, delivery: NewDelivery) -> Recorded:
        if self.error is not None:
            raise self.error
        key = (delivery.provider, delivery.delivery_key)
        if key in self.ids:
            return Recorded(self.ids[key], duplicate=True)
        self.kept.append(delivery)
        self.ids[key] = uuid4()
        return Recorded(self.ids[key], duplicate=False)


async def known_hook(forge: str, hook_id: UUID) -> bool:
    return (forge, hook_id) == ("github", HOOK)


async def ready() -> str | None:
    return None


def app(intake: Any, **changes: Any) -> Litestar:
    """The application with the real forges' verifiers."""
    given: dict[str, Any] = {
        "settings": SETTINGS,
        "intake": intake,
        "forges": {"github": GitHub, "gitea": Gitea},
        "known_hook": known_hook,
        "ready": ready,
    }
    given |= changes
    given["forges"] = {name: make("https://forge.invalid") for name, make in given["forges"].items()}
    return create_app(**given)


def sign(body: bytes, secret: bytes = SECRET, algorithm: str = "sha256") -> str:
    return hmac.new(secret, body, getattr(hashlib, algorithm)).hexdigest()


def github(body: bytes = BODY, **changes: str | None) -> dict[str, str]:
    """The headers that GitHub would send; `None` leaves one out."""
    headers: dict[str, str | None] = {
        "content-type": "application/json",
        "x-github-event": "ping",
        "x-github-delivery": str(uuid4()),
        "x-hub-signature-256": "sha256=" + sign(body),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def gitea(body: bytes = BODY, secret: bytes = GITEA_SECRET) -> dict[str, str]:
    """The headers that Gitea sends, those in GitHub's name among them."""
    delivery = str(uuid4())
    return {
        "content-type": "application/json",
        "x-gitea-event": "push",
        "x-gitea-delivery": delivery,
        "x-gitea-signature": sign(body, secret),
        "x-github-event": "push",
        "x-github-delivery": delivery,
        "x-hub-signature": "sha1=" + sign(body, secret, "sha1"),
        "x-hub-signature-256": "sha256=" + sign(body, secret),
    }


@contextmanager
def serving(application: Callable[[], Litestar]) -> Iterator[int]:
    """A real server in a thread, on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, factory=True, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    started = threading.Event()

    async def serve() -> None:
        config.load()
        task = asyncio.create_task(server.serve([listener]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        started.set()
        await task

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20)
        assert thread.is_alive(), "the server did not start"
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def raw(port: int, path: str, headers: Mapping[str, str], *chunks: bytes) -> bytes:
    """Send exactly these bytes after the headers, end nothing, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: sluice\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        connection.sendall(head.encode("latin-1"))
        answer = b""
        try:
            for chunk in chunks:
                connection.sendall(chunk)
        except ConnectionError:
            pass  # the server had answered already
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionError:
            pass
        return answer
