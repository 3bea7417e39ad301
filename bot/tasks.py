"""The actors: messages carry a queue's name and a row's id, nothing else."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import dramatiq
import structlog
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AgeLimit, Callbacks, ShutdownNotifications

QUEUES = ("open", "execute", "advance", "report")

logger = structlog.get_logger()
Serve = Callable[[str, UUID], None]  # returns when the row was worked on


def make_broker(redis_url: str | None) -> dramatiq.Broker:
    """Redis when there is one; else a queue in this process, which is enough because the rows are the truth."""
    # No retries of Dramatiq's: a row whose work failed is due again, and the sweep rings. No time limit of its either:
    # it cancels, and a transaction that is cut may keep its lock; every call has a limit of its own.
    middleware = [AgeLimit(), ShutdownNotifications(), Callbacks()]
    if redis_url is None:
        return StubBroker(middleware=middleware)
    from dramatiq.brokers.redis import RedisBroker  # a tenth of the start, which most do without

    return RedisBroker(  # type: ignore[no-untyped-call] # Dramatiq has no types here
        url=redis_url, middleware=middleware, namespace="sluice", heartbeat_timeout=5000, maintenance_chance=100_000
    )


class Bell:
    """Rings through the broker. A broker that is away costs nothing but time: the sweep rings again."""

    def __init__(self, broker: dramatiq.Broker) -> None:
        self.serve: Serve | None = None  # set in processes that work
        self._actors = {queue: self._declare(broker, queue) for queue in QUEUES}

    def _declare(self, broker: dramatiq.Broker, queue: str) -> Any:
        def work(id: str) -> None:
            assert self.serve is not None
            self.serve(queue, UUID(id))

        return dramatiq.actor(broker=broker, actor_name=queue, queue_name=queue)(work)

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        """Say that a row wants work; `after` is in seconds."""
        try:
            self._actors[queue].send_with_options(args=(str(id),), delay=int(after * 1000) or None)
        except Exception as error:
            logger.warning("could not ring", queue=queue, id=str(id), error=repr(error))
