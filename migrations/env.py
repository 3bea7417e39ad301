"""Runs migrations on the connection, and in the transaction, that the caller gives; or writes their SQL down."""

from typing import Any, Literal

from alembic import context

from models import Base
from models.base import UtcDateTime, Word


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """A step keeps working when our own types change, so it names SQLAlchemy's."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return "sa.Text()" if kind == "type" and isinstance(item, Word) else False


context.configure(
    connection=context.config.attributes.get("connection"),
    dialect_name=context.config.attributes.get("dialect"),  # where only the SQL is asked for
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
