"""`/enable` on the real servers: what is in the cluster afterwards, who may do what there, and what people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from kubernetes.client import ApiException

from tests.e2e.harness import ENVIRONMENTS, Shop, Sluice
from tests.servers.objects import Object

pytestmark = pytest.mark.e2e

KINDS = ("Namespace", "Secret", "ServiceAccount", "RoleBinding", "GitRepository", "Kustomization")
MANAGED = "app.kubernetes.io/managed-by=sluice"


class Enabled:
    """A repository that was connected by the command line and enabled by one comment."""

    def __init__(self, sluice: Sluice) -> None:
        self.shop = Shop(sluice, hook=False)
        self.told = sluice.connect(self.shop.repository)
        self.number = self.shop.enable()
        self.namespace = self.shop.namespace
        head = self.shop.head()
        self.said = {name: self.shop.statuses(head, name) for name in ENVIRONMENTS}

    def objects(self) -> dict[tuple[str, str, str], Object]:
        """Everything that Sluice labelled as this project's, by kind, namespace and name."""
        (project,) = {self.shop.source()["metadata"]["labels"]["sluice/project"]}
        found = {}
        for kind in KINDS:
            for each in self.shop.plane.admin.list(kind, selector=f"sluice/project={project}"):
                metadata = each["metadata"]
                found[kind, metadata.get("namespace", ""), metadata["name"]] = each
        return found


@pytest.fixture(scope="module")
def enabled(sluice: Sluice) -> Enabled:
    """One for all tests here: none of them changes it for the others."""
    return Enabled(sluice)


def holds(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; the API server adds defaults of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(holds(found.get(key), value) for key, value in wanted.items())
    return bool(found == wanted)


def test_every_object_is_there(enabled: Enabled) -> None:
    """One shared source, and an account, a binding, a namespace and a Kustomization for each environment."""
    ours = enabled.namespace
    wanted = {("Namespace", "", ours), ("Secret", ours, "git-credentials"), ("GitRepository", ours, "branch-main")}
    for name in ENVIRONMENTS:
        target = f"{ours}-{name}"
        wanted |= {("Namespace", "", target), ("Kustomization", ours, name)}
        wanted |= {("ServiceAccount", ours, f"sluice-{name}"), ("RoleBinding", target, f"sluice-{name}")}

    assert set(enabled.objects()) == wanted
    for key, each in enabled.objects().items():
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "sluice", key
        assert "sluice" in {field["manager"] for field in each["metadata"]["managedFields"]}, key


def test_flux_has_what_the_design_says(enabled: Enabled) -> None:
    """Flux's real schemas took each field; nothing was dropped."""
    shop, ours = enabled.shop, enabled.namespace
    url, secret = shop.gitea.clone_url(shop.repository), {"name": "git-credentials"}
    source = {"url": url, "interval": "10m", "ref": {"branch": "main"}, "secretRef": secret}
    assert holds(shop.source()["spec"], source)
    for name in ENVIRONMENTS:
        spec = {
            "path": f"./deploy/{name}",
            "prune": True,
            "wait": True,
            "interval": "10m",
            "retryInterval": "30s",
            "timeout": "5m",
            "deletionPolicy": "Orphan",
            "targetNamespace": f"{ours}-{name}",
            "serviceAccountName": f"sluice-{name}",
            "sourceRef": {"kind": "GitRepository", "name": "branch-main"},
        }
        found = shop.kustomization(name)
        assert holds(found["spec"], spec)
        assert "suspend" not in _fields_of_sluice(found)["f:spec"]


def _fields_of_sluice(found: Object) -> Object:
    managed = found["metadata"]["managedFields"]
    return next(dict(each["fieldsV1"]) for each in managed if each["manager"] == "sluice" and "subresource" not in each)


def test_everything_runs(enabled: Enabled) -> None:
    """Flux applied the head, and each environment's own Deployment is available."""
    shop, head = enabled.shop, enabled.shop.head()
    for name in ENVIRONMENTS:
        assert shop.live(name) == head
        deployment, config = shop.in_target(name, "Deployment", "web"), shop.in_target(name, "ConfigMap", "settings")
        assert deployment is not None
        assert deployment["status"]["availableReplicas"] == 1
        assert config is not None
        assert config["data"]["environment"] == name


def may(enabled: Enabled, environment: str, verb: str, resource: str, namespace: str) -> bool:
    """What the API server says about an environment's account; the namespace "" is all of them."""
    group, _, plural = resource.rpartition("/")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": plural}
    user = f"system:serviceaccount:{enabled.namespace}:sluice-{environment}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{enabled.namespace}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {"user": user, "groups": groups, "resourceAttributes": asked},
    }
    resource_ = enabled.shop.plane.admin.resource("SubjectAccessReview", "authorization.k8s.io/v1")
    return bool(resource_.create(body=review).to_dict()["status"]["allowed"])


