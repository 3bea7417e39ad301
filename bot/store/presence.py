"""Who works on a SQLite database: each process holds a lock on a file, which the kernel takes from the dead."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Presence:
    """One worker's part of it, from entering to leaving.

    With PostgreSQL, and where a file system knows no such locks, nobody is ever known to be alone.
    """

    def __init__(self, database: Path | None) -> None:
        self._path = database and database.with_name(f"{database.name}-workers")
        self._file: int | None = None

    @asynccontextmanager
    async def entering(self) -> AsyncIterator[bool]:
        """Whether nobody else works; whoever comes meanwhile waits until the block is left.

        So all that is leased inside the block was leased by the dead. Nothing may be leased before it is left.
        """
        alone = self._path is not None and self._lock(self._path)
        yield alone
        if self._file is not None:
            await asyncio.to_thread(fcntl.flock, self._file, fcntl.LOCK_SH)

    def _lock(self, path: Path) -> bool:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # the file system has none
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """Work no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
