"""Leases by name: work that one process at a time does."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row


class Lease(Row, Base):
    """The right to do the work of a name, until a moment; whoever finds it past may take it."""

    __tablename__ = "leases"
    __table_args__ = (sa.UniqueConstraint("name"),)

    name: Mapped[str] = mapped_column(doc="The work.")
    owner: Mapped[str] = mapped_column(doc="Who does it.")
    until: Mapped[datetime] = mapped_column(doc="Until when.")
