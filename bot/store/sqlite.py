"""SQLite for the event loop: each statement is one trip to the connection's thread, from BEGIN to its last row."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite

Rows = list[Any]
Work = Callable[[sqlite3.Cursor], object]
CHUNK = 64  # aiosqlite's own; nothing here is read in chunks


class Connection(aiosqlite.Connection):
    """aiosqlite makes four trips for a statement and waits for each; most of them cost more than the statement."""

    def __init__(self, opened: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(opened, CHUNK)
        self._thread.daemon = True
        self._begin = ""
        self._begun = False

    def begin(self, statement: str) -> None:
        """Begin a transaction on the way to its first statement."""
        self._begin = statement

    def cursor(self) -> "Cursor":  # type: ignore[override] # the same for those who await it
        """Nothing is asked of the thread for it."""
        return Cursor(self)

    async def commit(self) -> None:
        """Commit what was begun."""
        if self._begun:
            await super().commit()
        self._begin, self._begun = "", False

    async def rollback(self) -> None:
        """Take back what was begun; what an interrupted caller has still asked for is done before that."""
        if self._begun:
            await super().rollback()
        self._begin, self._begun = "", False

    async def ask(self, work: Work) -> tuple[sqlite3.Cursor, Rows]:
        """Have the thread work with a new cursor; that, closed, and all its rows."""
        begin, self._begin, self._begun = self._begin, "", True
        answer: tuple[sqlite3.Cursor, Rows] = await self._execute(self._ask, begin, work)  # type: ignore[no-untyped-call]
        return answer

    def _ask(self, begin: str, work: Work) -> tuple[sqlite3.Cursor, Rows]:
        """In the thread."""
        cursor = self._conn.cursor()
        if begin:
            cursor.execute(begin)
        work(cursor)
        rows = cursor.fetchall() if cursor.description else []
        cursor.close()
        return cursor, rows


class Cursor:
    """What came of a statement; all of it is here when the statement returns."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: Rows = []
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Self:
        """Execute a statement and fetch what it answers."""
        return await self._ask(lambda cursor: cursor.execute(statement, parameters))

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> Self:
        """Execute a statement for each of the parameters."""
        return await self._ask(lambda cursor: cursor.executemany(statement, parameters))

    async def _ask(self, work: Work) -> Self:
        found, self._rows = await self._connection.ask(work)
        self.description, self.rowcount, self.lastrowid = found.description, found.rowcount, found.lastrowid
        return self

    async def fetchall(self) -> Rows:
        """All rows that were not fetched before."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """It holds nothing."""
