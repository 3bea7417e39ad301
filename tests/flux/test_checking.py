"""Each thing that a cluster may lack is told apart, on the sandbox and on a real API server."""

from bot.core.checks import Check, Level, Wanted
from bot.flux.checking import check
from bot.flux.cluster import KubernetesCluster
from tests.flux.planes import Plane, RealPlane, SandboxPlane

EVERYTHING = Wanted(kinds=("GitRepository", "Kustomization", "HelmRelease", "HelmChart"))


def told(checks: list[Check], level: Level = Level.FAILED) -> list[tuple[str, str]]:
    return [(each.code, each.text) for each in checks if each.level is level]


def remedies(checks: list[Check], code: str) -> list[str]:
    return [each.remedy for each in checks if each.code == code and each.level is not Level.OK]


async def test_a_whole_cluster_has_everything(plane: Plane, cluster: KubernetesCluster) -> None:
    """Nothing is wrong, nothing is unknown: versions, fields, gate, policies and rights were all seen."""
    found = await check(cluster, Wanted())
    assert told(found) == told(found, Level.UNKNOWN) == told(found, Level.WARNING) == []
    texts = [each.text for each in found]
    assert "GitRepository is served as v1 with every field that Sluice writes" in texts
    assert "kustomize-controller v1.9.3" in texts
    assert "kustomize-controller runs with CancelHealthCheckOnNewRevision" in texts
    assert "the policy sluice-gate denies" in texts
    assert "Sluice has every right that it uses" in texts


async def test_helm_releases_need_more(plane: Plane, cluster: KubernetesCluster) -> None:
    """Their definitions and rights are there; where no helm-controller is to be seen, that is said, not guessed."""
    found = await check(cluster, EVERYTHING)
    assert told(found) == []
    if isinstance(plane, SandboxPlane):
        assert any(each.text.startswith("helm-controller v") for each in found)
        return
    [(code, text)] = told(found, Level.UNKNOWN)
    assert code == "version_unsupported"
    assert text == "the version of helm-controller cannot be seen: there is no Deployment flux-system/helm-controller"


async def test_a_field_of_the_config_that_no_definition_has(plane: Plane, cluster: KubernetesCluster) -> None:
    """What the config hands on to the spec is checked like what Sluice writes."""
    found = await check(cluster, Wanted(fields={"Kustomization": frozenset({"notYet"})}))
    assert told(found) == [("crd_older", "the definition of Kustomization is too old: it lacks spec.notYet")]


async def test_nobody_there(sandbox: SandboxPlane) -> None:
    """A cluster that cannot be reached, or refuses the credentials, is that and nothing else."""
    refused = sandbox.cluster.kubeconfig(sandbox.server.url)
    refused["users"][0]["user"]["token"] = "wrong"
    for kubeconfig in (refused, sandbox.cluster.kubeconfig("http://127.0.0.1:9")):
        cluster = KubernetesCluster.from_dict("default", kubeconfig)
        found = await check(cluster, Wanted())
        await cluster.close()
        assert [(each.code, each.good) for each in found] == [("cluster_unreachable", False)]
        assert "SLUICE_KUBECONFIG" in found[0].remedy


async def test_no_flux(sandbox: SandboxPlane) -> None:
    """Without any of the definitions there is no Flux; with one of them, a kind is missing."""
    cluster = sandbox.open()
    sandbox.cluster.delete("CustomResourceDefinition", "", "kustomizations.kustomize.toolkit.fluxcd.io")
    found = await check(cluster, Wanted())
    assert [code for code, _ in told(found)] == ["kinds_missing"]
    assert "kustomizations.kustomize.toolkit.fluxcd.io" in told(found)[0][1]
    sandbox.cluster.delete("CustomResourceDefinition", "", "gitrepositories.source.toolkit.fluxcd.io")
    found = await check(cluster, Wanted())
    await cluster.close()
    assert told(found) == [("flux_missing", "Flux is not installed: the cluster has none of its kinds")]
    assert remedies(found, "flux_missing") == ["sluice flux install"]


async def test_an_older_definition(sandbox: SandboxPlane) -> None:
    """The field that it lacks is named."""
    sandbox.cluster.drop_field("Kustomization", "deletionPolicy")
    cluster = sandbox.open()
    found = await check(cluster, Wanted())
    await cluster.close()
    assert told(found) == [("crd_older", "the definition of Kustomization is too old: it lacks spec.deletionPolicy")]


async def test_rights_are_asked_for_where_they_are_needed(sandbox: SandboxPlane) -> None:
    """What is not granted everywhere may be granted where it is used; what is missing is listed with its place."""
    sandbox.cluster.forbid("patch", "kustomizations", but=["project-1"])
    sandbox.cluster.forbid("delete", "rolebindings", but=["web-a"])
    sandbox.cluster.forbid("watch", "gitrepositories", but=["project-1"])
    cluster = sandbox.open()
    found = await check(cluster, Wanted(namespaces=("project-1",), targets=("web-a", "web-b")))
    await cluster.close()
    [(code, text)] = told(found)
    assert code == "rights_missing"
    assert text == (
        "Sluice may not: delete rolebindings.rbac.authorization.k8s.io in web-b, "
        "watch gitrepositories.source.toolkit.fluxcd.io"
    )
    assert remedies(found, "rights_missing") == ["kubectl apply -f deploy/rbac.yaml"]


async def test_what_may_not_be_read_is_unknown(sandbox: SandboxPlane) -> None:
    """Without the rights to look, nothing is guessed and nothing fails; a kind that is not there still shows."""
    for plural in ("customresourcedefinitions", "deployments", "validatingadmissionpolicies"):
        sandbox.cluster.forbid("get", plural)
    cluster = sandbox.open()
    found = await check(cluster, Wanted())
    assert told(found) == []
    assert {code for code, _ in told(found, Level.UNKNOWN)} == {"crd_older", "version_unsupported", "policy_missing"}
    sandbox.cluster.delete("CustomResourceDefinition", "", "kustomizations.kustomize.toolkit.fluxcd.io")
    found = await check(cluster, Wanted())
    await cluster.close()
    assert [code for code, _ in told(found)] == ["kinds_missing"]


async def test_the_gate_is_not_there(plane: Plane, cluster: KubernetesCluster) -> None:
    """A policy without its binding binds nobody; the remedy brings it back."""
    if isinstance(plane, RealPlane):
        with plane.plane.without_policies():
            found = await check(cluster, Wanted())
    else:
        plane.delete("ValidatingAdmissionPolicyBinding", "", "sluice-gate")
        found = await check(cluster, Wanted())
    assert ("policy_missing", "the binding sluice-gate is missing: the gate can be opened from a manifest") in told(
        found
    )
    assert set(remedies(found, "policy_missing")) == {"kubectl apply -f deploy/policies.yaml"}
