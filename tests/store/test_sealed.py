"""Rotation of keys: while others write, broken off, repeated; and who still needs an old key is told."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from bot import rotating
from bot.connecting import connect
from bot.core.checks import Level
from bot.core.sealing import Keyring
from bot.doctor import _seals
from bot.settings import ForgeSettings, Settings
from bot.store import sealed
from bot.store.database import Database, migrate
from models import GitPlatformConnection
from tests.postgres import migrated_file
from tests.scene import Scene

OLD, NEW, LOST = b"o" * 32, b"n" * 32, b"l" * 32
TABLE = "git_platform_connections"
ROWS = 2_000


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    database = Database(migrated_url, writers=4)
    yield database
    await database.close()


def connection(keys: Keyring, number: int, refresh: bool = True) -> dict[str, object]:
    id = uuid.uuid4()
    row: dict[str, object] = {"id": id, "provider": "gitea", "server_url": "https://git.example"}
    row |= {"server_type": "self-hosted", "provider_account_id": str(number), "username": f"u{number}"}
    row |= {"purpose": "integration", "connected_at": datetime.now(UTC), "details": {}}
    row["access_token_sealed"] = keys.seal(f"access {number}", table=TABLE, row=id, column="access_token_sealed")
    row["refresh_token_sealed"] = (
        keys.seal(f"refresh {number}", table=TABLE, row=id, column="refresh_token_sealed") if refresh else None
    )
    return row


async def add(database: Database, keys: Keyring, count: int, *, refresh: bool = True) -> None:
    rows = [connection(keys, number, refresh) for number in range(count)]
    async with database.write() as session:
        await session.execute(sa.insert(GitPlatformConnection), rows)


async def opened(database: Database, keys: Keyring) -> dict[str, str]:
    """What every access token says, with these keys alone."""
    async with database.read() as session:
        rows = (await session.execute(sa.select(GitPlatformConnection))).scalars().all()
    place = {"table": TABLE, "column": "access_token_sealed"}
    return {row.provider_account_id: keys.open(row.access_token_sealed or "", row=row.id, **place) for row in rows}


def settings(database: Database, *keys: bytes) -> Settings:
    return Settings(database_url=str(database._writer.url.render_as_string(hide_password=False)), secret_keys=keys)


async def test_all_sealed_columns_are_known(database: Database) -> None:
    assert {place.name for place in sealed.columns()} == {
        "git_platform_connections.access_token_sealed",
        "git_platform_connections.refresh_token_sealed",
        "project_git_auth_token.token_sealed",
        "project_git_auth_deploy_key.private_key_sealed",
    }


async def test_the_old_key_can_go_after_a_rotation(database: Database) -> None:
    """Before, both keys are needed and that is told; after it the new one opens everything."""
    await add(database, Keyring([OLD]), 30)
    both, told = settings(database, NEW, OLD), list[str]()
    assert await rotating.check(both, told.append) is False
    old = Keyring([OLD]).newest
    assert f"30 values of {TABLE}.access_token_sealed are still sealed with the older key {old}" in told
    assert [finding.level for finding in await _seals(both)] == [Level.WARNING, Level.WARNING]
    assert [finding.level for finding in await _seals(settings(database, NEW))] == [Level.FAILED, Level.FAILED]

    told.clear()
    assert await rotating.rotate(both, told.append) is True
    assert told[-2:] == [
        f"nothing is sealed with the older key {old}",
        "all 60 sealed values are sealed with the newest key",
    ]
    assert await rotating.check(settings(database, NEW), told.append) is True
    assert await _seals(settings(database, NEW)) == []
    assert await opened(database, Keyring([NEW])) == {str(n): f"access {n}" for n in range(30)}


async def test_a_rotation_can_be_broken_off_and_repeated(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "BATCH", 7)
    await add(database, Keyring([OLD]), 20)
    both = settings(database, NEW, OLD)

    def stop_at_14(text: str) -> None:
        if "14 sealed anew" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotating.rotate(both, stop_at_14)
    by_key = {use.key_id: use.count for use in await sealed.uses(database) if "access" in use.column}
    assert by_key == {Keyring([NEW]).newest: 14, Keyring([OLD]).newest: 6}
    assert len(await opened(database, Keyring([NEW, OLD]))) == 20
    assert await rotating.rotate(both, lambda text: None) is True
    assert len(await opened(database, Keyring([NEW]))) == 20


@pytest.mark.thorough
async def test_thousands_of_rows_while_others_write(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No write of another is undone: each row ends with what was written last, under the new key."""
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('rotation')}/sluice.db"
    migrate(url)
    database, both = Database(url), Keyring([NEW, OLD])
    await add(database, Keyring([OLD]), ROWS, refresh=False)
    done = asyncio.Event()
    written: dict[str, str] = {}

    async def write() -> None:
        """A Sluice that renews tokens meanwhile; half of it does not know of the new key yet."""
        number = 0
        while not done.is_set():
            async with database.write() as session:
                row = (
                    await session.execute(
                        sa.select(GitPlatformConnection).where(
                            GitPlatformConnection.provider_account_id == str(number * 37 % ROWS)
                        )
                    )
                ).scalar_one()
                text = f"renewed {number}"
                place = {"table": TABLE, "row": row.id, "column": "access_token_sealed"}
                keys = both if number % 2 else Keyring([OLD])
                row.access_token_sealed = keys.seal(text, **place)  # type: ignore[arg-type]
                written[row.provider_account_id] = text
            number += 1
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    begun = time.monotonic()
    found = settings(database, NEW, OLD)
    await rotating.rotate(found, lambda text: None)
    took = time.monotonic() - begun
    done.set()
    await writer
    await rotating.rotate(found, lambda text: None)  # what the old Sluice wrote at the very end

    now = await opened(database, Keyring([NEW]))
    assert now == {str(n): f"access {n}" for n in range(ROWS)} | written
    assert len(written) > 10
    assert took < 60
    await database.close()


