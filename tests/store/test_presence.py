"""Who works on a SQLite database: whoever is alone knows it, also after somebody was killed."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from bot.store.presence import Presence

HELD = """
import asyncio, pathlib, sys, time
from bot.store.presence import Presence

async def enter():
    async with Presence(pathlib.Path(sys.argv[1])).entering() as alone:
        pass
    print(alone, flush=True)

asyncio.run(enter())
time.sleep(600)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "sluice.db"


async def enter(presence: Presence) -> bool:
    """Whether it is alone."""
    async with presence.entering() as alone:
        return alone


async def test_the_first_is_alone_until_it_leaves(database: Path) -> None:
    first, second, third = (Presence(database) for _ in range(3))
    assert await enter(first)
    assert not await enter(second)
    first.leave()
    assert not await enter(third)  # the second is there
    second.leave()
    third.leave()
    assert await enter(first)
    first.leave()


async def test_who_comes_while_the_first_looks_waits(database: Path) -> None:
    """Else it would lease rows which the first takes from the dead."""
    first, second = Presence(database), Presence(database)
    async with first.entering() as alone:
        assert alone
        coming = asyncio.create_task(enter(second))
        done, _ = await asyncio.wait([coming], timeout=0.05)
        assert not done
    assert not await coming
    first.leave()
    second.leave()


async def test_the_dead_are_not_there(database: Path) -> None:
    """The kernel takes the lock from a process that was killed."""
    other = subprocess.Popen([sys.executable, "-c", HELD, str(database)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    with other, other.stdout:
        assert await asyncio.to_thread(other.stdout.readline) == b"True\n"
        mine = Presence(database)
        assert not await enter(mine)
        mine.leave()
        other.kill()
    assert await enter(mine)
    mine.leave()


async def test_nobody_is_known_to_be_alone(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With PostgreSQL, and on a file system without such locks: leases end by themselves."""
    nowhere = Presence(None)
    assert not await enter(nowhere)
    nowhere.leave()

    def refused(_file: int, _how: int) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", refused)
        assert not await enter(Presence(database))
