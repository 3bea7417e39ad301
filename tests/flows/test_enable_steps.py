"""/enable step by step: rows with durations, one comment, what fails and what helps, and going on after it."""

import asyncio
import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.core.initialization import STEPS
from bot.sandbox.git import FetchError
from bot.sandbox.town import BOT
from models import Environment, GitopsResource, Project, UnifiedEvent
from models import ProjectInitializationStep as Step
from models.base import now
from tests.flows.test_enable import ask
from tests.thorough import sample
from tests.world import ENVIRONMENTS, PAST, World, deployment, files

NAMES = [step.name for step in STEPS]


async def project(world: World, name: str = "") -> Project:
    """The project of the repository, or the one of that name."""
    rows = await world.rows(Project, Project.repository_id == await world.repository_id())
    [found] = [row for row in rows if name in ("", row.slug)]
    return found


async def steps(world: World, name: str = "") -> dict[str, Step]:
    """Its steps, by name, in their order."""
    found = await project(world, name)
    rows = await world.rows(Step, Step.project_id == found.id)
    return {row.step: row for row in sorted(rows, key=lambda row: row.sequence)}


async def states(world: World, name: str = "") -> list[str]:
    return [row.status for row in (await steps(world, name)).values()]


async def failed_at(world: World) -> tuple[str, str | None]:
    """The one step that failed, and its code; everything before it is completed, nothing after it was begun."""
    rows = list((await steps(world)).values())
    at = next(number for number, row in enumerate(rows) if row.status == "failed")
    assert [row.status for row in rows] == ["completed"] * at + ["failed"] + ["pending"] * (len(rows) - at - 1)
    assert (await project(world)).status == "failed"
    text = world.comment_text()
    assert "**What to do:** " in text
    assert f"✗ **{rows[at].display_name}**" in text
    assert "✓ Set up: all" not in text
    return rows[at].step, rows[at].error_code


async def enabled(world: World) -> None:
    """Every step is completed, in its time, and the comment says so in one line."""
    rows = await steps(world)
    assert list(rows) == NAMES
    for row in rows.values():
        assert (row.status, row.progress, row.error) == ("completed", 100, None), row.step
        assert row.started_at is not None
        assert row.completed_at is not None
        assert row.duration_ms is not None
        assert row.duration_ms >= 0
    found = await project(world)
    assert found.status == "active"
    assert found.initialization_completed_at is not None
    assert "✓ Set up: all 8 steps in" in world.comment_text()


# As it should be.


async def test_all_steps_are_completed(world: World) -> None:
    """Eight steps with durations; 3 environments; one source without an environment and three Kustomizations."""
    assert await ask(world) == ("done", None)

    await enabled(world)
    found = await project(world)
    environments = await world.rows(Environment, Environment.project_id == found.id)
    resources = await world.rows(GitopsResource, GitopsResource.project_id == found.id)
    assert [row.name for row in environments] == list(ENVIRONMENTS)
    assert [row.type for row in resources if row.environment_id is None] == ["git-repository"]
    applied = {row.environment_id: row.id for row in resources if row.type == "kustomization"}
    assert applied == {row.id: row.gitops_resource_id for row in environments}
    assert len(resources) == 4
    assert {row.namespace for row in resources} == {found.namespace} == {f"project-{found.id.hex[:8]}"}
    assert {row.status for row in resources} == {"ready"}


async def test_the_comment_shows_how_far_it_is(world: World) -> None:
    """One comment, edited in place: percentages only grow, and 100 % is said when everything is ready, not before."""
    world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.settled()
    seen: list[str] = []
    world.cluster.latency = 0.02
    try:
        world.write("/enable", by="alice")
        while not (seen and "✓ Set up" in seen[-1]):
            text = world.comment_text()
            if text and text not in seen:
                seen.append(text)
            await asyncio.sleep(0.005)
    finally:
        world.cluster.latency = 0.0
    await world.settled()

    percents = [int(number) for text in seen for number in re.findall(r"Setting up: (\d+) %", text)]
    assert len(percents) >= 2  # steps that follow each other within a second are shown by one edit
    assert percents == sorted(percents)
    assert percents[-1] < 100
    assert not [text for text in seen[:-1] if "| live |" in text and text.count("| live |") == 3 and "Set up:" in text]
    for text in seen[:-1]:
        assert text.count("- … **") <= 1
        assert "100 %" not in text
    assert len(world.comments()) == 1


