"""Deployments settle by what Flux really says: the sandbox's and the real kustomize-controller, the same tests."""

import asyncio

from bot.core.settling import (
    Fail,
    Step,
    Succeed,
    Supersede,
    SwitchSource,
    Wait,
)
from tests.flux.planes import eventually
from tests.flux.project import ENVIRONMENT, FILE, PATH, REPO, Project, config_map

CLUSTER_ROLE = (
    b"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: sluice-settling}\nrules: []\n"
)


def failures(steps: list[Step]) -> list[Step]:
    return [step for step in steps if isinstance(step, Fail) or (isinstance(step, Wait) and step.failing)]


async def test_a_push_goes_live(project: Project) -> None:
    await project.enable()
    first = project.git.head(REPO, "main")
    assert first is not None
    assert (await project.deploy(first))[0] == Succeed(None, True)
    end, steps = await project.deploy(project.push(config_map("second")))
    assert end == Succeed(None, True)
    assert not failures(steps)
    assert project.live() == "second"


async def test_a_wrong_path(project: Project) -> None:
    await project.enable("deploy/nowhere")
    end, _ = await project.deploy(project.push(config_map("second")))
    assert isinstance(end, Fail)
    assert end.code == "path_not_found"
    assert end.message == "kustomization path not found: stat deploy/nowhere: no such file or directory"


async def test_a_path_that_went_away_and_came_back(project: Project) -> None:
    """The last failure is not the next deployment's."""
    await project.enable()
    assert (await project.deploy(project.push(config_map("second"))))[0] == Succeed(None, True)
    end, _ = await project.deploy(project.push(None))
    assert isinstance(end, Fail)
    assert end.code == "path_not_found"
    end, steps = await project.deploy(project.push(config_map("third")))
    assert end == Succeed(None, True)
    assert not failures(steps)


async def test_a_build_error_and_its_fix_without_a_red_flash(project: Project) -> None:
    await project.enable()
    bad = project.push(b"resources: [nothing.yaml]\n", f"{PATH}/kustomization.yaml")
    end, _ = await project.deploy(bad)
    assert isinstance(end, Fail)
    assert end.code == "build_failed"
    assert "/tmp/" not in end.message
    end, steps = await project.deploy(project.push(None, f"{PATH}/kustomization.yaml"))
    assert end == Succeed(None, True)
    assert not failures(steps)


async def test_what_the_account_may_not_write_fails_at_the_second_time(project: Project) -> None:
    await project.enable()
    end, steps = await project.deploy(project.push(CLUSTER_ROLE, f"{PATH}/role.yaml"))
    assert isinstance(end, Fail)
    assert end.code == "apply_failed"
    assert "orbidden" in end.message
    shown = failures(steps)
    assert isinstance(shown[0], Wait)
    assert shown[0].text == f"failing, Flux retries: {end.message}"


async def test_suspended(project: Project) -> None:
    await project.enable()
    project.plane.patch("Kustomization", project.owner.namespace, ENVIRONMENT, {"spec": {"suspend": True}})
    end, _ = await project.deploy(project.push(config_map("second")))
    assert isinstance(end, Fail)
    assert end.code == "suspended"


async def test_a_branch_that_is_gone(project: Project) -> None:
    await project.enable()
    first = project.git.head(REPO, "main")
    assert first is not None
    await project.deploy(first)
    project.git.commit(REPO, "other", {"a": b"a"}, "other", "alice", first)
    second = project.push(config_map("second"))
    project.git.delete_ref(REPO, "main")
    end, _ = await project.deploy(second)
    assert isinstance(end, Fail)
    assert end.code == "source_failed"
    assert "refs/heads/main" in end.message


async def test_of_two_quick_pushes_one_is_superseded(project: Project) -> None:
    await project.enable()
    first, second = project.push(config_map("second")), project.push(config_map("third"))
    (one, _), (two, _) = await asyncio.gather(project.deploy(first), project.deploy(second))
    assert one == Supersede(second)
    assert two == Succeed(None, True)


async def test_a_push_that_is_live_as_part_of_a_later_one(project: Project) -> None:
    await project.enable()
    first, second = project.push(config_map("second")), project.push(b"# More\n", "README.md")
    (one, _), (two, _) = await asyncio.gather(project.deploy(first), project.deploy(second))
    assert one == Succeed(second, True)
    assert two == Succeed(None, True)


async def test_pinned_moved_and_back_without_a_failure(project: Project) -> None:
    """From the shared source to a pin, to an older commit, and back to the branch."""
    await project.enable()
    first = project.push(config_map("first"), FILE) if project.push(config_map("zero")) else ""
    second = project.push(config_map("second"))
    steps: list[Step] = []
    for revision, pinned, value in (
        (second, False, "second"),
        (second, True, "second"),
        (first, True, "first"),
        (second, False, "second"),
    ):
        if pinned:
            await project.pin(revision)
        end, more = await project.deploy(revision, pinned=pinned)
        steps += more
        assert end == Succeed(None, True)
        await eventually(lambda value=value: project.live() == value)
    assert not failures(steps)
    assert [type(step) for step in steps].count(SwitchSource) == 2


async def test_a_pin_that_another_moved(project: Project) -> None:
    await project.enable()
    first, second = project.push(config_map("one")), project.push(config_map("two"))
    old = await project.pin(first)
    assert (await project.deploy(first, pinned=True))[0] == Succeed(None, True)
    await project.pin(second)
    project.number = old
    assert (await project.deploy(first, pinned=True))[0] == Supersede(second)

    patch = {"spec": {"ref": {"commit": first}}}
    project.number += 1
    project.plane.patch("GitRepository", project.owner.namespace, "pin-dev", patch)
    end, _ = await project.deploy(second, pinned=True)
    assert isinstance(end, Fail)
    assert end.code == "gate_broken"
