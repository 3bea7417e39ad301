"""/enable sets GitOps up, says what it made, and refuses in words that help."""

from typing import Any

import pytest

from tests.world import ENVIRONMENTS, World, files, says


async def ask(world: World, text: str = "/enable") -> tuple[str, str | None]:
    """Have the admin say it on a pull request; (outcome, reason code)."""
    if not world.number:
        world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.comment(text, by="alice")
    return (await world.results("enable"))[-1]


async def test_everything_is_there(world: World) -> None:
    """One source, three Kustomizations with targets and accounts of their own, each read back; all of it is live."""
    assert await ask(world) == ("done", None)

    namespace = world.namespace()
    kinds = {
        kind: len(world.cluster.list(kind, namespace)) for kind in ("GitRepository", "Kustomization", "ServiceAccount")
    }
    assert kinds == {"GitRepository": 1, "Kustomization": 3, "ServiceAccount": 3}
    for name in ENVIRONMENTS:
        found = world.object("Kustomization", name)
        assert found is not None
        spec = found["spec"]
        assert spec["targetNamespace"] == f"{namespace}-{name}"
        assert spec["serviceAccountName"] == f"sluice-{name}"
        assert spec["deletionPolicy"] == "Orphan"
        assert "suspend" not in spec
        assert world.live(name) == name
        assert world.states(world.head(), name) == ["pending", "success"]
    assert "GitOps is set up for" in world.comment_text()


async def test_twice_is_idempotent(world: World) -> None:
    """The second /enable writes nothing into the cluster and ends well."""
    await ask(world)
    before = {kind: world.cluster.list(kind) for kind in ("Namespace", "ServiceAccount", "RoleBinding", "Secret")}
    specs = [one["spec"] for one in world.cluster.list("Kustomization", world.namespace())]

    assert await ask(world) == ("done", None)

    assert {kind: world.cluster.list(kind) for kind in before} == before
    assert [one["spec"] for one in world.cluster.list("Kustomization", world.namespace())] == specs
    assert len(world.cluster.list("GitRepository", world.namespace())) == 1
    assert world.states(world.head())[-1] == "success"


async def test_missing_folders_are_listed(world: World) -> None:
    """Without the folders nothing is made, and the answer shows the files to add."""
    for name in ("staging", "production"):
        world.push({f"deploy/{name}/kustomization.yaml": None, f"deploy/{name}/config.yaml": None})

    assert await ask(world) == ("refused", "path_missing")

    text = world.comment_text()
    assert "deploy/staging/kustomization.yaml" in text
    assert "deploy/production/kustomization.yaml" in text
    assert "deploy/development/kustomization.yaml" not in text
    assert world.raw_statuses(world.head()) == []


async def test_added_folders_are_taken(world: World) -> None:
    """After the folders were added, /enable again goes through."""
    world.push({"deploy/staging/kustomization.yaml": None, "deploy/staging/config.yaml": None})
    assert await ask(world) == ("refused", "path_missing")

    world.push({path: text for path, text in files().items() if "staging" in path})
    assert await ask(world) == ("done", None)


class TestForeignNamespace:
    """The operator's policy allows a namespace that is somebody else's."""

    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"SLUICE_POLICY": "version: 1\nrepositories: [{match: acme/*, namespaces: [taken-*]}]"}

    async def test_it_is_left_alone(self, world: World) -> None:
        """A namespace that exists without this project's label is not touched, and nothing counts as enabled."""
        await a_namespace_of_somebody_else(world)


async def a_namespace_of_somebody_else(world: World) -> None:
    name = f"taken-{world.repository[5:]}"
    metadata = {"name": name, "labels": {"sluice/project": "another"}}
    world.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "somebody")
    config = f"version: 1\nenvironments: {{development: {{path: deploy/development, namespace: {name}}}}}\n"
    world.push({".sluice.yaml": config})

    assert await ask(world) == ("refused", "namespace_taken")

    found = world.cluster.get("Namespace", "", name)
    assert found is not None
    assert found["metadata"]["labels"]["sluice/project"] == "another"
    sha = world.push(says("two"))
    await world.settled()
    assert world.raw_statuses(sha) == []
    assert await ask(world, "/status\n/enable") == ("refused", "namespace_taken")
    assert await world.results("status") == [("refused", "not_enabled")]


