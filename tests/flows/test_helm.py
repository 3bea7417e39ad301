"""Environments that are Helm charts: in the repository, or kept elsewhere with values in the repository."""

from typing import Any

import pytest

from bot.sandbox.flux_charts import Shelf
from tests.flows.test_disable import rows
from tests.world import World

pytestmark = pytest.mark.thorough

CHARTS = "https://charts.example.org"
IMAGES = "oci://charts.example.org/web"
CONFIG_MAP = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\n"
    "data: {said: '{{ .Values.said }}', release: '{{ .Release.Name }}'}\n"
)
WORKLOAD = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n"
    "  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
    "    spec: {containers: [{name: web, image: '{{ .Values.image }}'}]}\n"
)
CLUSTER_WIDE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\nrules: []\n"


def chart(version: str = "1.2.0", said: str = "default") -> dict[str, str]:
    """A chart's files, from its own folder."""
    return {
        "Chart.yaml": f"apiVersion: v2\nname: web\nversion: {version}\n",
        "values.yaml": f"said: {said}\nimage: web:1\n",
        "templates/config.yaml": CONFIG_MAP,
        "templates/web.yaml": WORKLOAD,
    }


def inside(**values: str) -> dict[str, bytes | str | None]:
    """A repository with the chart, its values, and a configuration for development."""
    config = "version: 1\nenvironments:\n  development:\n    timeout: 30s\n"
    config += "    helm: {chart: charts/web, values: [charts/web/values.yaml, deploy/values.yaml]}\n"
    found: dict[str, bytes | str | None] = {f"charts/web/{name}": text for name, text in chart().items()}
    return {**found, ".sluice.yaml": config, **value("first")}


def value(said: str, image: str = "web:1") -> dict[str, bytes | str | None]:
    return {"deploy/values.yaml": f"said: {said}\nimage: {image}\n"}


def elsewhere(chart: str) -> dict[str, bytes | str | None]:
    config = "version: 1\nenvironments:\n  development:\n    timeout: 30s\n"
    return {".sluice.yaml": f"{config}    helm: {{chart: {chart}, values: [deploy/values.yaml]}}\n", **value("first")}


def shelf(*versions: str) -> dict[str, dict[str, bytes]]:
    return {version: {path: text.encode() for path, text in chart(version).items()} for version in versions}


@pytest.fixture
def shelves(world: World) -> Any:
    """Where charts are kept elsewhere."""
    found: dict[str, Shelf] = world.place.town.flux.charts
    found[CHARTS] = {"web": shelf("1.0.0", "2.0.0")}
    found[IMAGES] = {"": shelf("1.0.0", "2.0.0")}
    yield found
    found.clear()


class Chart:
    """What there is of this world's chart in the cluster."""

    def __init__(self, world: World, namespace: str) -> None:
        self.world, self.namespace = world, namespace

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.world.cluster.get(kind, self.namespace, name)

    def live(self) -> str:
        found = self.world.cluster.get("ConfigMap", f"{self.namespace}-development", "config")
        return str(found["data"]["said"]) if found else ""


async def enabled(world: World, content: dict[str, bytes | str | None]) -> Chart:
    world.push(content)
    await world.enabled("development")
    [project], _, _ = await rows(world)
    assert project.status == "active", world.comment_text()
    return Chart(world, project.namespace)


@pytest.mark.long
async def test_a_chart_in_the_repository(world: World) -> None:
    """Enabled, read back, followed; what it is not made of changes nothing."""
    found = await enabled(world, inside())

    release = found.get("HelmRelease", "development")
    assert release is not None
    assert release["spec"]["chart"]["spec"]["sourceRef"] == {"kind": "GitRepository", "name": "branch-main"}
    assert found.get("Kustomization", "development") is None
    assert found.live() == "first"
    _, _, resources = await rows(world)
    assert {(row.type, row.status) for row in resources} == {("git-repository", "ready"), ("helm-release", "ready")}
    assert "1 GitRepository, 1 HelmRelease" in world.comment_text() or "HelmRelease `" in world.comment_text()

    sha = world.push(value("second"))
    await world.settled()
    assert world.states(sha) == ["pending", "success"]
    assert found.live() == "second"
    other = world.push({"README.md": "nothing"})
    await world.settled()
    assert world.raw_statuses(other, "development") == []
    [row] = [row for row in (await rows(world))[2] if row.type == "helm-release"]
    assert row.last_applied_revision in (f"1.2.0+{sha[:12]}", f"1.2.0+{other[:12]}")
    world.open_pull_request({"a.txt": "x"})
    await world.comment("/status")
    assert f"{sha[:7]}` live; ready; follows `main`" in world.comment_text()
    await world.comment("/sync development")
    assert await world.results("sync") == [("done", None)]


