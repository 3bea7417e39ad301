"""Two projects in one repository: each has its namespace, its sources, its statuses and its own changes."""

import pytest

from models import Project
from tests.world import World, config_map, deployment

pytestmark = pytest.mark.thorough

CONFIG = """\
version: 1
projects:
  web:
    environments:
      development: { path: apps/web/development }
      production: { path: apps/web/production }
  api:
    environments:
      production: { path: apps/api/production }
"""
FOLDERS = ("apps/web/development", "apps/web/production", "apps/api/production")


def said(folder: str, text: str) -> dict[str, bytes | str | None]:
    """A change to one folder."""
    return {f"{folder}/config.yaml": config_map(text)}


async def namespace(world: World, project: str) -> str:
    """Where a project's Flux objects live."""
    [row] = await world.rows(Project, Project.repository_id == await world.repository_id(), Project.slug == project)
    return str(row.namespace)


async def live(world: World, project: str, environment: str) -> str:
    """What the cluster runs of it."""
    found = world.cluster.get("ConfigMap", f"{await namespace(world, project)}-{environment}", "config")
    return str(found["data"]["said"]) if found else ""


@pytest.fixture
def mono(world: World) -> World:
    """A repository with both."""
    files: dict[str, bytes | str | None] = {".sluice.yaml": CONFIG}
    for folder in FOLDERS:
        files[f"{folder}/kustomization.yaml"] = "resources: [deployment.yaml, config.yaml]\n"
        files[f"{folder}/deployment.yaml"] = deployment()
        files |= said(folder, "one")
    world.push(files)
    return world


async def enable(world: World) -> None:
    """Have an admin set everything up."""
    world.open_pull_request({"enable.txt": "please"}, "alice", branch="enable")
    await world.comment("/enable", by="alice")
    assert (await world.results("enable"))[-1] == ("done", None), world.comment_text()


async def test_each_project_has_its_own(mono: World) -> None:
    """Two namespaces, a shared source in each; statuses and the table name project and environment."""
    await enable(mono)

    web, api = await namespace(mono, "web"), await namespace(mono, "api")
    assert web != api
    for home, names in ((web, ["development", "production"]), (api, ["production"])):
        assert [one["metadata"]["name"] for one in mono.cluster.list("GitRepository", home)] == ["branch-main"]
        assert sorted(one["metadata"]["name"] for one in mono.cluster.list("Kustomization", home)) == names
    contexts = {status.context for status in mono.raw_statuses(mono.head())}
    assert contexts == {"sluice/web/development", "sluice/web/production", "sluice/api/production"}
    assert "| web/production |" in mono.comment_text()
    assert "| api/production |" in mono.comment_text()


async def test_a_push_touches_one(mono: World) -> None:
    """A push to one project deploys that one, and says nothing of the other."""
    await enable(mono)
    sha = mono.push(said("apps/api/production", "two"))
    await mono.settled()

    assert (await live(mono, "api", "production"), await live(mono, "web", "production")) == ("two", "one")
    assert {status.context for status in mono.raw_statuses(sha)} == {"sluice/api/production"}
    assert mono.states(sha, "api/production") == ["pending", "success"]


@pytest.mark.long
async def test_deploy_goes_where_the_change_is(mono: World) -> None:
    """Without a project the target is the one that the change touches; the other is not pinned."""
    await enable(mono)
    head = mono.open_pull_request(said("apps/web/production", "topic"))
    await mono.settled()

    await mono.comment("/deploy production")

    assert await mono.results("deploy") == [("done", None)]
    assert "to `web/production`; pinned" in mono.comment_text()
    assert (await live(mono, "web", "production"), await live(mono, "api", "production")) == ("topic", "one")
    assert mono.states(head, "web/production") == ["pending", "success"]
    assert {status.context for status in mono.raw_statuses(head)} == {"sluice/web/production"}
    assert len(await mono.pins()) == 1


async def test_deploy_to_both(mono: World) -> None:
    """A change that touches both goes to both."""
    await enable(mono)
    mono.open_pull_request({**said("apps/web/production", "topic"), **said("apps/api/production", "topic")})
    await mono.settled()

    await mono.comment("/deploy production")

    assert (await live(mono, "web", "production"), await live(mono, "api", "production")) == ("topic", "topic")


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("production", "target_ambiguous", "say `api/production` or `web/production`"),
        ("web/prodution", "target_unknown", "did you mean `web/production`?"),
        ("api/development", "target_unknown", "there are `api/production`, `web/development`, `web/production`"),
    ],
)
async def test_a_target_that_means_nothing_here(mono: World, target: str, code: str, words: str) -> None:
    """Refused with the names that there are, or the nearest."""
    await enable(mono)
    mono.open_pull_request({"README.md": "Hello again\n"})
    await mono.settled()

    await mono.comment(f"/deploy {target}")

    assert await mono.results("deploy") == [("refused", code)]
    assert words in mono.comment_text()


async def test_a_named_project_and_status(mono: World) -> None:
    """`project/environment` is taken at its word; `/status` names every project, `/sync` takes a project."""
    await enable(mono)
    mono.open_pull_request(said("apps/web/production", "topic"))
    await mono.settled()

    await mono.comment("/deploy api/production\n/sync web/development\n/status")

    assert await mono.results("deploy") == [("done", None)]
    assert await mono.results("sync") == [("done", None)]
    text = mono.comment_text()
    assert "Asked Flux to reconcile `web/development`" in text
    for name in ("web/development", "web/production", "api/production"):
        assert f"**{name}**: " in text