class TestPrivate:
    """A private repository and no token for Flux."""

    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"SLUICE_GITHUB_GIT_TOKEN": "", "SLUICE_GITHUB_GIT_USERNAME": ""}

    async def test_credentials_missing(self, world: World) -> None:
        """Flux could not fetch it, so it is refused, and the operator's setting is named."""
        private = World(world.place, private=True)

        assert await ask(private) == ("refused", "git_credentials_missing")

        assert "SLUICE_GITHUB_GIT_TOKEN" in private.comment_text()
        await private.end()


# The configuration.


async def test_configuration_of_the_default_branch_only(world: World) -> None:
    """What the pull request itself says in .sluice.yaml counts for nothing."""
    theirs = "version: 1\nenvironments: {hijacked: {path: deploy/development}}\n"
    world.open_pull_request({".sluice.yaml": theirs}, "alice")

    assert await ask(world) == ("done", None)

    names = {one["metadata"]["name"] for one in world.cluster.list("Kustomization", world.namespace())}
    assert names == set(ENVIRONMENTS)


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ("version: 1\nenvironments:\n  a:\n    path: deploy/a\n    colour: red\n", "config_invalid", "colour"),
        ("version: 1\nenvironments:\n  a:\n    path: ../../etc\n", "config_invalid", "path"),
        ("version: 1\nenvironments: [\n", "config_invalid", "line"),
    ],
)
async def test_a_broken_configuration(world: World, config: str, code: str, words: str) -> None:
    """Refused by file and field; nothing is made."""
    world.push({".sluice.yaml": config})

    assert await ask(world) == ("refused", code)

    text = world.comment_text()
    assert ".sluice.yaml" in text
    assert words in text
    assert {status.context for status in world.raw_statuses(world.head())} <= {"sluice/config"}


async def test_environments_on_two_branches(world: World) -> None:
    """Each environment gets the head of the branch that it follows, and pushes to that branch only."""
    branches: Any = {"development": "main", "production": "release"}
    lines = [f"  {name}: {{path: deploy/{name}, branch: {branch}}}" for name, branch in branches.items()]
    world.push({".sluice.yaml": "\n".join(["version: 1", "environments:", *lines, ""])})
    world.forge.create_branch(world.repository, "release", world.head(), "alice")
    release = world.push(says("first release", "production"), branch="release")

    assert await ask(world) == ("done", None)

    assert world.live("production") == "first release"
    assert world.states(release, "production") == ["pending", "success"]
    assert world.raw_statuses(world.head(), "production") == []
    second = world.push(says("second release", "production"), branch="release")
    on_main = world.push(says("main", "production"))
    await world.settled()
    assert world.live("production") == "second release"
    assert world.states(second, "production") == ["pending", "success"]
    assert world.raw_statuses(on_main) == []


async def test_a_push_while_it_is_being_set_up(world: World) -> None:
    """A push that arrives with the /enable is live at the end, and its status is green."""
    world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.settled()
    url = f"{world.forge.url}/{world.repository}.git"
    world.cluster.latency = 0.03
    try:
        world.write("/enable development", by="alice")
        await world.until(lambda: [one for one in world.cluster.list("GitRepository") if one["spec"]["url"] == url])
        sha = world.push(says("two"))
        await world.settled()
    finally:
        world.cluster.latency = 0.0

    assert world.live() == "two"
    assert world.states(sha)[-1] == "success"


async def test_one_after_the_other(world: World) -> None:
    """Environments can be enabled one by one; those that are there stay as they are."""
    assert await ask(world, "/enable development") == ("done", None)
    assert await ask(world, "/enable production") == ("done", None)

    assert {one["metadata"]["name"] for one in world.cluster.list("Kustomization", world.namespace())} == {
        "development",
        "production",
    }
    assert world.states(world.head(), "production") == ["pending", "success"]


async def test_an_unknown_environment(world: World) -> None:
    """A name that the configuration does not know is refused with those that it knows."""
    assert await ask(world, "/enable prod") == ("refused", "target_unknown")
    assert "`production`" in world.comment_text()
