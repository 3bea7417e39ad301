"""A disk that is full: nothing is lost, nothing is called done, and all goes on when there is room."""

from collections import Counter

import pytest

from bot.store.database import Database
from models import GitopsResource, UnifiedEvent
from tests.flows.test_enable_steps import enabled, project, states
from tests.world import ENVIRONMENTS, World

pytestmark = pytest.mark.thorough


async def fill(world: World) -> None:
    """From now on the database may not grow: SQLite says what it says when the disk has no room."""
    await limit(world, "(SELECT page_count FROM pragma_page_count())")


async def limit(world: World, pages: str) -> None:
    database: Database = world.place.backend.database

    async def set_limit() -> None:
        async with database.write() as session:
            connection = await session.connection()
            count = (await connection.exec_driver_sql(f"SELECT {pages}")).scalar_one()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {count}")

    await world.on_the_workers_loop(set_limit)


@pytest.mark.long
async def test_enabling_on_a_full_disk(world: World) -> None:
    """In the middle of the steps the disk is full: the operator is told, and no step is said to be completed."""
    world.may_log_errors = True
    world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.settled()
    world.cluster.latency = 0.1
    try:
        world.write("/enable", by="alice")
        await world.until(lambda: "Setting up" in world.comment_text())
        await fill(world)
        await world.until(lambda: any(line["event"] == "the disk is full" for line in world.errors()))
    finally:
        world.cluster.latency = 0.0
    assert (await project(world)).status == "initializing"
    assert "pending" in await states(world)
    assert "✓ Set up" not in world.comment_text()
    said = next(line for line in world.errors() if line["event"] == "the disk is full")
    assert "all goes on by itself when there is room" in said["why"]

    await limit(world, "1073741823")
    await world.expire_leases()
    await world.settled(hurry=True)

    assert await world.results("enable") == [("done", None)], world.comment_text()
    await enabled(world)
    assert len(world.comments()) == 1
    found = await project(world)
    rows = await world.rows(GitopsResource, GitopsResource.project_id == found.id)
    assert Counter(row.type for row in rows) == {"git-repository": 1, "kustomization": len(ENVIRONMENTS)}
    made = await world.rows(UnifiedEvent, UnifiedEvent.action == "gitops.resource.created")
    assert max(Counter(row.resource_id for row in made).values()) == 1
    told = await world.rows(UnifiedEvent, UnifiedEvent.action == "project.enabled")
    assert [row.resource_id for row in told].count(found.id) == 1