async def test_a_release_that_fails(world: World) -> None:
    """What cannot be rendered Flux tries for ever: at the second time the deployment has failed, in Flux's words."""
    found = await enabled(world, inside())

    sha = world.push({"charts/web/templates/config.yaml": CONFIG_MAP.replace(".Values.said", ".Values.unsaid")})
    await world.settled()

    assert world.states(sha) == ["pending", "failure"]
    [deployment] = await world.deployments(sha)
    assert deployment.reason == "apply_failed"
    assert "nil pointer evaluating .Values.unsaid" in (deployment.message or "")
    assert found.live() == "first"
    refused = world.push({"charts/web/templates/config.yaml": CONFIG_MAP, "charts/web/templates/a.yaml": CLUSTER_WIDE})
    await world.settled()
    [deployment] = await world.deployments(refused)
    assert deployment.reason in ("stalled", "apply_failed")
    assert "is forbidden" in (deployment.message or "")
    mended = world.push({"charts/web/templates/a.yaml": None, **value("mended")})
    await world.settled()
    assert world.states(mended) == ["pending", "success"]
    assert found.live() == "mended"


async def test_a_chart_that_cannot_be_packaged(world: World) -> None:
    """The HelmChart's words, at once: what cannot be packaged at a commit cannot be at the next try."""
    found = await enabled(world, inside())

    sha = world.push({"deploy/values.yaml": None})
    await world.settled()

    assert [row.reason for row in await world.deployments(sha)] == ["build_failed"]
    assert "no values file found at path 'deploy/values.yaml'" in world.statuses(sha)[-1]
    assert found.live() == "first"


@pytest.mark.long
async def test_pinned_to_a_change(world: World) -> None:
    """`/deploy` goes by the environment's own GitRepository; closed, it follows again."""
    found = await enabled(world, inside())
    head = world.open_pull_request(value("topic"))
    await world.settled()

    await world.comment("/deploy development")

    assert found.live() == "topic"
    release = found.get("HelmRelease", "development")
    assert release is not None
    assert release["spec"]["chart"]["spec"]["sourceRef"]["name"] == "pin-development"
    pin = found.get("GitRepository", "pin-development")
    assert pin is not None
    assert pin["spec"]["ref"]["commit"] == head
    world.forge.close_pull_request(world.repository, world.number, by="dave")
    await world.settled()
    assert found.live() == "first"
    assert found.get("GitRepository", "pin-development") is None


@pytest.mark.parametrize("prune", [False, True])
async def test_taken_away(world: World, prune: bool) -> None:
    """Suspended, read back, deleted: what runs keeps running, and no HelmChart is left; or uninstalled with it."""
    found = await enabled(world, inside())
    words = "/disable"
    if prune:
        await world.comment("/disable --prune", by="alice")
        assert "these 2 objects would be removed" in world.comment_text()
        words = "/disable --prune --confirm 2"

    await world.comment(words, by="alice")

    assert (await world.results("disable"))[-1] == ("done", None), world.comment_text()
    assert await rows(world) == ([], [], [])
    kinds = ("HelmRelease", "HelmChart", "GitRepository", "Secret", "ServiceAccount")
    assert [one for kind in kinds for one in world.cluster.list(kind, found.namespace)] == []
    assert found.live() == ("" if prune else "first")


