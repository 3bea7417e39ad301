"""A 2xx is a promise: whatever happens after it, the delivery is in the database."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from litestar.testing import AsyncTestClient

from bot.store.database import Database, migrate
from bot.store.deliveries import Intake
from models import Delivery
from tests.web.receiving import BODY, app, github

ROOT = Path(__file__).parents[2]


async def keys(url: str) -> list[str]:
    """The deliveries that are in the database."""
    database = Database(url)
    async with database.read() as session:
        found = list(await session.scalars(sa.select(Delivery.delivery_key)))
    await database.close()
    return found


async def test_one_delivery_50_times_at_once(migrated_url: str) -> None:
    """One row, 50 times 202, 50 times the same id."""
    headers = github()

    async with AsyncTestClient(app(Intake(migrated_url))) as client:
        answers = await asyncio.gather(
            *(client.post("/webhooks/github", content=BODY, headers=headers) for _ in range(50))
        )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["delivery"] for answer in answers}) == 1
    assert sorted(answer.json()["result"] for answer in answers) == ["duplicate"] * 49 + ["recorded"]
    assert await keys(migrated_url) == [headers["x-github-delivery"]]


async def test_a_failing_commit_is_never_a_2xx(tmp_path: Path) -> None:
    """100 COMMITs fail, alone and in company: 100 times 503 with Retry-After, and nothing is kept of them."""
    url = f"sqlite+aiosqlite:///{tmp_path}/s.db"
    migrate(url)
    database = Database(url)
    async with database.write() as session:
        for statement in (
            "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
            "CREATE TABLE poisoned (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TRIGGER poison AFTER INSERT ON deliveries WHEN new.event = 'poison' "
            "BEGIN INSERT INTO poisoned VALUES (1); END",
        ):
            await session.execute(sa.text(statement))
    await database.close()
    sent = [github(x_github_event="poison" if number % 2 else "push") for number in range(100)]

    async with AsyncTestClient(app(Intake(url))) as client:

        async def post(headers: dict[str, str]) -> Any:
            return await client.post("/webhooks/github", content=BODY, headers=headers)

        poison = github(x_github_event="poison")
        alone = [await post({**poison, "x-github-delivery": str(uuid4())}) for _ in range(50)]
        together = await asyncio.gather(*(post(headers) for headers in sent))

    failed = alone + together[1::2]
    assert {answer.status_code for answer in failed} == {503}
    assert {answer.json()["code"] for answer in failed} == {"not_kept"}
    assert all("retry-after" in answer.headers for answer in failed)
    assert {answer.status_code for answer in together[::2]} == {202}
    assert sorted(await keys(url)) == sorted(headers["x-github-delivery"] for headers in sent[::2])


async def post(port: int) -> tuple[str, bytes, bytes]:
    """A delivery's key, and the head and the body of its answer, which goes on as long as the connection does."""
    headers = {"host": "sluice", "content-length": str(len(BODY)), **github()}
    head = "POST /webhooks/github HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + b"\r\n" + BODY)
        return headers["x-github-delivery"], await reader.readuntil(b"\r\n\r\n"), await reader.read()
    finally:
        writer.transport.abort()


async def test_no_delivery_comes_on_an_idle_connection(migrated_url: str) -> None:
    """It would be lost if the server closed the connection meanwhile: each answer says that it is the last one."""
    command = [sys.executable, "-m", "tests.web.server_process", migrated_url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        async with asyncio.timeout(4):  # an idle connection would be kept for 5 seconds
            key, head, _ = await post(int(server.stdout.readline()))
        server.kill()
    assert b"\r\nconnection: close\r\n" in head.lower()
    assert await keys(migrated_url) == [key]


class Senders:
    """Posts deliveries, several at a time, and notes those that were acknowledged."""

    def __init__(self, port: int, goal: int) -> None:
        self.port = port
        self.goal = goal
        self.acknowledged: list[str] = []
        self.reached = asyncio.Event()

    async def send(self) -> None:
        """Until the server is gone."""
        try:
            while True:
                key, head, _ = await post(self.port)
                assert head.startswith(b"HTTP/1.1 202 "), head
                self.acknowledged.append(key)
                if len(self.acknowledged) >= self.goal:
                    self.reached.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            return


@pytest.mark.parametrize("seed", range(2))
async def test_kill_minus_9(migrated_url: str, seed: int) -> None:
    """The server is killed while deliveries come in: each one that was acknowledged is in the database."""
    command = [sys.executable, "-m", "tests.web.server_process", migrated_url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        senders = Senders(int(server.stdout.readline()), goal=random.Random(seed).randrange(100, 400))
        tasks = [asyncio.create_task(senders.send()) for _ in range(16)]
        async with asyncio.timeout(30):
            await senders.reached.wait()
            server.send_signal(signal.SIGKILL)
            await asyncio.gather(*tasks)

    kept = await keys(migrated_url)
    assert len(senders.acknowledged) >= senders.goal
    assert set(senders.acknowledged) <= set(kept)
    assert len(kept) == len(set(kept))