def waits_for_a_workload(world: World) -> None:
    """Development is not ready while its workload cannot start."""
    world.push({"deploy/base/deployment.yaml": deployment("web:broken-1")})
    world.open_pull_request({"topic.txt": "x"}, "alice")


def mend_the_workload(world: World) -> None:
    """A push of a release that starts."""
    world.push({"deploy/base/deployment.yaml": deployment("web:2")})


async def test_verification_is_left_to_the_objects(world: World) -> None:
    """The command ends when the objects are written and read back; the step goes on until they are ready."""
    waits_for_a_workload(world)
    world.write("/enable development", by="alice")
    await world.until(lambda: "1 of 2 ready" in world.comment_text() and "GitOps is set up" in world.comment_text())

    async def half() -> bool:
        return (await steps(world))["verify_resources"].progress == 50

    await world.until(half)  # a source that Flux looks at again is not ready for a moment
    assert await world.results("enable") == [("done", None)]
    rows = await steps(world)
    assert (rows["verify_resources"].status, rows["report"].status) == ("running", "pending")
    assert (await project(world)).status == "initializing"
    assert "✓ Set up:" not in world.comment_text()
    mend_the_workload(world)
    await world.settled()
    await enabled(world)


# Two at once.


async def test_two_at_once(world: World) -> None:
    """One wins; the other is told whose is under way, and since when, and changes nothing."""
    world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.settled()
    world.forge.set_permission(world.repository, "maia", "admin")
    world.cluster.latency = 0.05
    try:
        world.write("/enable", by="alice")
        await world.until(lambda: "Setting up" in world.comment_text())
        world.write("/enable", by="maia")
        await world.settled()
    finally:
        world.cluster.latency = 0.0

    assert sorted(await world.results("enable"), key=str) == [("done", None), ("refused", "enable_running")]
    assert re.search(r"an `/enable` of alice is under way since \d\d:\d\d:\d\d UTC", world.comment_text())
    await enabled(world)
    assert len(await world.rows(Project, Project.repository_id == await world.repository_id())) == 1


async def test_a_claim_ends_with_its_run(world: World) -> None:
    """What failed does not keep the next one out."""
    world.push({"deploy/staging/kustomization.yaml": None, "deploy/staging/config.yaml": None})
    assert await ask(world) == ("refused", "path_missing")

    assert await ask(world, "/enable development") == ("done", None)


# What fails, and what helps.


async def test_going_on_where_it_stopped(world: World) -> None:
    """What was completed stands, and keeps its time; what failed is tried again."""
    world.push({".sluice.yaml": "version: 1\nenvironments: {development: {path: deploy/dev}}\n"})
    assert await ask(world) == ("refused", "path_missing")
    assert await failed_at(world) == ("read_config", "path_missing")
    before = await steps(world)

    world.push({"deploy/dev/kustomization.yaml": "resources: [../development]\n"})
    assert await ask(world) == ("done", None)

    await enabled(world)
    after = await steps(world)
    for name in ("check_access", "check_cluster"):
        assert (after[name].started_at, after[name].duration_ms) == (before[name].started_at, before[name].duration_ms)


async def test_an_account_that_may_not_write(world: World) -> None:
    """Nobody could be told how it went, so nothing is begun. GitHub tells it by a refusal."""
    words = "Must have push access to view collaborator permission."
    world.forge.fail_next("GET", f"*/collaborators/{BOT}/permission", 403, message=words)

    assert await ask(world, "/enable development") == ("refused", "access_missing")

    assert await failed_at(world) == ("check_access", "access_missing")
    assert "give Sluice's account the right to write" in world.comment_text()
    assert await ask(world, "/enable development") == ("done", None)


