"""Deliveries: webhook requests, kept before they are answered."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Leased, Word


class Delivery(Leased, Base):
    """One webhook request, byte for byte. `delivery_key` is the forge's id of it."""

    __tablename__ = "deliveries"
    __table_args__ = (sa.UniqueConstraint("provider", "delivery_key"), sa.Index(None, "status", "due_at"))

    provider: Mapped[str]
    hook_id: Mapped[uuid.UUID | None]
    delivery_key: Mapped[str]
    event: Mapped[str]
    headers: Mapped[bytes]  # JSON; bytes because a header may hold what text columns refuse
    body: Mapped[bytes]
    status: Mapped[str] = mapped_column(
        Word("recorded", "opened", "ignored", "undecodable", "failed"), default="recorded"
    )
    reason: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(index=True)
    opened_at: Mapped[datetime | None]
