"""Much at once: sealed values that get a new key while others write, and deliveries that nobody has opened yet."""

import asyncio
import shutil
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from bot import rotating
from bot.core.sealing import Keyring
from bot.settings import Settings
from bot.store.database import Database, migrate
from models import Delivery, GitPlatformConnection
from models.base import now
from tests.world import Place, World, says

COMMANDS = 10  # every so many deliveries is one with a command
OLD, NEW = b"o" * 32, b"n" * 32
PLACE: dict[str, Any] = {"table": "git_platform_connections", "column": "access_token_sealed"}
Figures = dict[str, int]


def rotation(values: int) -> Figures:
    """Seal so many values anew while another writes; how long it took, and which of its writes were lost."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-rotation-"))
    try:
        migrate(url := f"sqlite+aiosqlite:///{folder}/sluice.db")
        return asyncio.run(_rotated(url, values))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _rotated(url: str, values: int) -> Figures:
    database, settings = Database(url), Settings(database_url=url, secret_keys=(NEW, OLD))
    ids = [uuid.uuid4() for _ in range(values)]
    await _fill(database, ids)
    writer = _Writer(database, ids)
    task = asyncio.create_task(writer.write())
    begun = time.monotonic()
    await rotating.rotate(settings, lambda _: None)
    took = time.monotonic() - begun
    writer.done.set()
    await task
    lost = await _lost(database, ids, writer.written)
    await database.close()
    return {
        "rotation.lost": lost,
        "rotation.values": values,
        "rotation.milliseconds": round(1000 * took),
        "rotation.writes_meanwhile": len(writer.waits),
        "rotation.slowest_write_milliseconds": round(1000 * max(writer.waits)),
    }


async def _fill(database: Database, ids: list[uuid.UUID]) -> None:
    keys, at = Keyring([OLD]), datetime.now(UTC)
    rows = [
        {
            "id": id,
            "provider": "gitea",
            "server_url": "https://git.example",
            "server_type": "self-hosted",
            "provider_account_id": str(number),
            "username": f"u{number}",
            "purpose": "integration",
            "connected_at": at,
            "details": {},
            "access_token_sealed": keys.seal(f"token {number}", row=id, **PLACE),
        }
        for number, id in enumerate(ids)
    ]
    async with database.write() as session:
        await session.execute(sa.insert(GitPlatformConnection), rows)


class _Writer:
    """A Sluice that renews tokens meanwhile, one after the other."""

    def __init__(self, database: Database, ids: list[uuid.UUID]) -> None:
        self.database, self.ids, self.keys = database, ids, Keyring([NEW, OLD])
        self.done, self.waits, self.written = asyncio.Event(), list[float](), dict[uuid.UUID, str]()

    async def write(self) -> None:
        number = 0
        while not self.done.is_set():
            id, text = self.ids[number * 7919 % len(self.ids)], f"renewed {number}"
            change = sa.update(GitPlatformConnection).where(GitPlatformConnection.id == id)
            begun = time.monotonic()
            async with self.database.write() as session:
                await session.execute(change.values(access_token_sealed=self.keys.seal(text, row=id, **PLACE)))
            self.waits.append(time.monotonic() - begun)
            self.written[id] = text
            number += 1
            await asyncio.sleep(0.01)  # it has other work, too


async def _lost(database: Database, ids: list[uuid.UUID], written: dict[uuid.UUID, str]) -> int:
    """Values that the new key alone does not open, or that are not what was written last."""
    keys, query = Keyring([NEW]), sa.select(GitPlatformConnection.id, GitPlatformConnection.access_token_sealed)
    async with database.read() as session:
        found = {id: sealed or "" for id, sealed in await session.execute(query)}
    wished = {id: written.get(id, f"token {number}") for number, id in enumerate(ids)}
    return sum(not _opens(keys, found[id], id, text) for id, text in wished.items())


def _opens(keys: Keyring, sealed: str, id: uuid.UUID, text: str) -> bool:
    return sealed.startswith(f"v1.{keys.newest}.") and keys.open(sealed, row=id, **PLACE) == text


def backlog(count: int) -> Figures:
    """Have a Sluice start on so many deliveries that nobody has opened yet; how long it took, and what was lost."""
    place = Place()
    place.start()
    try:
        return asyncio.run(_worked_off(place, count))
    finally:
        place.stop()


async def _worked_off(place: Place, count: int) -> Figures:
    world = World(place)
    commands = await leave_unopened(world, count)
    begun = time.monotonic()
    await asyncio.to_thread(place.start_sluice)
    await world.settled(300)
    took = time.monotonic() - begun
    mine = Delivery.delivery_key.startswith(f"{world.repository}-")
    open_ = [row for row in await world.rows(Delivery, mine) if row.status not in ("opened", "ignored")]
    ended = [run for run in await world.runs("help") if run.finished_at]
    lost = len(open_) + abs(commands - len(ended)) + len(world.comments()) - 1
    return {"backlog.lost": lost, "backlog.deliveries": count, "backlog.milliseconds": round(1000 * took)}


async def leave_unopened(world: World, count: int) -> int:
    """Stop Sluice, and have so many comments recorded that it has not opened; how many of them are commands."""
    world.open_pull_request(says("topic"))
    world.write("hello", by="alice")
    await world.settled()
    [sent] = [one for one in world.forge.deliveries if one.event == "issue_comment"][-1:]
    payload = msgspec.json.decode(sent.body)
    await asyncio.to_thread(world.place.stop_sluice)
    async with world.database.write() as session:
        session.add_all([_delivery(world, payload, number) for number in range(count)])
    return -(-count // COMMANDS)


def _delivery(world: World, payload: dict[str, Any], number: int) -> Delivery:
    body = f"/help {number}" if number % COMMANDS == 0 else "Nice."
    comment = payload["comment"] | {"id": 10_000_000 + number, "body": body}
    return Delivery(
        id=uuid.uuid4(),
        provider="github",
        delivery_key=f"{world.repository}-{number}",
        event="issue_comment",
        headers=b'{"content-type": "application/json"}',
        body=msgspec.json.encode(payload | {"comment": comment}),
        received_at=now(),
        due_at=now(),
    )