async def test_a_change_between_reading_and_writing_stays(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare and swap: the value that was written after ours was read is kept, and sealed anew in the next pass."""
    await add(database, Keyring([OLD]), 1, refresh=False)
    real, calls = sealed._resealed, list[int]()

    def meanwhile(*given: object) -> list[tuple[UUID, str, str]]:
        wishes = list(real(*given))  # type: ignore[arg-type]
        calls.append(len(wishes))
        if len(calls) == 1:
            asyncio.get_running_loop()
            place = {"table": TABLE, "row": wishes[0][0], "column": "access_token_sealed"}
            fresh = Keyring([OLD]).seal("fresher", **place)  # type: ignore[arg-type]
            others.append((wishes[0][0], fresh))
        return wishes

    others: list[tuple[UUID, str]] = []
    write = sealed._write

    async def after_another(*given: object) -> None:
        while others:
            id, fresh = others.pop()
            async with database.write() as session:
                row = await session.get_one(GitPlatformConnection, id)
                row.access_token_sealed = fresh
        await write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(sealed, "_resealed", meanwhile)
    monkeypatch.setattr(sealed, "_write", after_another)
    assert await rotating.rotate(settings(database, NEW, OLD), lambda text: None) is True
    assert await opened(database, Keyring([NEW])) == {"0": "fresher"}


async def test_what_does_not_open_is_named_and_left(database: Database) -> None:
    """A value whose key is lost, and one that is no sealed value, stop nothing and are told each time."""
    await add(database, Keyring([LOST]), 1, refresh=False)
    told: list[str] = []
    assert await rotating.rotate(settings(database, NEW), told.append) is False
    lost = Keyring([LOST]).newest
    assert any(text.startswith("not opened:") and lost in text for text in told)
    assert f"1 value of {TABLE}.access_token_sealed need the key {lost}, which SLUICE_SECRET_KEYS lacks" in told
    async with database.write() as session:
        await session.execute(sa.update(GitPlatformConnection).values(access_token_sealed="in clear"))
    told.clear()
    assert await rotating.check(settings(database, NEW), told.append) is False
    assert told == [f"1 value of {TABLE}.access_token_sealed are not sealed at all"]


async def test_webhooks_sign_by_the_newest_key_afterwards(tmp_path: Path) -> None:
    """The forge gets the new secret; one that it refuses is named, and the old key is still needed then."""
    (tmp_path / "sluice.db").write_bytes(migrated_file())
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/sluice.db")
    scene, told = Scene(tmp_path, database), list[str]()
    forge = ForgeSettings(url=scene.sandbox.url, token=scene.token)
    old = replace(settings(database, OLD), public_url="https://sluice.example", forges={"github": forge})
    both = replace(old, secret_keys=(NEW, OLD))
    try:
        scene.sandbox.set_permission(scene.name, "sluice-bot", "admin")
        await connect(old, "github", scene.name)
        [hook] = scene.sandbox._state.repositories[scene.name].hooks.values()
        [id] = [UUID(hook.url.rpartition("/")[2])]
        assert hook.secret == old.hook_secrets(id)[0].decode()
        scene.sandbox.fail_next("PATCH", "*/hooks/*", 403)
        assert await rotating.rotate(both, told.append) is False
        assert f"the webhook of {scene.name} may still sign by an older key" in told[-1]
        assert f"`sluice connect github {scene.name}`" in told[-1]
        assert hook.secret == old.hook_secrets(id)[0].decode()

        assert await rotating.rotate(both, told.append) is True
        assert told[-1] == "1 webhook signs by secrets of the newest key"
        [hook] = scene.sandbox._state.repositories[scene.name].hooks.values()
        assert hook.secret == replace(both, secret_keys=(NEW,)).hook_secrets(id)[0].decode()
        assert await rotating.check(both, told.append) is True
        assert [text for text in told if text.startswith("1 webhook signs by secrets of these keys")]
    finally:
        await scene.close()
        await database.close()
