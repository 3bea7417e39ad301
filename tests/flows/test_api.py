"""What programs may read over HTTP: the deployments of an environment, with the tree of gates that people see."""

from typing import Any
from uuid import UUID, uuid4

import httpx2
from litestar.testing import TestClient

from bot.core.conversation import tame
from bot.core.reasons import from_json, markdown
from models import UnifiedEvent
from tests.flows.test_approvals import asked, waiting
from tests.web.receiving import Memory, app
from tests.world import API_TOKEN, World


def read(world: World, path: str, token: str | None = API_TOKEN, **query: Any) -> httpx2.Response:
    """What /api/v1 answers."""
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    return world.place.http.get(f"{world.place.url}/api/v1{path}", params=query, headers=headers)


def listed(world: World, **query: Any) -> httpx2.Response:
    """The deployments of production."""
    return read(world, "/deployments", **{"repository": world.repository, "environment": "production"} | query)


async def test_everywhere_the_same_tree(world: World) -> None:
    """The comment, `/why`, the API and the event log say the same of what waits, and of what was let through."""
    head = await asked(world)
    await world.comment("/approve production", by="maia")
    [row] = await waiting(world)

    newest, *older = listed(world).json()
    assert (newest["id"], newest["commit"], newest["status"], newest["outcome"]) == (
        str(row.id),
        head,
        "waiting",
        "wait",
    )
    assert [each["number"] for each in older] == sorted((each["number"] for each in older), reverse=True)
    assert read(world, f"/deployments/{row.id}").json() == newest

    tree = newest["gates"]
    [approvals] = [gate for gate in tree if gate["code"] == "approvals_missing"]
    assert not approvals["passed"]
    assert approvals["reasons"]
    told = markdown(from_json(tree))
    assert tame(told) in world.comment_text()
    await world.comment("/why production", by="vera")
    [why] = await world.runs("why")
    assert told in (why.text or "")
    assert await logged(world, row.id, "deployment.waiting") == tree

    await world.comment("/approve production", by="alice")
    newest = listed(world).json()[0]
    assert (newest["id"], newest["status"], newest["outcome"]) == (str(row.id), "succeeded", "go")
    assert await logged(world, row.id, "deployment.queued") == newest["gates"]
    refused(world)


async def logged(world: World, id: UUID, action: str) -> Any:
    """The tree of gates in the last such event."""
    found = await world.rows(UnifiedEvent, UnifiedEvent.resource_id == id, UnifiedEvent.action == action)
    return found[-1].details["gates"]


def refused(world: World) -> None:
    """Each with its code."""
    assert listed(world, page=2).json() == []
    for found, status, code in (
        (read(world, f"/deployments/{uuid4()}"), 404, "deployment_unknown"),
        (listed(world, repository="nobody/nothing"), 404, "repository_unknown"),
        (listed(world, environment="prodution"), 404, "target_unknown"),
        (listed(world, page=0), 400, "bad_request"),
        (read(world, "/deployments"), 400, "bad_request"),
    ):
        assert (found.status_code, found.json()["code"]) == (status, code), found.text


async def test_only_with_the_token(world: World) -> None:
    """Without it nothing is told, not even what there is."""
    for token in (None, "planted", "x" * len(API_TOKEN), API_TOKEN + "x"):
        answer = read(world, f"/deployments/{uuid4()}", token)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    with TestClient(app(Memory())) as client:  # where the operator set none there is no API
        assert client.get("/api/v1/deployments").status_code == 404
