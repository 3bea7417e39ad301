"""The verification of an /enable, by rows: what counts is what was seen of the objects as it wrote them."""

import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.core.initialization import COMPLETED, PENDING, RUNNING, STEPS, WRITTEN, written_key
from bot.core.sightings import VERSION
from bot.store import initialization
from bot.store.database import Database
from bot.store.transactions import Store
from models import GitopsResource, Project
from models import ProjectInitializationStep as Step
from models.base import now
from tests.postgres import migrated_file
from tests.scene import Silent
from tests.store.test_rows import enabled


@pytest.fixture
async def store(tmp_path: Any) -> AsyncIterator[Store]:
    (tmp_path / "sluice.db").write_bytes(migrated_file())
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/sluice.db")
    yield Store(database, Silent(), now)
    await database.close()


async def _verifying(store: Store, written: str) -> Project:
    """A pinned environment, ready as it was seen at version 41; `/enable` has just written its Kustomization."""
    _, project, _ = await enabled(store.database, status="initializing")
    async with store.write() as tx:
        [row] = (await tx.session.execute(sa.select(GitopsResource))).scalars()
        row.status, row.uid, row.config, row.last_status_update_at = "ready", "u", {VERSION: "41"}, tx.now
        key = written_key(row.cluster, "Kustomization", f"{row.namespace}/{row.name}")
        details = {
            "setup_gitops": {WRITTEN: {key: written}},
            "verify_resources": {"resources": [str(row.id)], "deadline": (tx.now + timedelta(hours=1)).isoformat()},
        }
        tx.session.add_all(_steps(project.id, details, tx.now))
    return project


def _steps(project: uuid.UUID, details: dict[str, Any], at: datetime) -> list[Step]:
    states = [COMPLETED] * 6 + [RUNNING, PENDING]
    return [
        Step(
            id=uuid.uuid4(),
            project_id=project,
            step=step.name,
            display_name=step.title,
            sequence=number,
            weight=step.weight,
            status=states[number],
            started_at=at,
            details=details.get(step.name, {}),
        )
        for number, step in enumerate(STEPS)
    ]


async def _status(store: Store, project: Project) -> str:
    async with store.write() as tx:
        await initialization.look(tx, project.id)
    async with store.read() as session:
        return (await session.get_one(Project, project.id)).status


async def _see(store: Store, version: str) -> None:
    async with store.write() as tx:
        await tx.session.execute(sa.update(GitopsResource).values(config={VERSION: version}))


async def test_ready_as_it_was_before_is_not_ready(store: Store) -> None:
    """The row is of the spec before: it is waited for the one that was written, then it counts."""
    project = await _verifying(store, "57")

    assert await _status(store, project) == "initializing"
    await _see(store, "56")
    assert await _status(store, project) == "initializing"
    await _see(store, "57")
    assert await _status(store, project) == "active"


async def test_what_was_as_wished_counts_at_once(store: Store) -> None:
    """Nothing differed, so the API server answered with the version that was seen before."""
    assert await _status(store, await _verifying(store, "41")) == "active"