async def test_a_field_that_is_not_kept(world: World) -> None:
    """Read back, the object lacks what was written: the step names the field, and what brings the definition up."""
    world.push({"deploy/staging/kustomization.yaml": None, "deploy/staging/config.yaml": None})
    assert await ask(world) == ("refused", "path_missing")  # so the cluster was looked at, and need not be again
    world.push({path: text for path, text in files().items() if "staging" in path})
    world.cluster.drop_field("Kustomization", "deletionPolicy")
    try:
        assert await ask(world) == ("refused", "not_kept")
    finally:
        world.cluster.restore_fields("Kustomization")

    assert await failed_at(world) == ("setup_gitops", "not_kept")
    assert "deletionPolicy" in world.comment_text()
    assert "brings Flux's CRDs up to date" in world.comment_text()
    assert await ask(world) == ("done", None)
    await enabled(world)


async def test_another_configuration_begins_anew(world: World) -> None:
    """What was checked for one configuration says nothing about another."""
    world.push({".sluice.yaml": "version: 1\nenvironments: {development: {path: deploy/dev}}\n"})
    await ask(world)
    before = await steps(world)

    world.push({".sluice.yaml": None})
    assert await ask(world) == ("done", None)

    assert (await steps(world))["check_access"].started_at != before["check_access"].started_at


async def test_a_broken_configuration_takes_no_name(world: World) -> None:
    """The project whose configuration could not be read gets the name that it says later."""
    world.push({".sluice.yaml": "version: 1\nprojects: [\n"})
    assert await ask(world) == ("refused", "config_invalid")
    assert await failed_at(world) == ("read_config", "config_invalid")

    world.push({".sluice.yaml": "version: 1\nprojects: {shop: {}}\n"})
    assert await ask(world) == ("done", None)

    assert (await project(world)).slug == "shop"


async def test_a_path_that_is_not_there_for_flux(world: World) -> None:
    """Flux cannot build it: the step fails in Flux's words; the push that mends it brings it to its end."""
    world.push({"deploy/staging/kustomization.yaml": "resources: [none.yaml]\n"})
    assert await ask(world) == ("done", None)
    assert await failed_at(world) == ("verify_resources", "build_failed")
    assert f"Kustomization `{world.namespace()}/staging`: kustomize build failed" in world.comment_text()
    assert "failed (`build_failed`): stopped at “Verify the resources”" in world.comment_text()

    world.push({"deploy/staging/kustomization.yaml": "resources: [config.yaml]\n"})
    await world.settled()

    await enabled(world)


class TestOtherClusters:
    """Clusters that lack something; each is a place of its own, for it does not get well again."""

    @pytest.fixture
    def environ(self, request: pytest.FixtureRequest) -> dict[str, str]:
        return {"SLUICE_GITHUB_GIT_USERNAME": request.node.name}

    async def test_missing_kinds(self, world: World) -> None:
        """Flux is not whole in this cluster: the command that mends it is shown."""
        world.cluster.delete("CustomResourceDefinition", "", "kustomizations.kustomize.toolkit.fluxcd.io")
        assert await ask(world) == ("refused", "kinds_missing")
        assert await failed_at(world) == ("check_cluster", "kinds_missing")
        assert "`sluice flux install`" in world.comment_text()

    async def test_an_older_definition(self, world: World) -> None:
        """A field that the cluster's CRD lacks is named, and nothing says that it was set up."""
        world.cluster.drop_field("Kustomization", "deletionPolicy")
        assert await ask(world) == ("refused", "crd_older")
        assert await failed_at(world) == ("check_cluster", "crd_older")
        assert "spec.deletionPolicy" in world.comment_text()

    async def test_missing_rights(self, world: World) -> None:
        """What Sluice may not do is listed, with where; nothing is written."""
        world.cluster.forbid("create", "rolebindings")
        assert await ask(world) == ("refused", "rights_missing")
        assert await failed_at(world) == ("check_cluster", "rights_missing")
        assert "`kubectl apply -f deploy/rbac.yaml`" in world.comment_text()


