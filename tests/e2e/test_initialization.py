"""`/enable` step by step: what is in the database and in the cluster at its end, and what people read on the way."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.e2e.harness import ENVIRONMENTS, Shop, Sluice, at_once, settings_of
from tests.postgres import new_database

pytestmark = pytest.mark.e2e

STEPS = [
    *("check_access", "check_cluster", "read_config", "create_environments"),
    *("setup_credentials", "setup_gitops", "verify_resources", "report"),
]
STEPS_OF = "SELECT step, status, progress, duration_ms, error_code FROM project_initialization_steps ORDER BY sequence"


def finished(shop: Shop) -> bool:
    """Whether the last step has ended."""
    found = shop.sluice.query(STEPS_OF)
    return len(found) == len(STEPS) and all(status == "completed" for _, status, *_ in found)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_everything_is_there(own_sluice: Callable[..., Sluice], database: str) -> None:
    """Three environments, four Flux objects, eight completed steps: in the database as in the cluster."""
    sluice = own_sluice(**({"SLUICE_DATABASE_URL": new_database()} if database == "postgresql" else {}))
    shop = Shop(sluice)
    number = shop.enable()
    shop.until(lambda: finished(shop), "all steps are completed")

    assert [step for step, *_ in sluice.query(STEPS_OF)] == STEPS
    for step, status, progress, duration, error in sluice.query(STEPS_OF):
        assert (status, progress, error) == ("completed", 100, None), step
        assert duration is not None, step
    ((namespace, status),) = sluice.query("SELECT namespace, status FROM projects")
    assert re.fullmatch(r"project-[0-9a-f]{8}", namespace)
    assert status == "active"
    assert {name for (name,) in sluice.query("SELECT name FROM environments")} == set(ENVIRONMENTS)
    resources = sluice.query(
        "SELECT gitops_resources.type, environments.name, gitops_resources.name, namespace, gitops_resources.status"
        " FROM gitops_resources LEFT JOIN environments ON environments.id = environment_id"
    )
    assert sorted((kind, environment or "") for kind, environment, *_ in resources) == sorted(
        [("git-repository", ""), *(("kustomization", name) for name in ENVIRONMENTS)]
    )
    assert {(place, state) for *_, place, state in resources} == {(namespace, "ready")}

    assert shop.namespace == namespace
    kinds = {"git-repository": "GitRepository", "kustomization": "Kustomization"}
    for kind, _, name, *_ in resources:
        assert shop.plane.get(kinds[kind], name, namespace) is not None
    assert len(shop.answers(number)) == 1
    done = sluice.run("audit", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def test_scaffold(sluice: Sluice) -> None:
    """A repository without the folders: the failed step says what to do, and that leads to three Ready environments."""
    shop = Shop(sluice, {"README.md": "# Empty\n"})
    number = shop.pull(title="Set it up")
    shop.say(number, "/enable")
    shop.answered(number, "path_missing")
    (answer,) = shop.answers(number)
    assert "/enable --scaffold" in answer
    for name in ENVIRONMENTS:
        assert f"deploy/{name}/kustomization.yaml" in answer

    shop.say(number, "/enable --scaffold")
    pulls = shop.until(lambda: _scaffolds(shop), "the pull request with the files")
    shop.say(number, "/enable --scaffold")
    shop.until(lambda: shop.answers(number)[0].count("--scaffold`") >= 2, "the second answer")
    assert _scaffolds(shop) == pulls
    shop.owner.merge_pull(shop.repository, pulls[0])
    shop.enable(number=number)
    assert [shop.live(name) for name in ENVIRONMENTS] == [shop.head()] * 3


def _scaffolds(shop: Shop) -> list[int]:
    found = shop.owner.pages(f"/repos/{shop.repository}/pulls", state="all")
    return [each["number"] for each in found if each["head"]["ref"] == "sluice/scaffold"]


def test_disable_leaves_the_workloads(sluice: Sluice) -> None:
    """Flux's objects go, what they applied stays; `/enable` takes it over again."""
    shop = Shop(sluice)
    number = shop.enable()
    namespace = shop.namespace
    uids = [_uid(shop, f"{namespace}-{name}") for name in ENVIRONMENTS]

    shop.say(number, "/disable")
    for name in ENVIRONMENTS:
        gone = lambda name=name: shop.plane.get("Kustomization", name, namespace) is None  # noqa: E731
        shop.until(gone, f"the Kustomization of {name} is gone")
    shop.until(lambda: shop.plane.get("GitRepository", "branch-main", namespace) is None, "the source is gone")
    assert [_uid(shop, f"{namespace}-{name}") for name in ENVIRONMENTS] == uids


def _uid(shop: Shop, namespace: str) -> str:
    found = shop.plane.get("Deployment", "web", namespace)
    assert found is not None
    return str(found["metadata"]["uid"])


def test_two_at_once(sluice: Sluice) -> None:
    """One of them enables, the other says who does; there is one project, and each object once."""
    shop = Shop(sluice)
    first, second = shop.pull(title="One"), shop.pull(title="Two")
    at_once(lambda: shop.say(first, "/enable"), lambda: shop.say(second, "/enable"))
    for name in ENVIRONMENTS:
        assert shop.ended(shop.head(), name)[0] == "success"
    for number in (first, second):
        shop.until(lambda number=number: shop.answers(number), f"an answer on #{number}")
    statement = """SELECT projects.id FROM projects JOIN repositories ON repositories.id = repository_id
        WHERE full_name = ?"""
    assert len(sluice.query(statement, shop.repository)) == 1
    assert len({shop.namespace}) == 1
    for name in ENVIRONMENTS:
        assert [state for state, _ in shop.statuses(shop.head(), name)].count("success") == 1


def test_a_failed_step_goes_on_after_the_fix(sluice: Sluice) -> None:
    """A folder that cannot be built: the step fails in Flux's words, a push mends it, `/enable` goes on to its end."""
    shop = Shop(sluice)
    shop.push({"deploy/staging/kustomization.yaml": "resources: [missing.yaml]\n"})
    number = shop.pull(title="Set it up")
    shop.say(number, "/enable")
    shop.answered(number, "build_failed")
    assert "100 %" not in shop.answers(number)[0]

    shop.push({"deploy/staging/kustomization.yaml": "resources: [settings.yaml]\n", **_mended()})
    assert shop.ended(shop.head(), "staging")[0] == "success"
    shop.say(number, "/enable")
    statement = """SELECT projects.status FROM projects JOIN repositories ON repositories.id = repository_id
        WHERE full_name = ?"""
    shop.until(lambda: sluice.query(statement, shop.repository) == [("active",)], "the project is active")


def _mended() -> dict[str, str]:
    return {"deploy/staging/settings.yaml": settings_of("staging", mended="yes")}
