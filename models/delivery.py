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

    provider: Mapped[str] = mapped_column(doc="The forge that sent it.")
    hook_id: Mapped[uuid.UUID | None] = mapped_column(
        doc="The registered hook that it came by; empty: the one for all."
    )
    delivery_key: Mapped[str] = mapped_column(doc="The forge's id of it; once for each forge.")
    event: Mapped[str] = mapped_column(doc="What the forge calls it.")
    headers: Mapped[bytes] = mapped_column(
        doc="The headers as JSON; bytes, because a header may hold what text columns refuse."
    )
    body: Mapped[bytes] = mapped_column(doc="The body, byte for byte.")
    status: Mapped[str] = mapped_column(
        Word("recorded", "opened", "ignored", "undecodable", "failed"), default="recorded", doc="What became of it."
    )
    reason: Mapped[str | None] = mapped_column(doc="Why it was not worked on.")
    received_at: Mapped[datetime] = mapped_column(index=True, doc="When it came, by our own clock.")
    opened_at: Mapped[datetime | None] = mapped_column(doc="When it was understood.")