async def test_a_denied_namespace(world: World) -> None:
    """The API server's own words, for every environment that it is about; the others are made all the same."""
    world.cluster.fail_next(3, 403, match="rolebindings")
    assert await ask(world) == ("refused", "cluster_refused")
    assert await failed_at(world) == ("setup_gitops", "cluster_refused")

    assert await ask(world) == ("done", None)
    await enabled(world)


async def test_a_server_that_does_not_answer(world: World) -> None:
    """It is waited for, which the comment shows; after the step's patience it has failed."""
    world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.settled()
    world.cluster.fail_next(10_000, 503, match="git-credentials")
    world.may_log_errors = True
    try:
        world.write("/enable", by="alice")
        await world.until(lambda: "trying again" in world.comment_text())
        found = await project(world)
        await world.execute(
            sa.update(Step)
            .where(Step.project_id == found.id, Step.step == "setup_credentials")
            .values(started_at=now() - timedelta(hours=1))
        )
        await world.settled(hurry=True)
    finally:
        world.cluster._troubles.clear()
    assert await failed_at(world) == ("setup_credentials", "step_timed_out")


async def test_the_deadline_of_the_objects(world: World) -> None:
    """Nothing more happens: at the deadline the step has failed, and says what it waited for."""
    waits_for_a_workload(world)
    world.write("/enable development", by="alice")
    await world.until(lambda: "1 of 2 ready" in world.comment_text() and "GitOps is set up" in world.comment_text())
    found = await project(world)
    async with world.database.write() as session:
        query = sa.select(Step).where(Step.project_id == found.id, Step.step == "verify_resources")
        row = (await session.execute(query)).scalar_one()
        row.details = row.details | {"deadline": PAST.isoformat()}
    await world.until(lambda: "verify_timed_out" in world.comment_text())

    assert await failed_at(world) == ("verify_resources", "verify_timed_out")
    assert f"not ready in time: Kustomization `{found.namespace}/development`: " in world.comment_text()
    mend_the_workload(world)
    await world.settled()
    await enabled(world)


async def test_an_unreachable_git_server(world: World) -> None:
    """Flux cannot fetch, or has no room for it: in its words; when the server is back, /enable again goes through."""
    store, url = world.forge.store, world.forge.store.url
    store.url = "http://127.0.0.1:9"
    try:
        assert await ask(world) == ("done", None)
        assert await failed_at(world) == ("verify_resources", "source_failed")
    finally:
        store.url = url
    assert "unable to clone" in world.comment_text()

    await full_disk_of_flux(world)
    assert await ask(world) == ("done", None)
    await enabled(world)


async def full_disk_of_flux(world: World) -> None:
    """Where Flux fetches there is no room: in its words, and what helps; nothing is said to be completed."""
    source = world.place.town.flux._source
    fetch = source._fetch

    def no_room(*_: Any) -> Any:
        raise FetchError("unable to clone: write /tmp/gitrepository-1/pack: no space left on device")

    source._fetch = no_room
    try:
        assert await ask(world) == ("done", None)
        assert await failed_at(world) == ("verify_resources", "disk_full")
    finally:
        source._fetch = fetch
    assert "no space left on device" in world.comment_text()
    assert "**What to do:** make room on the disk of what is named" in world.comment_text()


class TestWrongCredential:
    """Flux was to be given a token that the forge does not know."""

    @pytest.fixture
    def environ(self) -> dict[str, str]:
        return {"SLUICE_GITHUB_GIT_TOKEN": "wrong"}

    async def test_wrong_credential(self, world: World) -> None:
        """It is tried before Flux gets it; nothing is made of it."""
        private = World(world.place, private=True)
        assert await ask(private) == ("refused", "credentials_invalid")

        assert await failed_at(private) == ("setup_credentials", "credentials_invalid")
        assert not private.cluster.list("Secret", f"project-{(await project(private)).id.hex[:8]}")
        await private.end()


