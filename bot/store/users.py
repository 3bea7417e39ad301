"""People, by the accounts that forges know them by."""

import uuid
from uuid import UUID

from bot.core.calls import Call
from bot.store.repositories import insert
from bot.store.transactions import Transaction
from models import User


async def of_call(tx: Transaction, provider: str, call: Call) -> UUID | None:
    """Who asked for something in words; None for what nobody's account caused."""
    if call.kind != "command" or not call.actor_id:
        return None
    made = insert(tx.session, User).values(
        id=uuid.uuid4(),
        provider=provider,
        provider_account_id=call.actor_id,
        username=call.actor,
        last_seen_at=tx.now,
    )
    seen = {"username": call.actor, "last_seen_at": tx.now, "updated_at": tx.now}
    upserted = made.on_conflict_do_update(index_elements=["provider", "provider_account_id"], set_=seen)
    id: UUID = (await tx.session.execute(upserted.returning(User.id))).scalar_one()
    return id
