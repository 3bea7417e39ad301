"""Open a delivery: its bytes become an event, the event becomes runs; nothing is carried out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from bot import registry
from bot.core.calls import Call
from bot.core.errors import TemporaryError, Undecodable
from bot.core.events import Event, PullRequestChanged, Pushed
from bot.core.ports import Forge
from bot.store import heads, leases, log, repositories, runs
from bot.store.transactions import Store, Transaction
from models import Delivery, Repository


@dataclass(frozen=True)
class Opener:
    """Opens deliveries of the forges that are configured."""

    store: Store
    forges: Mapping[str, Forge]

    async def open(self, delivery: Delivery) -> datetime | None:
        """Open one leased delivery. Opening it again makes no second run: runs derive from the event."""
        try:
            told = self._event(delivery)
        except Undecodable as error:
            await self._close(delivery, "undecodable", str(error))
            return None
        if told is None:
            await self._close(delivery, "ignored", f"nothing to do for the event {delivery.event}")
            return None
        async with self.store.write() as tx:
            row = await leases.owned(tx.session, delivery)
            if row is None:
                raise TemporaryError("the lease on the delivery was lost")
            row.status, row.reason = await _work_in(tx, delivery, told)
            row.opened_at, row.due_at = tx.now, None
        return None

    async def give_up(self, delivery: Delivery, why: str) -> None:
        """Put away a delivery that cannot be opened."""
        await self._close(delivery, "failed", why)

    def _event(self, delivery: Delivery) -> Event | None:
        forge = self.forges.get(delivery.provider)
        if forge is None:
            return None
        headers = msgspec.json.decode(delivery.headers, type=dict[str, str])
        return forge.parse(delivery.event, headers, delivery.body)

    async def _close(self, delivery: Delivery, status: str, reason: str) -> None:
        async with self.store.write() as tx:
            row = await leases.owned(tx.session, delivery)
            if row is None:
                raise TemporaryError("the lease on the delivery was lost")
            row.status, row.reason, row.opened_at, row.due_at = status, reason[:500], tx.now, None
            log.record(
                tx.session,
                f"delivery.{status}",
                event_type="system",
                severity="warning" if status in ("undecodable", "failed") else "info",
                resource=("delivery", delivery.id),
                reason=reason[:500],
            )


async def _work_in(tx: Transaction, delivery: Delivery, told: Event) -> tuple[str, str | None]:
    """Keep what the event says and make its runs; the delivery's status and the reason for it."""
    if delivery.hook_id is not None:
        spoken_for = await repositories.of_hook(tx.session, delivery.hook_id)
        if spoken_for is None or spoken_for.forge_id != told.repository.id:
            return "ignored", "hook_repository_mismatch: this hook does not speak for the repository in the body"
    repository = await repositories.known(tx.session, told.repository)
    await _ledger(tx, repository, delivery, told)
    calls = registry.calls_of(told)
    for call in calls:
        await runs.start(tx, repository, _keyed(call, delivery), delivery=delivery)
    return ("opened", None) if calls else ("ignored", "nothing is asked for")


def _keyed(call: Call, delivery: Delivery) -> Call:
    """A command is keyed by what was said; an event is only a hint, whose work looks at what is true when it runs."""
    if call.comment_id is not None or call.kind == "command":
        return call
    return msgspec.structs.replace(call, key=f"{call.key}:{delivery.id}")


async def _ledger(tx: Transaction, repository: Repository, delivery: Delivery, told: Event) -> None:
    """The heads that a delivery tells, as of its receipt."""
    match told:
        case Pushed():
            kind, name, commit = "branch", told.branch, told.after
        case PullRequestChanged():
            kind, name, commit = "pull_request", str(told.number), told.head
        case _:
            return
    await heads.record(
        tx.session,
        repository.id,
        kind,
        name,
        commit,
        actor=told.actor,
        actor_id=told.actor_id or None,
        received_at=delivery.received_at,
        delivery_id=delivery.id,
    )