# A repository without folders.


async def test_scaffold(world: World) -> None:
    """One pull request with folders and a configuration, also when asked twice; once merged, everything is Ready."""
    bare = World(world.place, {"README.md": "Hello\n"})
    assert await ask(bare) == ("refused", "path_missing")
    assert "`/enable --scaffold` opens a pull request" in bare.comment_text()

    for _ in range(2):
        assert await ask(bare, "/enable --scaffold") == ("refused", "scaffold_open")
        assert await failed_at(bare) == ("read_config", "scaffold_open")
    [opened] = bare.effects(kind="pull.opened")

    bare.forge.merge_pull_request(bare.repository, opened.about["number"], "alice")
    await bare.settled()
    assert await ask(bare) == ("done", None)
    await enabled(bare)
    files = bare.forge.store.files(bare.repository, bare.head())
    assert b"environments:" in files[".sluice.yaml"]
    for name in ENVIRONMENTS:
        found = bare.cluster.get("ConfigMap", f"{bare.namespace()}-{name}", "about")
        assert found is not None
        assert found["data"] == {"environment": name}
    await bare.end()


# An enabled project.


async def test_nothing_differs(world: World) -> None:
    """The second /enable looks at everything again and says that nothing differs."""
    await ask(world)
    first = await steps(world)
    assert await ask(world) == ("done", None)

    await enabled(world)
    assert "Nothing differs from before." in world.comment_text()
    assert all(row.started_at > first[name].started_at for name, row in (await steps(world)).items())


async def test_what_differs_is_shown_and_applied(world: World) -> None:
    """A changed field, a new environment, and one that is not named any more, which stays as it is."""
    await ask(world)
    lines = [
        "version: 1",
        "environments:",
        "  development: {interval: 5m}",
        "  staging: {}",
        "  testing: {path: deploy/staging}",
    ]
    world.push({".sluice.yaml": "\n".join([*lines, ""])})

    assert await ask(world) == ("done", None)

    text = world.comment_text()
    assert "- `testing` is new" in text
    assert "- `development`: `interval` from `10m` to `5m`" in text
    assert "- `production` is not in the configuration any more" in text
    found = world.object("Kustomization", "development")
    assert found is not None
    assert found["spec"]["interval"] == "5m"
    assert world.object("Kustomization", "production") is not None
    await enabled(world)


async def test_what_is_under_kustomization_is_in_the_spec(world: World) -> None:
    """The configuration's extras go into the Kustomization."""
    world.push({".sluice.yaml": "version: 1\nenvironments: {development: {kustomization: {force: true}}}\n"})
    assert await ask(world) == ("done", None)
    found = world.object("Kustomization", "development")
    assert found is not None
    assert found["spec"]["force"] is True


# Several projects.


def monorepo(*names: str) -> dict[str, Any]:
    """Projects with an environment each."""
    lines = ["version: 1", "projects:"]
    lines += [f"  {name}: {{environments: {{development: {{path: apps/{name}}}}}}}" for name in names]
    content: dict[str, Any] = {".sluice.yaml": "\n".join([*lines, ""])}
    for name in names:
        content[f"apps/{name}/kustomization.yaml"] = "resources: [config.yaml]\n"
        content[f"apps/{name}/config.yaml"] = files()["deploy/development/config.yaml"]
    return content


async def test_each_project_has_its_own_steps_and_namespace(world: World) -> None:
    """One comment shows them all; each has its own namespace and contexts."""
    world.push(monorepo("web", "shop"))
    assert await ask(world) == ("done", None)

    spaces = set()
    for name in ("web", "shop"):
        assert await states(world, name) == ["completed"] * 8
        spaces.add((await project(world, name)).namespace)
        assert f"✓ Set up {name}: all 8 steps" in world.comment_text()
        assert world.states(world.head(), f"{name}/development") == ["pending", "success"]
    assert len(spaces) == 2


