"""Runs: made once for the key of their event."""

from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core.calls import Call
from bot.store import log, users
from bot.store.repositories import insert
from bot.store.transactions import Transaction
from models import Delivery, Repository, Run


async def start(tx: Transaction, repository: Repository, call: Call, *, delivery: Delivery | None = None) -> None:
    """Make the run of a call, once for its key, and ring for it."""
    made = await tx.session.execute(
        insert(tx.session, Run)
        .values(
            id=call.run_id,
            key=call.key,
            repository_id=repository.id,
            delivery_id=delivery.id if delivery else None,
            name=call.name,
            call=msgspec.to_builtins(call),
            pull_request=call.number,
            actor=call.actor,
            received_at=delivery.received_at if delivery else tx.now,
            due_at=tx.now,
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(Run.id)
    )
    if made.scalar_one_or_none() is None:
        return
    log.record(
        tx.session,
        "run.queued",
        event_type="audit" if call.kind == "command" else "project",
        actor=call.actor,
        user_id=await users.of_call(tx, repository.provider, call),
        organization_id=repository.organization_id,
        resource=("run", call.run_id),
        name=call.name,
    )
    tx.ring("execute", call.run_id)


async def last_told(session: AsyncSession, repository_id: UUID, name: str, number: int) -> str | None:
    """What the newest run of that name said on a pull request; None if none did."""
    query = (
        sa.select(Run.text)
        .where(Run.repository_id == repository_id, Run.pull_request == number, Run.name == name)
        .where(Run.status.in_(("done", "refused")))
        .order_by(Run.received_at.desc(), Run.finished_at.desc())
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none()
