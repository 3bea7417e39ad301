"""A push reaches the environments that follow its branch, and everybody sees how far it is."""

import pytest

from tests.world import ENVIRONMENTS, World, config_map, deployment, ends, says


async def test_a_push_goes_live(world: World) -> None:
    """Pending, then in progress, then exactly one end; the cluster runs what was pushed."""
    await world.enabled()

    sha = world.push(says("two"))
    await world.settled()

    statuses = world.statuses(sha)
    assert statuses[0] == f"pending: Queued: {sha[:7]}"
    assert statuses[1].startswith(f"pending: Reconciling {sha[:7]}")
    assert statuses[-1].startswith(f"success: Live: {sha[:7]} in ")
    assert len(ends(statuses)) == 1
    assert world.live() == "two"


async def test_only_what_it_touches(world: World) -> None:
    """A push to development's folder says nothing of staging and production."""
    await world.enabled(*ENVIRONMENTS)

    sha = world.push(says("two"))
    await world.settled()

    assert {status.context for status in world.raw_statuses(sha)} == {"sluice/development"}


async def test_a_readme_touches_nothing(world: World) -> None:
    """No environment is made of the README: no status, no deployment."""
    await world.enabled()

    sha = world.push({"README.md": "Hello again\n"})
    await world.settled()

    assert world.raw_statuses(sha) == []
    assert await world.deployments(sha) == []
    assert {code for _, code in await world.results("follow")} == {"untouched"}


async def test_a_shared_base_touches_all(world: World) -> None:
    """A change outside every environment's folder, which all of them are made of, goes to all of them."""
    await world.enabled(*ENVIRONMENTS)

    sha = world.push({"deploy/base/deployment.yaml": deployment("web:2")})
    await world.settled()

    assert [world.states(sha, name)[-1] for name in ("development", "staging", "production")] == ["success"] * 3


async def test_nothing_is_said_where_nothing_is_enabled(world: World) -> None:
    """A push to a repository without GitOps has no effect at all."""
    world.push(says("two"))
    await world.settled()

    assert world.effects() == []


@pytest.mark.parametrize("order", ["kept", "reversed"])
async def test_the_newest_of_two_quick_pushes_wins(world: World, order: str) -> None:
    """In whichever order their deliveries arrive: the newer one is live, the older one says that it was superseded."""
    await world.enabled()
    world.forge.hold_deliveries()
    older, newer = world.push(says("two")), world.push(says("three"))

    world.forge.release(order)
    await world.settled()

    assert world.live() == "three"
    assert ends(world.statuses(newer))[0].startswith("success: Live")
    assert ends(world.statuses(older)) == [f"error: Superseded by {newer[:7]}"]
    queued = {event.resource_id for event in await world.events("deployment.queued")}
    assert {deployment.id for deployment in await world.deployments()} <= queued, "the log tells of each from the start"


@pytest.mark.parametrize("order", ["kept", "reversed"])
async def test_the_older_of_two_pushes_is_live_within_the_newer(world: World, order: str) -> None:
    """Where the newer commit leaves the environment's inputs alone, the older one is live as part of it."""
    await world.enabled()
    world.forge.hold_deliveries()
    older, newer = world.push(says("two")), world.push({"README.md": "More\n"})

    world.forge.release(order)
    await world.settled()

    assert world.live() == "two"
    [end] = ends(world.statuses(older))
    assert end.startswith("success: ")
    assert world.states(newer) in ([], ["pending", "success"])


async def test_many_quick_pushes_are_one_rollout(world: World) -> None:
    """Ten pushes at once: the newest is live, and every one of the others says what became of it."""
    await world.enabled()
    world.forge.hold_deliveries()
    pushed = [world.push(says(f"number {number}")) for number in range(10)]

    world.forge.release("shuffled", seed=7)
    await world.settled()

    assert world.live() == "number 9"
    assert [len(ends(world.statuses(sha))) for sha in pushed] == [1] * 10
    assert world.states(pushed[-1])[-1] == "success"


