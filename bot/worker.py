"""A worker in this process: Dramatiq's threads around one event loop."""

import asyncio
import signal
import threading

import dramatiq

from bot.settings import Settings
from bot.tasks import Bell, Loop, make_broker
from bot.wiring import Backend

THREADS = 16
IDLE_MS = 100  # how soon an idle thread looks again; Dramatiq's own 1,000 is felt by people


class Worker:
    """The broker, the bell and, once started, the backend with its threads."""

    def __init__(self, settings: Settings, *, observe: bool = True, backend: Backend | None = None) -> None:
        self.broker = make_broker(settings.redis_url)
        self.bell = Bell(self.broker)
        self.backend = backend or Backend(settings, self.bell, observe=observe)
        self._worker: dramatiq.Worker | None = None

    def start(self) -> None:
        """Start to work; returns when the backend is connected."""
        self.bell.serve = self.backend.serve
        self.broker.add_middleware(Loop(self.backend.start, self.backend.stop))
        self.broker.emit_after("process_boot")
        self._worker = dramatiq.Worker(self.broker, worker_threads=THREADS, worker_timeout=IDLE_MS)
        self._worker.start()

    def stop(self) -> None:
        """Finish what is under way, then stop."""
        if self._worker is not None:
            self._worker.stop(timeout=20_000)
            self._worker = None
        self.broker.close()


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
