"""HelmReleases and their sources are accepted by the kinds' real definitions (no helm-controller runs here)."""

import pytest

from bot.core import helm
from bot.core.helm import Elsewhere, InRepository, Release
from bot.core.manifests import Manifest, Owner, kustomization_name
from bot.flux.cluster import KubernetesCluster

INSIDE = InRepository("charts/web", "branch-main", ("deploy/values.yaml", "deploy/production.yaml"))
REMOTE = Elsewhere("https://charts.example", ">=1.0.0 <2", "web", {"replicas": 2, "image": {"tag": "1.2"}}, 7)
REGISTRY = Elsewhere("oci://charts.example/web", "1.2.3", None, {}, 7)
RANGE = Elsewhere("oci://charts.example/web", "1.x || 2.x", None, {}, 7)


def written(owner: Owner) -> list[Manifest]:
    charts = (INSIDE, REMOTE, REGISTRY, RANGE)
    releases = [helm.helm_release(owner, Release(environment="web", chart=each, target="web")) for each in charts]
    return releases + [helm.chart_source(owner, "web", each) for each in (REMOTE, REGISTRY, RANGE)]


async def test_the_definitions_take_them(cluster: KubernetesCluster, owner: Owner) -> None:
    """Each field is declared, and each value is kept as it was written."""
    for manifest in written(owner):
        kept = await cluster.apply(manifest, dry=True)
        for field, value in manifest["spec"].items():
            found = kept.object["spec"][field]
            assert _within(value, found), (manifest["kind"], field, found)


def _within(wanted: object, found: object) -> bool:
    """What is there beside it are the server's defaults."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and _within(value, found[key]) for key, value in wanted.items())
    return wanted == found


async def test_what_is_written() -> None:
    """A chart in the repository follows its commits; the release is kept where the account has its rights."""
    owner = Owner(project=helm.manifests.UUID(int=1), namespace="project-1")
    found = helm.helm_release(owner, Release(environment="Web App", chart=INSIDE, target="web-production"))
    assert found["metadata"]["name"] == kustomization_name("Web App")
    assert found["spec"]["chart"]["spec"] == {
        "chart": "./charts/web",
        "sourceRef": {"kind": "GitRepository", "name": "branch-main"},
        "reconcileStrategy": "Revision",
        "valuesFiles": ["./deploy/values.yaml", "./deploy/production.yaml"],
        "interval": "10m",
    }
    assert found["spec"]["targetNamespace"] == found["spec"]["storageNamespace"] == "web-production"
    assert "suspend" not in found["spec"]
    assert "annotations" not in found["metadata"]


@pytest.mark.parametrize(
    ("chart", "kind", "spec"),
    [
        (REMOTE, "HelmRepository", {"url": "https://charts.example", "interval": "10m"}),
        (REGISTRY, "OCIRepository", {"url": "oci://charts.example/web", "interval": "10m", "ref": {"tag": "1.2.3"}}),
        (
            RANGE,
            "OCIRepository",
            {"url": "oci://charts.example/web", "interval": "10m", "ref": {"semver": "1.x || 2.x"}},
        ),
    ],
)
async def test_where_a_chart_comes_from(chart: Elsewhere, kind: str, spec: dict[str, object]) -> None:
    """The values and the number of the deployment that wrote them are in the release."""
    owner = Owner(project=helm.manifests.UUID(int=1), namespace="project-1")
    found = helm.chart_source(owner, "web", chart)
    assert (found["kind"], found["metadata"]["name"], found["spec"]) == (kind, "chart-web", spec)
    release = helm.helm_release(owner, Release(environment="web", chart=chart, target="web"))
    assert release["metadata"]["annotations"] == {"sluice/deployment": "7"}
    assert release["spec"].get("values", {}) == chart.values