async def test_back_and_forth(world: World) -> None:
    """A, then B, then A again by a forced push: A is live, and was told so twice."""
    await world.enabled()
    a = world.push(says("a"))
    await world.settled()
    b = world.push(says("b"))
    await world.settled()

    world.forge.move_branch(world.repository, "main", a, "alice")
    await world.settled()

    assert world.live() == "a"
    assert world.states(a) == ["pending", "success", "pending", "success"]
    assert world.states(b) == ["pending", "success"]


async def test_forced_back_before_anything_was_done(world: World) -> None:
    """A, B and A again, all before the first delivery arrives: A is live, and B was not."""
    await world.enabled()
    a = world.push(says("a"))
    await world.settled()
    world.forge.hold_deliveries()
    b = world.push(says("b"))
    world.forge.move_branch(world.repository, "main", a, "alice")

    world.forge.release()
    await world.settled()

    assert world.live() == "a"
    assert [end.split(":")[0] for end in ends(world.statuses(b))] in ([], ["error"])


async def test_another_branch_is_nobodys(world: World) -> None:
    """A push to a branch that no environment follows changes nothing."""
    await world.enabled()

    sha = world.push(says("two"), branch="other")
    await world.settled()

    assert world.raw_statuses(sha) == []
    assert world.live() == "development"


# What does not work out.


async def test_a_broken_path(world: World) -> None:
    """The environment's folder is gone: a red status in Flux's own words."""
    await world.enabled("development")

    gone = dict.fromkeys(("deploy/development/kustomization.yaml", "deploy/development/config.yaml"))
    sha = world.push(gone)
    await world.settled()

    [end] = ends(world.statuses(sha))
    assert end.startswith("failure: Failed: ")
    assert "deploy/development" in end
    assert world.live() == "development"


async def test_a_build_error(world: World) -> None:
    """A kustomization that names a missing file is a red status that names it."""
    await world.enabled("development")

    sha = world.push({"deploy/development/kustomization.yaml": "resources: [../base, missing.yaml]\n"})
    await world.settled()

    [end] = ends(world.statuses(sha))
    assert end.startswith("failure: Failed: ")
    assert "missing.yaml" in end


async def test_a_health_failure(world: World) -> None:
    """A workload that never becomes ready is a red status when Flux's timeout is over."""
    world.push({".sluice.yaml": "version: 1\nenvironments: {development: {path: deploy/development, timeout: 1s}}\n"})
    await world.enabled()

    sha = world.push({"deploy/base/deployment.yaml": deployment("web:broken")})
    await world.settled()

    [end] = ends(world.statuses(sha))
    assert end.startswith("failure: Failed: ")
    assert "web" in end


async def test_a_suspended_environment(world: World) -> None:
    """Somebody suspended the Kustomization: the deployment fails and says so, and nobody resumes it."""
    await world.enabled("development")
    world.cluster.patch("Kustomization", world.namespace(), "development", {"spec": {"suspend": True}}, "flux")

    sha = world.push(says("two"))
    await world.settled()

    [end] = ends(world.statuses(sha))
    assert end.startswith("failure: Failed: ")
    assert "suspended" in end
    found = world.object("Kustomization", "development")
    assert found is not None
    assert found["spec"]["suspend"] is True


async def test_mended_without_a_red_flash(world: World) -> None:
    """The commit after a broken one is green without having been red."""
    await world.enabled("development")
    broken = world.push({"deploy/development/kustomization.yaml": "resources: [missing.yaml]\n"})
    await world.settled()

    mended = world.push({"deploy/development/kustomization.yaml": "resources: [../base, config.yaml]\n", **says("ok")})
    await world.settled()

    assert world.states(broken) == ["pending", "failure"]
    assert world.states(mended) == ["pending", "success"]
    assert world.live() == "ok"


async def test_an_object_that_went_missing(world: World) -> None:
    """Somebody deleted the Kustomization: /enable makes it again, and what was pushed meanwhile is live."""
    await world.enabled("development")
    world.cluster.delete("Kustomization", world.namespace(), "development")

    world.push({**says("two"), "deploy/development/extra.yaml": config_map("x")})
    await world.comment("/enable development", by="alice")

    assert world.live() == "two"
