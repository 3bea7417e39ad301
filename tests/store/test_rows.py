"""Rows: words that nobody knows are refused, what ended may be followed, what is deleted is not found."""

import uuid
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from bot.store import projects
from bot.store.database import Database
from models import Base, Environment, GitopsResource, Organization, Pin, Project, Repository
from models.base import Word

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def database(migrated_url: str):  # type: ignore[no-untyped-def]
    """A migrated database."""
    database = Database(migrated_url)
    yield database
    await database.close()


async def enabled(database: Database, **project_facts: object) -> tuple[Repository, Project, Environment]:
    """An enabled project with one pinned environment."""
    ids = {name: uuid.uuid4() for name in ("organization", "repository", "project", "environment", "resource")}
    organization = Organization(id=ids["organization"], provider="github", name=str(uuid.uuid4()))
    repository = Repository(
        id=ids["repository"],
        organization_id=ids["organization"],
        provider="github",
        forge_id=str(uuid.uuid4()),
        full_name="acme/shop",
        clone_url="",
        html_url="",
        default_branch="main",
    )
    project = Project(
        id=ids["project"],
        organization_id=ids["organization"],
        repository_id=ids["repository"],
        **{"name": "shop", "slug": "shop", "namespace": "project-1", "status": "active"} | project_facts,
    )
    environment = Environment(
        id=ids["environment"],
        project_id=ids["project"],
        name="production",
        type="production",
        branch="main",
        path="deploy",
        target_namespace="shop",
    )
    resource = GitopsResource(
        id=ids["resource"], project_id=ids["project"], type="kustomization", cluster="default", namespace="p", name="k"
    )
    pin = Pin(
        environment_id=ids["environment"],
        source_id=ids["resource"],
        branch="b",
        commit_hash="c",
        number=1,
        pinned_by="a",
    )
    async with database.write() as session:
        for row in (organization, repository, project, environment, resource, pin):
            session.add(row)
            await session.flush()
        environment.gitops_resource_id = ids["resource"]
    return repository, project, environment


WORDS = [
    f"{table.name}.{column.name}"
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, Word)
]


def test_every_status_is_a_word() -> None:
    """What is called a status, a kind or a type holds one of a few words, not any text."""
    names = {"status", "kind", "type", "role", "verdict", "conflict", "purpose", "severity", "trigger", "phase"}
    asked = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name in names or column.name.endswith(("_type", "_status", "_method"))
    }
    assert asked - set(WORDS) == {"unified_events.resource_type"}


@pytest.mark.parametrize("name", WORDS)
def test_a_word_that_nobody_knows_is_refused(name: str) -> None:
    """Whoever writes it, in whichever way; the words themselves pass."""
    table, column = name.split(".")
    word = Base.metadata.tables[table].columns[column].type
    assert isinstance(word, Word)
    assert [word.process_bind_param(each, None) for each in word.words] == list(word.words)
    with pytest.raises(ValueError, match="'oops' is none of"):
        word.process_bind_param("oops", None)


async def test_an_unknown_status_reaches_no_database(database: Database) -> None:
    """Neither by a row, nor by an UPDATE, nor in a question."""
    _, project, _ = await enabled(database)
    statements = (
        sa.update(Project).values(status="oops"),
        sa.select(Project.id).where(Project.status == "oops"),
        sa.select(Project.id).where(Project.status.in_(["active", "oops"])),
    )
    for statement in statements:
        async with database.write() as session:
            with pytest.raises(sa.exc.StatementError, match="'oops' is none of"):
                await session.execute(statement)
    async with database.read() as session:
        assert (await session.get_one(Project, project.id)).status == "active"


async def test_what_is_deleted_may_be_followed(database: Database) -> None:
    """Two live projects cannot have one namespace, a deleted one and a live one can."""
    repository, first, _ = await enabled(database)
    again = {"organization_id": repository.organization_id, "repository_id": repository.id, "name": "shop"}
    twin = Project(**again, slug="shop", namespace="project-1")
    with pytest.raises(sa.exc.IntegrityError):
        async with database.write() as session:
            session.add(twin)

    async with database.write() as session:
        await session.execute(sa.update(Project).where(Project.id == first.id).values(deleted_at=NOW))
        session.add(Project(**again, slug="shop", namespace="project-1"))
    async with database.read() as session:
        assert [each.id != first.id for each in await projects.of_repository(session, repository.id)] == [True]


@pytest.mark.parametrize("deleted", [Project, Environment])
async def test_what_is_deleted_is_not_found(database: Database, deleted: type[Project | Environment]) -> None:
    """No question of the store answers with a deleted project or environment."""
    repository, project, environment = await enabled(database)

    async def found() -> list[int]:
        async with database.read() as session:
            return [
                len(await projects.environments(session, repository.id)),
                len(await projects.branches(session, repository.id)),
                len(await projects.pins_of(session, repository.id)),
                int(await projects.environment_named(session, project.id, environment.name) is not None),
            ]

    assert await found() == [1, 1, 1, 1]
    async with database.write() as session:
        await session.execute(sa.update(deleted).values(deleted_at=NOW))
    by_name = int(deleted is Project)  # who asks by a project's id has the project
    assert await found() == [0, 0, 0, by_name]
    if deleted is Project:
        async with database.read() as session:
            assert list(await projects.repositories(session)) == []


async def test_a_project_goes_with_its_parts_but_not_with_its_history(database: Database) -> None:
    """What belongs to a project is deleted with it; a repository that has projects cannot be."""
    repository, project, _ = await enabled(database)
    async with database.write() as session:
        with pytest.raises(sa.exc.IntegrityError):
            await session.execute(sa.delete(Repository).where(Repository.id == repository.id))
        await session.rollback()
    async with database.write() as session:
        await session.execute(sa.delete(Pin))
        await session.execute(sa.delete(Project).where(Project.id == project.id))
    async with database.read() as session:
        for table in (Environment, GitopsResource):
            assert await session.scalar(sa.select(sa.func.count()).select_from(table)) == 0