async def test_one_project_fails_and_the_other_does_not(world: World) -> None:
    """A project whose folder is missing does not keep the other from being enabled."""
    world.push({path: text for path, text in monorepo("web", "shop").items() if not path.startswith("apps/web")})
    assert await ask(world) == ("refused", "path_missing")

    assert await states(world, "shop") == ["completed"] * 8
    assert (await states(world, "web"))[2] == "failed"
    text = world.comment_text()
    assert "**Setting up web failed**" in text
    assert "✓ Set up shop: all 8 steps" in text


async def test_a_target_with_a_project(world: World) -> None:
    """`project/environment` names one; the bare name of several is unclear."""
    world.push(monorepo("web", "shop"))
    assert await ask(world, "/enable development") == ("refused", "target_ambiguous")
    assert await ask(world, "/enable shop/development") == ("done", None)
    assert await states(world, "shop") == ["completed"] * 8


# Killed at any instruction.

SLICES = sample(2, 4)  # so that they can be spread
STRIDE = sample(50, 1) * SLICES  # there are about 250, at 2 s each
PATIENCE = sample(60, 300)  # seconds: all of them may be visited beside other work


@pytest.mark.long
@pytest.mark.thorough
@pytest.mark.timeout(sample(120, 7200))
@pytest.mark.parametrize("first", range(SLICES))
async def test_killed_at_any_step(world: World, first: int) -> None:
    """After a commit or an outside call: the same objects, one comment, no event twice, everything is completed."""
    world.may_log_errors = True
    world.forge.rate_limit = 1_000_000  # all of them together ask more of the forge than it allows in an hour
    for step in itertools.count(first * STRIDE // SLICES, STRIDE):
        one = World(world.place, files("development"))
        one.may_log_errors = True
        died = await _killed(one, step)
        if died:
            await one.kill()
            await one.rise()
        await one.settled(PATIENCE)
        await _the_same(one)
        await one.end()
        if not died:
            assert step > 60
            break


async def _killed(world: World, step: int) -> bool:
    """Enable in a new repository, dying at that step; False if it was over before."""
    world.open_pull_request({"topic.txt": "x"}, "alice")
    await world.settled(PATIENCE)
    world.place.life.dies_at(step)
    world.write("/enable development", by="alice")

    async def dead_or_done() -> bool:
        return world.place.life.dead or (bool(await world.runs("enable")) and await world.idle())

    await world.until(dead_or_done, PATIENCE)
    died = world.place.life.dead
    world.place.life.dies_at(None)
    return died


OBJECTS = (
    *("GitRepository P/branch-main", "Kustomization P/development", "Namespace P", "Namespace P-development"),
    *("RoleBinding P-development/sluice-development", "Secret P/git-credentials"),
    "ServiceAccount P/sluice-development",
)


async def _the_same(world: World) -> None:
    await enabled(world)
    found = await project(world)
    assert [run.code for run in await world.runs("enable")] == [None]
    told = [row.action for row in await world.rows(UnifiedEvent, UnifiedEvent.resource_id == found.id)]
    assert sorted(told) == ["project.enabled", "project.initialization.started"]
    made = [effect for effect in world.effects(kind="comment") if effect.kind == "comment.created"]
    assert len(made) == 1
    assert sorted(_objects(world, found)) == sorted(OBJECTS)
    assert len(await world.rows(GitopsResource, GitopsResource.project_id == found.id)) == 2
    assert len(await world.deployments()) == 1
    assert world.live() == "development"


def _objects(world: World, found: Project) -> Iterator[str]:
    kinds = ("Namespace", "Secret", "GitRepository", "Kustomization", "ServiceAccount", "RoleBinding")
    for kind in kinds:
        for one in world.cluster.list(kind, labels={"sluice/project": str(found.id)}):
            place = "/".join(part for part in (one["metadata"].get("namespace"), one["metadata"]["name"]) if part)
            yield f"{kind} {place.replace(found.namespace, 'P')}"
