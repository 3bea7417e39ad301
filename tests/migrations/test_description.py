"""docs/database.md says what the models say, and its questions can be asked."""

from pathlib import Path

import sqlalchemy as sa

from bot.store.database import migrate, newest_revision
from migrations.describe import TOPICS, document
from migrations.questions import QUESTIONS
from models import Base
from tests.migrations.rows import ask, load

FILE = Path(__file__).parents[2] / "docs" / "database.md"


def test_the_description_is_not_stale() -> None:
    """After a change of the models: `python -m migrations.describe > docs/database.md`."""
    assert FILE.read_text() == document()


def test_every_table_has_a_topic() -> None:
    """A new table is put where a newcomer looks for it."""
    described = [name for names in TOPICS.values() for name in names]
    assert sorted(described) == sorted(Base.metadata.tables)


def test_every_field_has_a_meaning() -> None:
    """A sentence for each column of each table."""
    columns = [column for table in Base.metadata.sorted_tables for column in table.columns]
    assert [str(column) for column in columns if not (column.doc or "").endswith(".")] == []


async def test_the_questions_can_be_asked(database_url: str) -> None:
    """On both databases, with rows in every table; what is in the rows is found."""
    migrate(database_url)
    await load(database_url, newest_revision())

    def all_of_them(connection: sa.Connection) -> list[str]:
        return [name for name, query in QUESTIONS.items() if not connection.execute(sa.text(query)).all()]

    assert await ask(database_url, all_of_them) == []
