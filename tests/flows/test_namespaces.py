"""Target namespaces that are there already: left by the same repository, let in by the operator, or somebody else's."""

from typing import Any
from uuid import uuid4

import pytest

from tests.flows.test_disable import rows
from tests.flows.test_enable import ask
from tests.world import World

pytestmark = pytest.mark.thorough


@pytest.fixture
def environ() -> dict[str, str]:
    return {"SLUICE_POLICY": "version: 1\nrepositories: [{match: acme/*, namespaces: [home-*]}]"}


def home(world: World) -> str:
    return f"home-{world.repository[5:]}"


def config(world: World, *environments: str) -> dict[str, bytes | str | None]:
    lines = [f"  {name}: {{path: deploy/{name}, namespace: {home(world)}}}\n" for name in environments]
    return {".sluice.yaml": "version: 1\nenvironments:\n" + "".join(lines)}


def made(world: World, **labels: str) -> None:
    """Somebody made the namespace."""
    named = {name.replace("__", "/"): value for name, value in labels.items()}
    metadata = {"name": home(world), "labels": named}
    world.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "somebody")


def labels(world: World) -> dict[str, str]:
    found: Any = world.cluster.get("Namespace", "", home(world))
    return dict(found["metadata"].get("labels") or {})


def said(world: World) -> str:
    found: Any = world.cluster.get("ConfigMap", home(world), "config")
    return str(found["data"]["said"]) if found else ""


async def test_of_a_project_that_was_disabled(world: World) -> None:
    """The same repository takes its namespace up again; it carries the new project's labels then."""
    world.push(config(world, "development"))
    assert await ask(world) == ("done", None)
    before = labels(world)["sluice/project"]
    await world.comment("/disable", by="alice")
    assert labels(world)["sluice/project"] == before

    assert await ask(world) == ("done", None), world.comment_text()

    [project], [environment], _ = await rows(world)
    assert labels(world)["sluice/project"] == str(project.id) != before
    assert labels(world)["sluice/environment"] == str(environment.id)
    assert said(world) == "development"


@pytest.mark.long
async def test_of_another_project(world: World) -> None:
    """One that lives, one that nobody knows, and a label that is no id: all of them are somebody else's."""
    world.push(config(world, "development"))
    for owner in (str(uuid4()), "nobody"):
        made(world, app__x="1", sluice__project=owner)
        assert await ask(world) == ("refused", "namespace_taken")
    assert labels(world)["sluice/project"] == "nobody"


async def test_as_a_guest(world: World) -> None:
    """The operator's policy and label let Sluice in: it binds its account there, and owns nothing of the namespace."""
    made(world, team="shop")
    world.push(config(world, "development"))

    assert await ask(world) == ("refused", "namespace_unlabelled")
    assert f"kubectl label namespace {home(world)} sluice/target=true" in world.comment_text()
    made(world, team="shop", sluice__target="true")
    before = labels(world)
    assert await ask(world) == ("done", None), world.comment_text()

    assert labels(world) == before
    assert said(world) == "development"
    assert world.cluster.get("RoleBinding", home(world), "sluice-development") is not None
    assert f"Namespace `{home(world)}`" not in world.comment_text()
    await world.comment("/disable", by="alice")
    assert labels(world) == before
    assert world.cluster.get("RoleBinding", home(world), "sluice-development") is None
    assert said(world) == "development"


async def test_where_another_environment_goes(world: World) -> None:
    """Two in one namespace would prune each other's objects, also where one of them came earlier."""
    world.push(config(world, "development"))
    assert await ask(world) == ("done", None)

    world.push(config(world, "staging"))

    assert await ask(world) == ("refused", "namespace_taken")
    assert "is where another environment goes to" in world.comment_text()
