"""Organizations: one for each owner on a forge."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Row


class Organization(Row, Base):
    """The owner of repositories on a forge: an organization or a person."""

    __tablename__ = "organizations"
    __table_args__ = (sa.UniqueConstraint("provider", "name"),)

    provider: Mapped[str] = mapped_column(doc="The forge: github, gitea.")
    name: Mapped[str] = mapped_column(doc="The owner's name in the forge's addresses.")