@pytest.mark.parametrize(
    ("wanted", "kind", "later"),
    [
        (f"{{repository: '{CHARTS}', name: web, version: 1.0.0}}", "HelmRepository", "2.0.0"),
        (f"{{repository: '{IMAGES}', version: 1.0.0}}", "OCIRepository", "2.0.0"),
    ],
)
async def test_a_chart_from_elsewhere(world: World, shelves: Any, wanted: str, kind: str, later: str) -> None:
    """Each deployment writes the values of its commit; another version comes by `/enable`; Flux gets nothing of Git."""
    found = await enabled(world, elsewhere(wanted))

    assert found.live() == "first"
    assert world.cluster.list("GitRepository", found.namespace) == []
    assert found.get(kind, "chart-development") is not None
    release = found.get("HelmRelease", "development")
    assert release is not None
    assert release["spec"]["values"] == {"said": "first", "image": "web:1"}
    assert release["metadata"]["annotations"]["sluice/deployment"] == "1"
    sha = world.push(value("second"))
    await world.settled()
    assert world.states(sha) == ["pending", "success"]
    assert found.live() == "second"

    world.push(elsewhere(wanted.replace("1.0.0", later)) | value("second"))
    await world.comment("/enable development", by="alice")
    release = found.get("HelmRelease", "development")
    assert release is not None
    assert release["status"]["history"][0]["chartVersion"].startswith(later)
    assert found.live() == "second"

    head = world.open_pull_request(value("topic"))
    await world.settled()
    await world.comment("/deploy development")
    assert world.states(head)[-1] == "success"
    assert found.live() == "topic"
    world.push(value("third"))
    await world.settled()
    assert found.live() == "topic"
    world.forge.close_pull_request(world.repository, world.number, by="dave")
    await world.settled()
    assert found.live() == "third"
    world.open_pull_request({"b.txt": "x"}, branch="another")
    await world.comment("/disable", by="alice")
    assert await rows(world) == ([], [], [])
    assert found.live() == "third"


async def test_a_release_that_another_hand_changed(world: World, shelves: Any) -> None:
    """Told once, on the commit and in the comment, like a pin that moved; whoever puts it back is believed."""
    found = await enabled(world, elsewhere(f"{{repository: '{CHARTS}', name: web, version: 1.0.0}}"))
    head, said = world.head(), world.statuses(world.head())[-1]

    world.may_end_twice = True
    for text, who in (("by hand", "kubectl-edit"), ("first", "kubectl-edit")):
        spec = {"values": {"said": text}}
        world.cluster.patch("HelmRelease", found.namespace, "development", {"spec": spec}, who)
        await world.until(lambda text=text: ("gate_broken" in world.statuses(head)[-1]) == (text == "by hand"))
        await world.settled()
        assert ("another hand changed the chart or the values" in world.comment_text()) == (text == "by hand")

    [broken], [_] = await world.events("gate.broken"), await world.events("gate.mended")
    assert (broken.actor, broken.severity) == ("kubectl-edit", "critical")
    assert (broken.details["wanted"], broken.details["number"]) == (head, 1)
    assert world.statuses(head)[-1] == said
    sha = world.push(value("second"))
    await world.settled()
    assert [row.reason for row in await world.deployments(sha)] == ["field_conflict"]


async def test_values_that_are_none(world: World, shelves: Any) -> None:
    """A file of values that holds no mapping is refused with its place; what runs stays."""
    found = await enabled(world, elsewhere(f"{{repository: '{CHARTS}', name: web, version: 1.0.0}}"))

    sha = world.push({"deploy/values.yaml": "- a list\n"})
    await world.settled()

    assert [row.reason for row in await world.deployments(sha)] == ["values_invalid"]
    assert found.live() == "first"


async def test_another_kind_is_another_environment(world: World) -> None:
    """What applies an environment stays of its kind; charts that are missing are named."""
    await world.enabled("development")
    world.push(inside())
    await world.comment("/enable development", by="alice")
    assert (await world.results("enable"))[-1] == ("refused", "environment_moved")
    world.push({"charts/web/Chart.yaml": None, "deploy/values.yaml": None})
    await world.comment("/enable development", by="alice")
    assert (await world.results("enable"))[-1] == ("refused", "path_missing")
    assert "`charts/web/Chart.yaml`" in world.comment_text()
    assert "`deploy/values.yaml`" in world.comment_text()
