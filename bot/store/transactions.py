"""A transaction and the rings that follow its commit: rows before messages."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.ports import Bell, Clock
from bot.store.database import Database


class Transaction:
    """One writing transaction. What is rung in it rings when, and only if, it is committed."""

    def __init__(self, session: AsyncSession, now: datetime) -> None:
        self.session = session
        self.now = now
        self.rings: list[tuple[str, UUID, float]] = []

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        """Ring for a row after the commit; `after` is in seconds."""
        if (queue, id, after) not in self.rings:
            self.rings.append((queue, id, after))


class Store:
    """The database together with the doorbell."""

    def __init__(self, database: Database, bell: Bell, clock: Clock) -> None:
        self.database = database
        self.bell = bell
        self.clock = clock

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that commits when the block ends, then rings."""
        async with self.database.write() as session:
            transaction = Transaction(session, self.clock())
            yield transaction
        for queue, id, after in transaction.rings:
            self.bell.ring(queue, id, after=after)

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A reading session."""
        return self.database.read()
