"""A queue of keys where each key waits at most once and is worked on by one thread at a time."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

Key = TypeVar("Key")


class WorkQueue(Generic[Key]):
    """Keys that are due, and keys that will be."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Key, float] = {}
        self._working: set[Key] = set()

    def add(self, key: Key, after: float = 0.0) -> None:
        """Work on this key in so many seconds, or before that if it is already planned for earlier."""
        with self._changed:
            due = time.monotonic() + after
            self._due[key] = min(due, self._due.get(key, due))
            self._changed.notify_all()

    def take(self) -> Key:
        """The next key that is due and that nobody works on; waits for one."""
        with self._changed:
            while True:
                now = time.monotonic()
                free = {key: due for key, due in self._due.items() if key not in self._working}
                key = min(free, key=free.__getitem__, default=None)
                if key is not None and free[key] <= now:
                    del self._due[key]
                    self._working.add(key)
                    return key
                self._changed.wait(None if key is None else free[key] - now)

    def done(self, key: Key) -> None:
        """This key may be taken again."""
        with self._changed:
            self._working.discard(key)
            self._changed.notify_all()

    def forget(self, key: Key) -> None:
        """This key is not planned any more."""
        with self._changed:
            self._due.pop(key, None)
