"""The event log: append-only, written in the transaction of what it tells."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, ORMExecuteState, Session, mapped_column

from models.base import Base, Row, Word


class UnifiedEvent(Row, Base):
    """One thing that happened."""

    __tablename__ = "unified_events"
    __table_args__ = (
        sa.Index(None, "resource_type", "resource_id"),
        sa.Index(None, "created_at"),
        sa.UniqueConstraint("sequence"),
        sa.Index(
            "ix_unified_events_unchained",
            "created_at",
            "id",
            sqlite_where=sa.text("sequence IS NULL"),
            postgresql_where=sa.text("sequence IS NULL"),
        ),
    )

    event_type: Mapped[str] = mapped_column(
        Word("audit", "project", "system"), doc="Who wants to know: auditors, a project's people, the operator."
    )
    action: Mapped[str] = mapped_column(doc="What happened: `gitops.sync.started` and so on.")
    severity: Mapped[str] = mapped_column(
        Word("info", "warning", "error", "critical"), default="info", doc="How bad it is."
    )
    actor: Mapped[str | None] = mapped_column(doc="Who did it: a login; empty: Sluice itself.")
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("users.id", ondelete="SET NULL"), index=True, doc="The same, where the person is known here."
    )
    organization_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("organizations.id", ondelete="RESTRICT"), index=True, doc="The owner that it concerns."
    )
    resource_type: Mapped[str | None] = mapped_column(doc="What it happened to: deployment, run, project and so on.")
    resource_id: Mapped[uuid.UUID | None] = mapped_column(doc="The row that it happened to.")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="What else there is to say.")
    ip: Mapped[str | None] = mapped_column(doc="The address that the request came from.")
    user_agent: Mapped[str | None] = mapped_column(doc="The program that sent the request.")
    sequence: Mapped[int | None] = mapped_column(
        sa.BigInteger, doc="Its place in the chain; empty until the appender chained it."
    )
    previous_hash: Mapped[str | None] = mapped_column(doc="The hash of the event before it.")
    hash: Mapped[str | None] = mapped_column(doc="SHA-256 of the event and of the hash before it.")


class AppendOnlyError(Exception):
    """A row of the event log was to be changed or removed."""


def _refuse_statement(state: ORMExecuteState) -> None:
    table = getattr(state.statement, "table", None)
    if (state.is_update or state.is_delete) and getattr(table, "name", None) == UnifiedEvent.__tablename__:
        raise AppendOnlyError("the event log is append-only")


def _refuse_row(_mapper: Any, _connection: Any, row: UnifiedEvent) -> None:
    raise AppendOnlyError(f"the event log is append-only: {row.action} ({row.id})")


# Sessions write nothing but new rows; the chain and its purge work on the connection below them (bot/store/chain.py).
sa.event.listen(Session, "do_orm_execute", _refuse_statement)
sa.event.listen(UnifiedEvent, "before_update", _refuse_row)
sa.event.listen(UnifiedEvent, "before_delete", _refuse_row)


class Checkpoint(Row, Base):
    """Where the event log's chain ends, or (`purged_until`) where the part begins that a purge left; signed.

    Without the one, the newest rows could be cut off unseen; without the other, nothing could be purged.
    """

    __tablename__ = "checkpoints"
    __table_args__ = (sa.UniqueConstraint("sequence"),)

    sequence: Mapped[int] = mapped_column(sa.BigInteger, doc="The last event that is gone.")
    hash: Mapped[str] = mapped_column(doc="That event's hash, from which the rest of the chain is checked.")
    key_id: Mapped[str] = mapped_column(doc="The key that signed.")
    signature: Mapped[str] = mapped_column(doc="The signature.")
    purged_until: Mapped[datetime | None] = mapped_column(doc="Events before this were purged.")
