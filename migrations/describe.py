"""Describes the tables, from the models: `python -m migrations.describe > docs/database.md`."""

import inspect
import sys
from collections.abc import Iterator

import sqlalchemy as sa

from migrations.questions import QUESTIONS
from models import Base
from models.base import UtcDateTime, Word

TOPICS: dict[str, tuple[str, ...]] = {
    "Who": ("organizations", "users", "memberships", "git_platform_connections"),
    "What is deployed, and where": (
        "repositories",
        "hooks",
        "projects",
        "project_initialization_steps",
        "environments",
    ),
    "What Flux fetches with": (
        "project_git_auth",
        "project_git_auth_oauth",
        "project_git_auth_token",
        "project_git_auth_app",
        "project_git_auth_deploy_key",
    ),
    "What is in the cluster": ("gitops_resources", "pins"),
    "Deployments, and what stands in their way": ("deployments", "approvals", "locks", "holds"),
    "The inbox and the work": ("deliveries", "heads", "runs", "notifications", "git_sync_logs"),
    "The event log": ("unified_events", "checkpoints", "leases"),
}
INTRODUCTION = """\
# The database

*Made from the models by `python -m migrations.describe > docs/database.md`; a test fails when it is stale.*

SQLite by default, PostgreSQL for more; the same migrations (`migrations/versions`) on both.

- **Keys** are random UUIDs. SQLite keeps them as 32 hexadecimal digits without hyphens.
- **Times** are in UTC. SQLite keeps them as text, PostgreSQL as `timestamp with time zone`.
- **Words** (statuses, kinds) are text. The program refuses a word that is not in the list.
- **Deletion** of projects, environments and Flux objects is soft: `deleted_at` is set, and what is unique is so among
  the rows that live.
- **Pointers** say what happens when the row at their end is deleted for good: it is *refused*, since there is history;
  this row *goes along*, as a part with its whole; or the pointer is *emptied*.
- **JSON** holds only what is never asked about.
- **Sealed** values open only in the row that they were sealed for, with one of the operator's keys.
- **Backups**: `sluice migrate` makes or wants one before it changes anything; the README says more.
"""
ENDS = {"RESTRICT": "refused", "CASCADE": "goes along", "SET NULL": "emptied"}
TYPES = {
    sa.BigInteger: "big integer",
    sa.Boolean: "boolean",
    sa.Integer: "integer",
    sa.JSON: "JSON",
    sa.LargeBinary: "bytes",
    sa.Text: "text",
    sa.Uuid: "UUID",
    UtcDateTime: "time",
    Word: "word",
}


def document() -> str:
    """The whole document."""
    parts = [INTRODUCTION, *_contents(), "## How the tables belong together\n", *_diagram()]
    for topic, tables in TOPICS.items():
        parts += [f"## {topic}\n", *(_table(Base.metadata.tables[name]) for name in tables)]
    return "\n".join([*parts, *_questions()])


def _contents() -> Iterator[str]:
    for topic, tables in TOPICS.items():
        yield f"- {topic}: " + ", ".join(f"[{name}](#{name})" for name in tables)
    yield ""


def _diagram() -> Iterator[str]:
    yield "A bar is one, a circle is none, a crow's foot is many. The diagram names the column that points.\n"
    yield "```mermaid\nerDiagram"
    for name in (name for names in TOPICS.values() for name in names):
        yield f"    {name}"
        yield from sorted(_relation(key) for key in Base.metadata.tables[name].foreign_keys)
    yield "```\n"


def _relation(key: sa.ForeignKey) -> str:
    one = "|o" if key.parent.nullable else "||"
    many = "o|" if key.parent.unique or _alone(key) else "o{"
    return f"    {key.column.table.name} {one}--{many} {key.parent.table.name} : {key.parent.name}"


def _alone(key: sa.ForeignKey) -> bool:
    """Whether the pointer alone is unique, so that there is one row for each row at its end."""
    constraints = key.parent.table.constraints
    return any(isinstance(each, sa.UniqueConstraint) and list(each.columns) == [key.parent] for each in constraints)


def _table(table: sa.Table) -> str:
    model = next(mapper.class_ for mapper in Base.registry.mappers if mapper.local_table is table)
    lines = [
        f"### {table.name}\n",
        f"{inspect.getdoc(model)}\n",
        "| field | type | empty | meaning |",
        "|---|---|---|---|",
    ]
    lines += [_field(column) for column in sorted(table.columns, key=_shared_last)]
    unique = sorted(_unique(table))
    return "\n".join([*lines, "", f"Unique: {'; '.join(unique)}.\n" if unique else ""])


def _shared_last(column: sa.Column[object]) -> int:
    """The key first; the columns of every row, and of every leased row, last."""
    leased = ("lease_owner", "lease_until", "attempts", "nudged", "due_at")
    order = {"id": -1, "created_at": 2, "updated_at": 2} | dict.fromkeys(leased, 1)
    return order.get(column.name, 0) if "lease_owner" in column.table.columns or column.name not in leased else 0


def _field(column: sa.Column[object]) -> str:
    meaning = [column.doc or ""]
    if isinstance(column.type, Word):
        meaning.append("One of " + ", ".join(f"`{word}`" for word in column.type.words) + ".")
    meaning += [f"→ [{key.column.table.name}](#{key.column.table.name}), {_end(key)}." for key in column.foreign_keys]
    empty = "may be" if column.nullable else ""
    return f"| `{column.name}` | {TYPES[type(column.type)]} | {empty} | {' '.join(meaning)} |"


def _end(key: sa.ForeignKey) -> str:
    return ENDS[str(key.ondelete)]


def _unique(table: sa.Table) -> Iterator[str]:
    for each in table.constraints:
        if isinstance(each, sa.UniqueConstraint):
            yield ", ".join(f"`{column.name}`" for column in each.columns)
    for index in table.indexes:
        if index.unique:
            columns = ", ".join(f"`{column.name}`" for column in index.columns)
            yield f"{columns} where `{index.dialect_options['postgresql']['where']}`"


def _questions() -> Iterator[str]:
    yield "## Questions to ask it\n"
    yield "They run on SQLite and on PostgreSQL as they are; a test runs them.\n"
    for question, query in QUESTIONS.items():
        yield f"**{question}**\n\n```sql\n{query}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(document())
