"""`/deploy --image` and `--set`: one value is committed first, then deployed."""

import pytest

from tests.world import World, deployment, files

pytestmark = pytest.mark.thorough

IMAGES = "resources: [../base, config.yaml]\nimages:\n- name: web\n  newTag: '1'   # ours\n"
FILE = "deploy/development/kustomization.yaml"


def image_of(world: World) -> str:
    found = world.cluster.get("Deployment", f"{world.namespace()}-development", "web")
    assert found is not None
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def ready(world: World) -> None:
    world.push({FILE: IMAGES, "deploy/base/deployment.yaml": deployment("web:0")})
    await world.settled()
    await world.enabled("development")
    world.open_pull_request({"README.md": "Hi\n"})
    await world.settled()


@pytest.mark.long
async def test_an_image(world: World) -> None:
    """The commit is on the branch with who asked for it, everything else in the file is as it was, and it is live."""
    await ready(world)
    assert image_of(world) == "web:1"
    base = world.head()

    await world.comment("/deploy development --image web=2", by="dave")

    assert await world.results("deploy") == [("done", None)], world.comment_text()
    head = world.head()
    info = world.forge.store.info(world.repository, head)
    assert info.parents == (base,)
    assert f"Co-authored-by: dave <{world.forge.account_id('dave')}+dave@" in info.message
    assert world.forge.store.read(world.repository, head, FILE).decode() == IMAGES.replace("'1'", "'2'")
    assert image_of(world) == "web:2"
    assert f"{head[:7]} on `main` has it" in world.comment_text()

    await world.comment("/deploy development --image web=2", by="dave")
    assert world.head() == head
    assert "`main` says so already" in world.comment_text()


async def test_what_cannot_be(world: World) -> None:
    """Nothing is written: no such image, no such role, a commit beside the edit."""
    await ready(world)
    base = world.head()
    await world.comment("/deploy development --image www=2", by="dave")
    await world.comment("/deploy development --image web=2", by="vera")
    await world.comment(f"/deploy development {base} --image web=2", by="dave")
    await world.comment("/deploy development --set ../staging/config.yaml:data.said=x", by="dave")
    assert [code for _, code in await world.results("deploy")] == [
        "image_missing",
        "not_permitted",
        "usage",
        "path_outside",
    ]
    assert world.head() == base


@pytest.mark.long
async def test_a_protected_branch(world: World) -> None:
    """The change is proposed, and nothing is deployed."""
    await ready(world)
    world.forge.protect_branch(world.repository, "main")
    base, live = world.head(), image_of(world)
    await world.comment("/deploy development --image web=2", by="dave")
    number = world.number + 1
    assert f"proposed by #\u200d{number}" in world.comment_text()
    assert (world.head(), image_of(world)) == (base, live)
    _, pull = world.forge.pull_request(world.repository, number)
    assert world.forge.store.read(world.repository, pull.head_sha, FILE).decode() == IMAGES.replace("'1'", "'2'")


async def test_going_back_with_the_files(world: World) -> None:
    """`/rollback --revert` goes back at once, and proposes what the branch is to say."""
    await ready(world)
    first = world.head()
    world.push({FILE: IMAGES.replace("'1'", "'2'")})
    await world.settled()
    assert image_of(world) == "web:2"

    await world.comment("/rollback development --revert", by="dave")

    number = world.number + 1
    assert await world.results("rollback") == [("done", None)], world.comment_text()
    assert f"#\u200d{number} proposes to have the files as they were" in world.comment_text()
    assert image_of(world) == "web:1"
    issue, pull = world.forge.pull_request(world.repository, number)
    assert issue.title == f"Have development as it was at {first[:7]}"
    assert world.forge.store.read(world.repository, pull.head_sha, FILE).decode() == IMAGES


async def test_who_asked_for_an_edit_does_not_approve_it(world: World) -> None:
    """The commit is Sluice's, and counts as theirs."""
    production = FILE.replace("development", "production")
    config = "version: 1\nenvironments:\n  production: {path: deploy/production, approvals: 1}\n"
    world.push({**files(), production: IMAGES, ".sluice.yaml": config})
    await world.settled()
    await world.enabled("production")
    await world.comment("/approve production", by="maia")
    world.open_pull_request({"README.md": "Hi\n"})
    await world.settled()

    await world.comment("/deploy production --image web=2", by="maia")
    head = world.head()
    assert [row.status for row in await world.deployments(head)][-1] == "waiting", world.comment_text()
    await world.comment(f"/approve production {head}", by="maia")
    assert [row.status for row in await world.deployments(head)][-1] == "waiting"
    await world.comment(f"/approve production {head}", by="alice")
    assert [row.status for row in await world.deployments(head)][-1] == "succeeded", world.comment_text()
