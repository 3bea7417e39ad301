"""A worker in this process: Dramatiq's threads around one event loop."""

import asyncio
import logging
import signal
import threading
from uuid import UUID

import dramatiq
from dramatiq.asyncio import EventLoopThread

from bot.settings import Settings
from bot.tasks import Bell, make_broker
from bot.wiring import Backend

THREADS = 16
IDLE_MS = 100  # how soon an idle thread looks again; Dramatiq's own 1,000 is felt by people


class Worker:
    """The broker, the bell and, once started, the backend with its threads."""

    def __init__(self, settings: Settings, *, observe: bool = True, backend: Backend | None = None) -> None:
        self.broker = make_broker(settings.redis_url)
        self.bell = Bell(self.broker)
        self.backend = backend or Backend(settings, self.bell, observe=observe)
        # A loop of our own: Dramatiq's AsyncIO has one for the whole process, and logs what fails at its start.
        self._loop = EventLoopThread(logging.getLogger(__name__))
        self._loop.daemon = True
        self._worker: dramatiq.Worker | None = None

    def start(self) -> None:
        """Start to work; returns when the backend is connected."""
        self._loop.start(timeout=10)
        self._loop.run_coroutine(self.backend.start())
        self.bell.serve = self._serve
        self.broker.emit_after("process_boot")
        self._worker = dramatiq.Worker(self.broker, worker_threads=THREADS, worker_timeout=IDLE_MS)
        self._worker.start()

    def stop(self) -> None:
        """Finish what is under way, then stop."""
        if self._worker is not None:
            self._worker.stop(timeout=20_000)
            self._worker = None
        if self._loop.is_alive():
            self._loop.run_coroutine(self.backend.stop())
            self._loop.stop()  # type: ignore[no-untyped-call] # Dramatiq has no types here
        self.broker.close()

    def _serve(self, queue: str, id: UUID) -> None:
        self._loop.run_coroutine(self.backend.serve(queue, id))


def wait_for_the_end() -> None:
    """Wait for SIGINT or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


async def observe_until_the_end(settings: Settings) -> None:
    """Observe and sweep until SIGINT or SIGTERM; others work the queue."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    backend = Backend(settings, Bell(make_broker(settings.redis_url)))
    await backend.start()
    await ended.wait()
    await backend.stop()