FLUX = (
    *("kustomize.toolkit.fluxcd.io/kustomizations", "source.toolkit.fluxcd.io/gitrepositories"),
    *("helm.toolkit.fluxcd.io/helmreleases", "source.toolkit.fluxcd.io/helmcharts"),
)
RIGHTS = ("rbac.authorization.k8s.io/rolebindings", "rbac.authorization.k8s.io/roles")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_account_has_rights_in_its_target_namespace_only(enabled: Enabled, environment: str) -> None:
    """Workloads there; nothing of Flux's, no roles, and nothing at all elsewhere."""
    ours = enabled.namespace
    target = f"{ours}-{environment}"
    others = [f"{ours}-{each}" for each in ENVIRONMENTS if each != environment]
    for resource in ("configmaps", "secrets", "apps/deployments"):
        for verb in ("create", "patch", "delete"):
            assert may(enabled, environment, verb, resource, target)
            for elsewhere in (*others, ours, "default", "kube-system", "flux-system", "sluice-system", ""):
                assert not may(enabled, environment, verb, resource, elsewhere), (verb, resource, elsewhere)
    for resource in (*FLUX, *RIGHTS):
        for verb in ("get", "create", "patch", "delete"):
            for place in (target, ours, *others, ""):
                assert not may(enabled, environment, verb, resource, place), (verb, resource, place)


def test_an_account_is_refused_elsewhere(enabled: Enabled) -> None:
    """Not only by its own account: the API server turns real requests down."""
    ours = enabled.namespace
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{ours}"]
    account = enabled.shop.plane.objects_as(f"system:serviceaccount:{ours}:sluice-development", groups)
    for place, allowed in ((f"{ours}-development", True), (f"{ours}-production", False), (ours, False)):
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": place}}
        if allowed:
            account.apply(config)
            account.delete("ConfigMap", "probe", place)
            continue
        with pytest.raises(ApiException, match="403"):
            account.apply(config)


def test_statuses_come_in_order(enabled: Enabled) -> None:
    """Pending as often as it may be, and one last word; nothing is said of the pull request's own head."""
    shop, head = enabled.shop, enabled.shop.head()
    assert shop.contexts(head) == {f"sluice/{name}" for name in ENVIRONMENTS}
    for name in ENVIRONMENTS:
        states, texts = zip(*enabled.said[name], strict=True)
        assert states == ("pending",) * (len(states) - 1) + ("success",)
        assert texts[0] == f"Queued: {head[:7]}"
        assert texts[-1].startswith(f"Live: {head[:7]} in ")
        assert all(text.startswith(f"Reconciling {head[:7]}") for text in texts[1:-1])  # what is over is not said
    pull = shop.owner.pull(shop.repository, enabled.number)
    assert shop.contexts(pull["head"]["sha"]) == set()


def test_there_is_one_comment(enabled: Enabled) -> None:
    """It shows each environment, and what was made."""
    shop, head = enabled.shop, enabled.shop.head()
    for name in ENVIRONMENTS:
        shop.answered(enabled.number, f"| ✓ | {name} | live | `{head[:7]}` | follows main |")
    (body,) = shop.answers(enabled.number)
    for name in ENVIRONMENTS:
        assert f"Kustomization `{enabled.namespace}/{name}`" in body
    assert f"- ✓ `/enable` by {shop.owner.name}" in body


def test_the_hook_is_the_repositorys_own(enabled: Enabled) -> None:
    """`connect` says what it registered; Gitea delivers there, and every delivery is taken."""
    (hook,) = enabled.shop.owner.hooks(enabled.shop.repository)
    assert hook["config"]["url"].startswith(f"{enabled.shop.sluice.url}/webhooks/gitea/")
    assert hook["config"]["url"] in enabled.told.replace("\n", "")

    def delivered() -> bool:
        told = enabled.shop.gitea.deliveries(hook["id"])
        return bool(told) and all(each["succeeded"] and each["response"]["status"] == 202 for each in told)

    enabled.shop.until(delivered, "every delivery has its 202")


def said_twice(shop: Shop, environment: str) -> None:
    """The second time is told as well: queued, and live at once."""
    head = shop.head()
    shop.until(
        lambda: [state for state, _ in shop.statuses(head, environment)].count("success") == 2, f"{environment} twice"
    )


def test_enabling_again_changes_nothing(enabled: Enabled) -> None:
    """Not one object is written: each has the resource version that it had."""
    shop = enabled.shop

    def versions() -> dict[tuple[str, str, str], tuple[str, str, int | None]]:
        return {
            key: (each["metadata"]["uid"], each["metadata"]["resourceVersion"], each["metadata"].get("generation"))
            for key, each in enabled.objects().items()
        }

    before = versions()
    shop.say(enabled.number, "/enable")
    shop.until(lambda: shop.answers(enabled.number)[0].count("GitOps is set up") == 2, "a second answer")
    for name in ENVIRONMENTS:
        said_twice(shop, name)

    assert versions() == before
    assert len(shop.answers(enabled.number)) == 1


def test_a_writer_cannot_enable(shop: Shop) -> None:
    """Setting up is for administrators; nothing is made."""
    number = shop.pull()
    shop.say(number, "/enable", by=shop.writer)

    body = shop.answered(number, "not_permitted")

    assert "this needs the role admin; you have deployer" in body
    url = shop.gitea.clone_url(shop.repository)
    assert not [each for each in shop.plane.admin.list("GitRepository", selector=MANAGED) if each["spec"]["url"] == url]
    assert shop.contexts(shop.head()) == set()
