"""The declarative base and the columns that tables share."""

import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time with time zone; SQLite keeps none, so UTC is put back when a row is read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Refuse naive times, which would be read as another zone's."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Give the time back in UTC."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Word(TypeDecorator[str]):
    """Text that is one of a few words; any other is refused, also in questions, before the database sees it."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.words = tuple(str(word) for word in words)

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Refuse a word that nobody would understand."""
        if value is not None and value not in self.words:
            raise ValueError(f"{value!r} is none of {', '.join(self.words)}")
        return None if value is None else str(value)


def now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """All tables; constraint names are fixed so that migrations can name them."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads a plain dict
        datetime: UtcDateTime(),
        dict[str, Any]: sa.JSON(),
        list[Any]: sa.JSON(),
        str: sa.Text(),
    }


class Row:
    """A random key and the times of a row."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4, doc="The random key (UUID version 4).")
    created_at: Mapped[datetime] = mapped_column(default=now, doc="When the row was made.")
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now, doc="When the row was last written.")


def live_once(table: str, *columns: str, where: str = "deleted_at IS NULL", name: str = "live") -> sa.Index:
    """At most one row with these values among those that `where` names: a row that has ended may be followed."""
    clause = sa.text(where)
    full = f"uq_{table}_{'_'.join(columns)}_{name}"
    return sa.Index(full, *columns, unique=True, sqlite_where=clause, postgresql_where=clause)


class Leased(Row):
    """A row that one worker at a time works on.

    `nudged` counts the rings that arrived; a worker that let go of the row while `nudged` grew works once more, so that
    a ring during the work is never lost. A worker may write under its lease only while `lease_owner` is its own.
    """

    status: Mapped[str] = mapped_column(doc="How far the work on the row is.")
    lease_owner: Mapped[str | None] = mapped_column(doc="Who works on the row now: a random word for each take.")
    lease_until: Mapped[datetime | None] = mapped_column(
        doc="Until when the lease holds; whoever finds it past may take the row."
    )
    attempts: Mapped[int] = mapped_column(default=0, doc="Takes since the last one that ended in order.")
    nudged: Mapped[int] = mapped_column(default=0, doc="How often somebody rang for the row.")
    due_at: Mapped[datetime | None] = mapped_column(default=now, doc="When the sweep rings for it; empty: never.")

    @property
    def begun_at(self) -> datetime:
        """Since when it is worked on: patience with trouble is counted from there."""
        return self.created_at
