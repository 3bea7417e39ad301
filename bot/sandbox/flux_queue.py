"""Which objects to reconcile, and when: never the same one twice at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Key = tuple[str, str]
"""Namespace and name."""

_log = logging.getLogger(__name__)
_FIRST_BACKOFF = 0.75
_LONGEST_BACKOFF = 900.0


class Retry(Exception):
    """Try again, later each time."""


@dataclass(slots=True)
class Job:
    """A running reconciliation, and whether it has been asked for again meanwhile."""

    again: asyncio.Event = field(default_factory=asyncio.Event)
    trigger: str = ""


Reconcile = Callable[[Key, Job], Awaitable[float | None]]
"""Answers after how many seconds to reconcile again; None: when something changes."""


class WorkQueue:
    """The queue of one controller; lives on one event loop."""

    def __init__(self, reconcile: Reconcile) -> None:
        self._reconcile = reconcile
        self._jobs: dict[Key, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key, trigger: str = "") -> None:
        """Reconcile now, or right after the running reconciliation."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        job = self._jobs.get(key)
        if job is not None:
            job.trigger = trigger
            job.again.set()
            return
        self._jobs[key] = Job()
        task = asyncio.get_running_loop().create_task(self._run(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel everything and wait for it."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key) -> None:
        delay: float | None = None
        while True:
            job = self._jobs[key] = Job()
            try:
                delay = await self._reconcile(key, job)
                self._failures.pop(key, None)
            except asyncio.CancelledError:
                raise
            except Exception as problem:
                delay = self._backoff(key, problem)
            if not job.again.is_set():
                break
        del self._jobs[key]
        if delay is not None:
            self._timers[key] = asyncio.get_running_loop().call_later(delay, self.add, key)

    def _backoff(self, key: Key, problem: Exception) -> float:
        if not isinstance(problem, Retry):
            _log.warning("reconciling %s/%s failed", *key, exc_info=problem)
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** (failures - 1))
