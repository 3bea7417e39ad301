"""How fast the event log is chained and checked, on SQLite in a folder of its own.

Run `python -m bench.audit [rows]`; it prints one JSON object a line. `seconds` is the processor's time, which says the
same on a busy machine; `waited` is the wall's.
"""

import asyncio
import json
import sys
import tempfile
import time
import uuid
from datetime import timedelta

from bot.auditing import Nobody
from bot.core.sealing import Keyring
from bot.store import chain
from bot.store.database import Database, migrate
from bot.store.transactions import Store
from models.base import now

AT_ONCE = 10_000


async def fill(store: Store, count: int) -> None:
    """Events as a busy day leaves them, not chained yet."""
    began = now()
    for start in range(0, count, AT_ONCE):
        rows = [
            {
                "id": uuid.uuid4(),
                "created_at": began + timedelta(microseconds=number),
                "updated_at": began,
                "event_type": "project",
                "action": "deployment.succeeded",
                "severity": "info",
                "actor": "alice",
                "resource_type": "deployment",
                "resource_id": uuid.uuid4(),
                "details": {"environment": "production", "commit": uuid.uuid4().hex, "number": number, "reason": None},
            }
            for number in range(start, min(start + AT_ONCE, count))
        ]
        async with store.write() as tx:
            await (await tx.session.connection()).execute(chain.EVENTS.insert(), rows)


async def measure(count: int) -> None:
    """Chain and check so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/sluice.db"
        migrate(url)
        database, keys = Database(url), Keyring([b"k" * 32])
        store = Store(database, Nobody(), now)
        await fill(store, count)
        began = time.process_time(), time.perf_counter()
        assert await chain.Appender(store, keys).append() == count
        told("chained", count, *began)
        began = time.process_time(), time.perf_counter()
        walk = await chain.verify(store, keys)
        told("checked", count, *began)
        assert walk.rows == count
        assert not walk.faults
        await database.close()


def told(what: str, count: int, busy: float, clock: float) -> None:
    """Print one measurement."""
    seconds, waited = time.process_time() - busy, time.perf_counter() - clock
    found = {"what": what, "events": count, "seconds": round(seconds, 1), "waited": round(waited, 1)}
    sys.stdout.write(json.dumps({**found, "a_second": round(count / seconds)}) + "\n")


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
