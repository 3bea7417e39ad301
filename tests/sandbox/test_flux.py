"""The sandbox's Flux says and does what the real controllers say and do; the texts here are theirs."""

from __future__ import annotations

import base64
import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bot.sandbox.cluster import SandboxCluster
from bot.sandbox.flux import Fetched, FetchError, SandboxFlux
from bot.sandbox.flux_build import BuildError, build, folder
from bot.sandbox.flux_text import duration, seconds

Json = dict[str, Any]
NS = "project-abcd1234"
TARGET = f"{NS}-dev"
URL = "http://forge/acme/web.git"
DEADLINE = 5.0
SHAS = [f"{n:040x}" for n in range(1, 20)]
Files = Mapping[str, str]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "acme/web:TAG"}]}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {a: b}\n"


def config(name: str) -> str:
    return CONFIG.replace("NAME", name)


def web(tag: str = "1.0") -> str:
    return DEPLOYMENT.replace("TAG", tag)


class Repository:
    """Commits on branches, and what was asked for."""

    def __init__(self) -> None:
        self.heads: dict[str, str] = {}
        self.trees: dict[str, Files] = {}
        self.asked: list[tuple[str, tuple[str, str] | None, str | None, str | None]] = []
        self.password: tuple[str, str] | None = None

    def push(self, files: Files, branch: str = "main") -> str:
        sha = SHAS[len(self.trees)]
        self.trees[sha] = files
        self.heads[branch] = sha
        return sha

    def fetch(self, url: str, login: tuple[str, str] | None, branch: str | None, commit: str | None) -> Fetched:
        self.asked.append((url, login, branch, commit))
        if self.password and login != self.password:
            raise FetchError(f"unable to clone '{url}': authentication required: Unauthorized")
        if branch and branch not in self.heads:
            raise FetchError(f"unable to clone '{url}': couldn't find remote ref \"refs/heads/{branch}\"")
        sha = commit or self.heads[str(branch)]
        if sha not in self.trees:
            raise FetchError(f"unable to resolve commit object for '{sha}': object not found")
        files = {path: text.encode() for path, text in self.trees[sha].items()}
        return Fetched(f"{branch}@sha1:{sha}" if branch else f"sha1:{sha}", files)


class World:
    """A cluster with Flux and a project in it."""

    def __init__(self, **options: Any) -> None:
        self.cluster = SandboxCluster()
        self.repository = Repository()
        self.flux = SandboxFlux(self.cluster, self.repository.fetch, **options)
        self.tokens = itertools.count()
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TARGET}})

    def apply(self, obj: Json) -> Json:
        return self.cluster.apply(obj, "sluice")

    def account(self, role: str = "sluice-deployer", namespace: str = TARGET) -> None:
        meta = {"name": "sluice-dev", "namespace": NS}
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
        self.bind(role, namespace)

    def bind(self, role: str = "sluice-deployer", namespace: str = TARGET) -> None:
        subject = {"kind": "ServiceAccount", "name": "sluice-dev", "namespace": NS}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        meta = {"name": "sluice-dev", "namespace": namespace}
        self.apply({**binding, "metadata": meta, "roleRef": ref, "subjects": [subject]})

    def source(self, name: str = "main", **spec: Any) -> Json:
        wanted = {"interval": "10m", "url": URL, "ref": {"branch": "main"}, **spec}
        meta = {"name": name, "namespace": NS}
        kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository"}
        return self.apply({**kind, "metadata": meta, "spec": wanted})

    def kustomization(self, name: str = "dev", **spec: Any) -> Json:
        wanted = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "main"}}
        wanted |= {"path": "deploy/dev", "targetNamespace": TARGET, "timeout": "5m", "retryInterval": "30s", **spec}
        meta = {"name": name, "namespace": NS}
        kind = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization"}
        return self.apply({**kind, "metadata": meta, "spec": {k: v for k, v in wanted.items() if v is not None}})

    def request(self, kind: str, name: str) -> str:
        token = f"token-{next(self.tokens)}"
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}}
        self.cluster.patch(kind, NS, name, patch, "flux")
        return token

    def wait(self, kind: str, name: str, test: Callable[[Json], bool], namespace: str = NS) -> Json:
        """The object as soon as it passes, looking again at every change."""
        return self.cluster.wait(kind, namespace, name, test, DEADLINE)

    def ready(self, name: str = "dev", reason: str = "ReconciliationSucceeded", kind: str = "Kustomization") -> Json:
        """Wait for a Ready condition of the present generation with this reason."""

        def settled(obj: Json) -> bool:
            current = condition(obj)["observedGeneration"] == obj["metadata"]["generation"]
            return current and condition(obj)["reason"] == reason

        return self.wait(kind, name, lambda obj: bool(condition(obj)) and settled(obj))

    def at(self, sha: str, name: str = "dev") -> Json:
        return self.wait(
            "Kustomization",
            name,
            lambda obj: (
                obj.get("status", {}).get("lastAppliedRevision", "").endswith(sha)
                and condition(obj)["status"] == "True"
            ),
        )


def condition(obj: Json, kind: str = "Ready") -> Json:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def plain(text: str) -> str:
    """Without the name of Flux's temporary folder, and without how long something took."""
    return re.sub(r"after [\d.µmsh]+:", "after TIME:", re.sub(r"/tmp/kustomization-\d+", "/tmp/K", text))


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(**getattr(request, "param", {}))
    with made.flux:
        yield made


def test_a_push_goes_live_when_the_source_is_asked(world: World) -> None:
    first = world.repository.push({"deploy/dev/app.yaml": web()})
    world.source()
    world.kustomization(wait=True)
    obj = world.ready()
    assert obj["status"]["lastAppliedRevision"] == f"main@sha1:{first}"
    assert condition(obj)["message"] == f"Applied revision: main@sha1:{first}"
    assert condition(obj, "Healthy")["reason"] == "Succeeded"
    assert not condition(obj, "Reconciling")
    assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"] == 1
    assert obj["status"]["inventory"] == {"entries": [{"id": f"{TARGET}_web_apps_Deployment", "v": "v1"}]}
    assert obj["status"]["history"][0]["lastReconciledStatus"] == "ReconciliationSucceeded"
    assert obj["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
    assert world.cluster.get("Deployment", TARGET, "web")["metadata"]["labels"] == {
        "kustomize.toolkit.fluxcd.io/name": "dev",
        "kustomize.toolkit.fluxcd.io/namespace": NS,
    }

    second = world.repository.push({"deploy/dev/app.yaml": web("1.1")})
    started = time.monotonic()
    token = world.request("GitRepository", "main")
    world.at(second)
    assert time.monotonic() - started < 1.0
    assert world.cluster.get("GitRepository", NS, "main")["status"]["lastHandledReconcileAt"] == token


def test_a_source_stores_what_it_fetched(world: World) -> None:
    sha = world.repository.push({"a": "b"})
    world.source()
    obj = world.ready("main", "Succeeded", "GitRepository")
    text = f"stored artifact for revision 'main@sha1:{sha}'"
    assert condition(obj)["message"] == condition(obj, "ArtifactInStorage")["message"] == text
    assert obj["status"]["observedGeneration"] == 1
    artifact = obj["status"]["artifact"]
    assert artifact["revision"] == f"main@sha1:{sha}"
    assert artifact["path"] == f"gitrepository/{NS}/main/{sha}.tar.gz"
    assert artifact["url"].endswith(artifact["path"])
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", artifact["digest"])
    assert not condition(obj, "Reconciling")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"ref": {"branch": "gone"}},
            f"unable to clone '{URL}': couldn't find remote ref \"refs/heads/gone\"",
        ),
        (
            {"ref": {"branch": "main", "commit": "f" * 40}},
            f"unable to resolve commit object for '{'f' * 40}': object not found",
        ),
    ],
)
def test_a_failing_source_keeps_its_artifact(world: World, spec: Json, problem: str) -> None:
    sha = world.repository.push({"a": "b"})
    world.source()
    world.ready("main", "Succeeded", "GitRepository")
    world.source(**spec)
    obj = world.ready("main", "GitOperationFailed", "GitRepository")
    text = f"failed to checkout and determine revision: {problem}"
    assert (condition(obj)["status"], condition(obj)["message"]) == ("False", text)
    assert condition(obj, "FetchFailed")["message"] == text
    assert condition(obj, "Reconciling")["reason"] == "ProgressingWithRetry"
    assert condition(obj, "ArtifactInStorage")["status"] == "True"
    assert obj["status"]["artifact"]["revision"] == f"main@sha1:{sha}"
    assert obj["status"]["observedGeneration"] == 1
    assert obj["metadata"]["generation"] == 2


def test_a_pin_is_a_branch_and_a_commit(world: World) -> None:
    first = world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.repository.push({"deploy/dev/b.yaml": config("b")})
    world.source(ref={"branch": "main", "commit": first})
    world.kustomization()
    world.at(first)
    assert world.repository.asked[0][2:] == ("main", first)
    assert world.cluster.get("ConfigMap", TARGET, "a")
    assert not world.cluster.get("ConfigMap", TARGET, "b")
    world.source(ref={"commit": first})
    world.wait("GitRepository", "main", lambda o: o["status"]["artifact"]["revision"] == f"sha1:{first}")


def test_credentials_come_from_the_secret(world: World) -> None:
    world.repository.push({"a": "b"})
    world.repository.password = ("bot", "right")
    world.source(secretRef={"name": "git"})
    obj = world.ready("main", "AuthenticationFailed", "GitRepository")
    missing = f"failed to get secret '{NS}/git': "
    assert condition(obj)["message"] == missing * 2 + 'secrets "git" not found'
    for password, reason in (("wrong", "GitOperationFailed"), ("right", "Succeeded")):
        data = {"username": base64.b64encode(b"bot").decode(), "password": base64.b64encode(password.encode()).decode()}
        world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git", "namespace": NS}, "data": data})
        world.request("GitRepository", "main")
        obj = world.ready("main", reason, "GitRepository")
    assert world.repository.asked[-1][1] == ("bot", "right")


def test_the_interval_finds_a_push(world: World) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.source(interval="50ms")
    world.kustomization()
    world.ready()
    world.at(world.repository.push({"deploy/dev/b.yaml": config("b")}))
    assert not world.cluster.get("ConfigMap", TARGET, "a"), "what left the tree is pruned"


FAILURES = [
    pytest.param(
        {"other/x.yaml": config("x")},
        "ArtifactFailed",
        "kustomization path not found: stat /tmp/K/deploy/dev: no such file or directory",
        id="no such path",
    ),
    pytest.param(
        {"deploy/dev/kustomization.yaml": "resources: [gone.yaml]"},
        "BuildFailed",
        "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'gone.yaml': "
        "open /tmp/K/deploy/dev/gone.yaml: no such file or directory': must build at directory: not a valid directory: "
        "evalsymlink failure on '/tmp/K/deploy/dev/gone.yaml' : "
        "lstat /tmp/K/deploy/dev/gone.yaml: no such file or directory",
        id="no such resource",
    ),
    pytest.param(
        {"deploy/dev/kustomization.yaml": "resources: [a.yaml]", "deploy/dev/a.yaml": "a: b\n  c: d\n"},
        "BuildFailed",
        "kustomize build failed: accumulating resources: accumulating resources from 'a.yaml': MalformedYAMLError: "
        "yaml: line 2: mapping values are not allowed in this context in File: a.yaml",
        id="bad YAML",
    ),
    pytest.param(
        {"deploy/dev/a.yaml": "a: b\n  c: d\n"},
        "BuildFailed",
        "failed to decode Kubernetes YAML from /tmp/K/deploy/dev/a.yaml: MalformedYAMLError: "
        "yaml: line 2: mapping values are not allowed in this context",
        id="bad YAML without a kustomization file",
    ),
    pytest.param(
        {
            "deploy/dev/kustomization.yaml": "patches: [{path: p}]\nresources: [a.yaml]",
            "deploy/dev/a.yaml": config("a"),
        },
        "BuildFailed",
        "the sandbox does not support 'patches' in deploy/dev/kustomization.yaml: "
        "it applies plain YAML and resources only",
        id="not supported",
    ),
    pytest.param(
        {"deploy/dev/kustomization.yaml": "a: b\n  c: d\n"},
        "BuildFailed",
        "error converting YAML to JSON: yaml: line 2: mapping values are not allowed in this context",
        id="bad kustomization file",
    ),
    pytest.param(
        {"deploy/dev/a.yaml": "kind: ConfigMap\nmetadata: {name: x}\n"},
        "BuildFailed",
        "failed to decode Kubernetes apiVersion, kind and name from: "
        f'{{"kind":"ConfigMap","metadata":{{"name":"x","namespace":"{TARGET}"}}}}',
        id="no apiVersion",
    ),
    pytest.param(
        {"deploy/dev/a.yaml": "apiVersion: x.io/v1\nkind: Foo\nmetadata: {name: x}\n"},
        "ReconciliationFailed",
        f'Foo/{TARGET}/x dry-run failed: no matches for kind "Foo" in version "x.io/v1"\n',
        id="unknown kind",
    ),
]


@pytest.mark.parametrize(("files", "reason", "message"), FAILURES)
def test_a_revision_that_cannot_be_built(world: World, files: Files, reason: str, message: str) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.source()
    world.kustomization()
    first = world.ready()
    sha = world.repository.push(files)
    world.request("GitRepository", "main")
    obj = world.wait("Kustomization", "dev", lambda o: condition(o).get("reason") == reason)
    assert plain(condition(obj)["message"]) == message
    assert condition(obj)["status"] == "False"
    assert condition(obj, "Reconciling")["reason"] == "ProgressingWithRetry"
    assert obj["status"]["lastAppliedRevision"] == first["status"]["lastAppliedRevision"]
    attempted = obj["status"]["lastAttemptedRevision"]
    built = reason != "ArtifactFailed"
    assert attempted.endswith(sha) is built, "a wrong path never sets lastAttemptedRevision"
    assert world.cluster.get("ConfigMap", TARGET, "a"), "nothing is pruned"


def forbidden(verb: str = "patch") -> str:
    return (
        'configmaps "a" is forbidden: User "system:serviceaccount:project-abcd1234:sluice-dev" cannot '
        f'{verb} resource "configmaps" in API group "" in the namespace "{TARGET}"'
    )


@pytest.mark.parametrize("trouble", ["no binding", "no rights", "no role", "no namespace"])
def test_an_account_without_rights(world: World, trouble: str) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    if trouble == "no role":
        world.account("not-there")
    elif trouble == "no rights":
        rules = [{"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]}]
        kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
        world.apply({**kind, "metadata": {"name": "apps-only"}, "rules": rules})
        world.account("apps-only")
    elif trouble == "no namespace":
        world.account(namespace="default")
        world.cluster.delete("Namespace", "", TARGET)
    world.source()
    world.kustomization(serviceAccountName="sluice-dev")
    obj = world.ready("dev", "ReconciliationFailed")
    text = f"ConfigMap/{TARGET}/a dry-run failed (Forbidden): {forbidden()}\n"
    assert condition(obj)["message"] == text
    assert "inventory" not in obj["status"]


def test_impersonation_goes_by_name(world: World) -> None:
    """A missing account whose binding is there works, as it does with a real API server."""
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.bind()
    world.source()
    world.kustomization(serviceAccountName="sluice-dev")
    world.ready()


def test_flux_itself_without_a_namespace(world: World) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.source()
    world.kustomization(targetNamespace="nowhere")
    obj = world.ready("dev", "ReconciliationFailed")
    assert condition(obj)["message"] == 'ConfigMap/nowhere/a not found: namespaces "nowhere" not found\n'
    world.kustomization(targetNamespace=None)
    obj = world.ready("dev", "ReconciliationFailed")
    text = "ConfigMap/a namespace not specified: the server could not find the requested resource\n"
    assert condition(obj)["message"] == text


def test_target_namespace_rewrites_everything(world: World) -> None:
    elsewhere = config("a").replace("{name: a}", "{name: a, namespace: kube-system}")
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: anything, labels: {team: x}}\n"
    world.repository.push({"deploy/dev/a.yaml": elsewhere + "---\n" + namespace})
    world.source()
    world.kustomization()
    world.ready()
    assert world.cluster.get("ConfigMap", TARGET, "a")
    assert not world.cluster.get("ConfigMap", "kube-system", "a")
    assert world.cluster.get("Namespace", "", TARGET)["metadata"]["labels"]["team"] == "x"
    assert not world.cluster.get("Namespace", "", "anything")


@pytest.mark.parametrize("bad", ["broken-1", "selector"])
def test_a_bad_release_fails_its_health_check(world: World, bad: str) -> None:
    good = world.repository.push({"deploy/dev/app.yaml": web()})
    world.source()
    world.kustomization(wait=True, timeout="200ms")
    world.at(good)
    manifest = (
        web("broken-1") if bad == "broken-1" else web().replace("{containers:", "{nodeSelector: {a: b}, containers:")
    )
    sha = world.repository.push({"deploy/dev/app.yaml": manifest})
    world.request("GitRepository", "main")
    running = world.wait("Kustomization", "dev", lambda o: condition(o, "Healthy")["status"] == "Unknown")
    assert condition(running)["status"] == "Unknown"
    assert condition(running)["message"] == "Reconciliation in progress"
    text = f"Running health checks for revision main@sha1:{sha} with a timeout of 200ms"
    assert condition(running, "Reconciling")["message"] == text
    assert running["status"]["lastAppliedRevision"] == f"main@sha1:{good}", "still the old one"
    assert running["status"]["lastAttemptedRevision"] == f"main@sha1:{sha}"
    obj = world.ready("dev", "HealthCheckFailed")
    text = f"health check failed after TIME: timeout waiting for: [Deployment/{TARGET}/web status: 'InProgress']"
    assert plain(condition(obj)["message"]) == text
    assert condition(obj, "Healthy")["message"] == text.partition(": ")[2]
    assert obj["status"]["history"][0]["lastReconciledStatus"] == "HealthCheckFailed"


def test_a_new_revision_cancels_the_health_check(world: World) -> None:
    seen: list[Json] = []
    world.repository.push({"deploy/dev/app.yaml": web("broken")})
    world.source()
    world.kustomization(wait=True)
    world.wait("Kustomization", "dev", lambda o: condition(o, "Healthy").get("status") == "Unknown")
    good = world.repository.push({"deploy/dev/app.yaml": web()})
    world.cluster.subscribe(lambda event: seen.append(event.obj))
    world.request("GitRepository", "main")
    world.at(good)
    canceled = [condition(obj) for obj in seen if condition(obj).get("reason") == "HealthCheckCanceled"]
    assert canceled[0]["message"] == f"New reconciliation triggered by GitRepository/{NS}/main"


@pytest.mark.parametrize("world", [{"cancel_health_checks": False}], indirect=True)
def test_without_the_gate_the_bad_release_has_its_time(world: World) -> None:
    bad = world.repository.push({"deploy/dev/app.yaml": web("broken")})
    world.source()
    world.kustomization(wait=True, timeout="300ms")
    world.wait("Kustomization", "dev", lambda o: condition(o, "Healthy").get("status") == "Unknown")
    good = world.repository.push({"deploy/dev/app.yaml": web()})
    world.request("GitRepository", "main")
    failed = world.ready("dev", "HealthCheckFailed")
    assert failed["status"]["lastAttemptedRevision"].endswith(bad)
    world.at(good)


def test_dependencies_go_first(world: World) -> None:
    sha = world.repository.push({"deploy/dev/a.yaml": config("a"), "deploy/staging/b.yaml": config("b")})
    world.source()
    world.kustomization("staging", path="./deploy/staging", dependsOn=[{"name": "dev"}])
    obj = world.ready("staging", "DependencyNotReady")
    missing = 'kustomizations.kustomize.toolkit.fluxcd.io "dev" not found'
    assert condition(obj)["message"] == f"dependency '{NS}/dev' not found: {missing}"
    world.kustomization(suspend=True)
    world.request("Kustomization", "staging")
    text = f"dependency '{NS}/dev' is not ready"
    world.wait("Kustomization", "staging", lambda o: condition(o)["message"] == text)
    world.kustomization()
    world.at(sha, "staging")


def test_a_source_that_is_not_there(world: World) -> None:
    world.kustomization()
    obj = world.ready("dev", "ArtifactFailed")
    assert condition(obj)["message"] == 'GitRepository.source.toolkit.fluxcd.io "main" not found'
    assert "lastAttemptedRevision" not in obj["status"]
    world.source(ref={"branch": "main"})
    world.request("Kustomization", "dev")
    text = "Source artifact not found, retrying in 30s"
    world.wait("Kustomization", "dev", lambda o: condition(o)["message"] == text)
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.request("GitRepository", "main")
    world.ready()


def test_suspended_is_not_touched_but_observed(world: World) -> None:
    """The trap of the original: with an old Ready=True, a suspended object looks current except in its condition."""
    first = world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.source()
    world.kustomization()
    world.ready()
    world.kustomization(suspend=True, path="deploy/gone")
    token = world.request("Kustomization", "dev")
    obj = world.wait("Kustomization", "dev", lambda o: o["status"].get("lastHandledReconcileAt") == token)
    assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"] == 2
    assert condition(obj)["status"] == "True"
    assert condition(obj)["observedGeneration"] == 1
    assert obj["status"]["lastAppliedRevision"].endswith(first)


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ({"deletionPolicy": "Orphan"}, True),
        ({"deletionPolicy": "Delete", "prune": False}, False),
        ({"prune": False}, True),
        ({"prune": True}, False),
        ({"prune": True, "suspend": True}, True),
    ],
)
def test_deletion(world: World, spec: Json, kept: bool) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.source()
    world.kustomization()
    world.ready()
    world.kustomization(**spec)
    world.cluster.delete("Kustomization", NS, "dev")
    world.wait("Kustomization", "dev", lambda obj: not obj)
    assert bool(world.cluster.get("ConfigMap", TARGET, "a")) is kept


def test_the_order_of_a_deletion_matters(world: World) -> None:
    """A missing binding hangs the finalizer; a missing account ends it without pruning."""
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.account()
    world.source()
    world.kustomization(serviceAccountName="sluice-dev", deletionPolicy="Delete")
    world.ready()
    world.cluster.delete("RoleBinding", TARGET, "sluice-dev")
    world.cluster.delete("Kustomization", NS, "dev")
    token = world.request("Kustomization", "dev")
    obj = world.wait("Kustomization", "dev", lambda o: o["status"].get("lastHandledReconcileAt") == token)
    assert obj["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
    world.cluster.delete("ServiceAccount", NS, "sluice-dev")
    world.request("Kustomization", "dev")
    world.wait("Kustomization", "dev", lambda o: not o)
    assert world.cluster.get("ConfigMap", TARGET, "a")


def test_pruning_without_rights_says_so(world: World) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a"), "deploy/dev/app.yaml": web()})
    world.account()
    world.source()
    world.kustomization(serviceAccountName="sluice-dev")
    world.ready()
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    rules = [{"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]}]
    world.apply({**kind, "metadata": {"name": "apps-only"}, "rules": rules})
    world.bind("apps-only")
    world.repository.push({"deploy/dev/app.yaml": web()})
    world.request("GitRepository", "main")
    obj = world.ready("dev", "PruneFailed")
    text = f"delete failed, errors: ConfigMap/{TARGET}/a query failed: {forbidden('get')};"
    assert condition(obj)["message"] == text
    assert f"{TARGET}_a__ConfigMap" in [entry["id"] for entry in obj["status"]["inventory"]["entries"]]


def test_deleting_a_namespace_waits_for_the_finalizers(world: World) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.source()
    world.kustomization(deletionPolicy="Orphan")
    world.ready()
    world.cluster.delete("Namespace", "", NS)
    world.wait("Namespace", NS, lambda obj: not obj, namespace="")
    assert world.cluster.list("Kustomization") == []
    assert world.cluster.get("ConfigMap", TARGET, "a")


def test_a_restarted_flux_goes_on(world: World) -> None:
    world.repository.push({"deploy/dev/a.yaml": config("a")})
    world.source()
    world.kustomization()
    world.ready()
    world.flux.stop()
    sha = world.repository.push({"deploy/dev/b.yaml": config("b")})
    with SandboxFlux(world.cluster, world.repository.fetch):
        world.at(sha)
        assert world.cluster.get("ConfigMap", TARGET, "b")


def test_a_deployment_becomes_ready_by_itself(world: World) -> None:
    world.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": TARGET},
            "spec": {"replicas": 3, "template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}},
        }
    )
    obj = world.wait("Deployment", "web", lambda o: o.get("status", {}).get("readyReplicas") == 3, TARGET)
    assert condition(obj, "Available")["status"] == "True"


BASE = {"base/kustomization.yaml": "resources: [a.yaml]", "base/a.yaml": config("a")}


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({**BASE, "app/kustomization.yaml": "resources: [../base, b.yaml]", "app/b.yaml": config("b")}, ["a", "b"]),
        ({"app/a.yaml": config("a"), "app/sub/b.yml": config("b"), "app/notes.txt": "x"}, ["a", "b"]),
        (
            {"app/sub/kustomization.yaml": "resources: [b.yaml]", "app/sub/b.yaml": config("b"), "app/sub/c.yaml": "x"},
            ["b"],
        ),
        ({"app/a.yaml": config("a") + "---\n---\n" + config("b")}, ["a", "b"]),
        ({"app/kustomization.yaml": "resorces: [a.yaml]", "app/a.yaml": config("a")}, []),
        ({"app/kustomization.yaml": ""}, []),
        ({"app/README": "x"}, []),
        ({"app/a.yaml": "apiVersion: v1\nkind: List\nitems:\n- " + config("a").replace("\n", "\n  ")}, ["a"]),
    ],
)
def test_building(files: Files, names: list[str]) -> None:
    tree = {path: text.encode() for path, text in files.items()}
    assert [obj["metadata"]["name"] for obj in build(tree, "app", "", "/tmp/K")] == names


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {"app/kustomization.yaml": "resources: [../../x.yaml]"},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from "
            "'../../x.yaml': fs-security-constraint read /tmp/x.yaml: path '/tmp/x.yaml' is not in or below '/tmp/K'': "
            "must build at directory: not a valid directory: evalsymlink failure on '/tmp/x.yaml' : "
            "lstat /tmp/x.yaml: no such file or directory",
        ),
        (
            {"app/kustomization.yaml": "resources: [../base]", "base/a.yaml": config("a")},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from '../base': "
            "read /tmp/K/base: is a directory': couldn't make target for path '/tmp/K/base': unable to find one of "
            "'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '/tmp/K/base'",
        ),
        (
            {"app/kustomization.yaml": "resources: [../app]"},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from '../app': "
            "read /tmp/K/app: is a directory': cycle detected: candidate root '/tmp/K/app' contains visited root "
            "'/tmp/K/app'",
        ),
        (
            {
                "app/kustomization.yaml": "resources: [a.yaml, b.yaml]",
                "app/a.yaml": config("a"),
                "app/b.yaml": config("a"),
            },
            "kustomize build failed: accumulating resources: accumulation err='merging resources from 'b.yaml': may "
            "not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.[noNs]': must build at directory: "
            "'/tmp/K/app/b.yaml': file is not directory",
        ),
        (
            {"app/kustomization.yaml": "resources: [a.yaml]", "app/a.yaml": "apiVersion: v1\nkind: ConfigMap\n"},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'a.yaml': "
            "missing metadata.name in object {{v1 ConfigMap} {{ } map[] map[]}}': must build at directory: "
            "'/tmp/K/app/a.yaml': file is not directory",
        ),
        (
            {"app/kustomization.yaml": "resources: [sub]", "app/sub/kustomization.yaml": "resorces: []"},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'sub': "
            "read /tmp/K/app/sub: is a directory': couldn't make target for path '/tmp/K/app/sub': "
            'invalid Kustomization: json: unknown field "resorces"',
        ),
        (
            {"app/kustomization.yaml": "resources: [sub]", "app/sub/kustomization.yaml": "a: b\n  c: d\n"},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'sub': "
            "read /tmp/K/app/sub: is a directory': couldn't make target for path '/tmp/K/app/sub': "
            "invalid Kustomization: yaml: line 2: mapping values are not allowed in this context",
        ),
        (
            {"app/kustomization.yaml": "resources: [sub]", "app/sub/kustomization.yaml": "resources: [{a: b}]"},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'sub': "
            "read /tmp/K/app/sub: is a directory': couldn't make target for path '/tmp/K/app/sub': "
            "invalid Kustomization: json: "
            "cannot unmarshal object into Go struct field Kustomization.resources of type string",
        ),
        (
            {"app/kustomization.yaml": "- a"},
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type "
            "types.Kustomization",
        ),
        (
            {"app/kustomization.yaml": "", "app/Kustomization": ""},
            "kustomize build failed: Found multiple kustomization files under: /tmp/K/app\n",
        ),
        (
            {"app/kustomization.yaml": "resources: [/etc/x.yaml]"},
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from "
            "'/etc/x.yaml': fs-security-constraint read /etc/x.yaml: path '/etc/x.yaml' is not in or below '/tmp/K'': "
            "new root '/etc/x.yaml' cannot be absolute",
        ),
        (
            {"app/a.yaml": config("a"), "app/b.yaml": config("a")},
            "kustomize build failed: accumulating resources: accumulation err='merging resources from './b.yaml': may "
            "not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.[noNs]': must build at directory: "
            "'/tmp/K/app/b.yaml': file is not directory",
        ),
        (
            {"app/a.yaml": "- a\n- b\n"},
            "failed to decode Kubernetes YAML from /tmp/K/app/a.yaml: missing Resource metadata",
        ),
    ],
)
def test_what_cannot_be_built(files: Files, problem: str) -> None:
    with pytest.raises(BuildError) as found:
        build({path: text.encode() for path, text in files.items()}, "app", "", "/tmp/K")
    assert str(found.value) == problem


def test_paths_stay_inside() -> None:
    tree = {"deploy/dev/a.yaml": b"", "b.yaml": b""}
    table = {"./deploy/dev": "deploy/dev", "deploy/dev/": "deploy/dev", "../../deploy": "deploy", "./": "", "x": None}
    assert {path: folder(tree, path) for path in table} == table


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [("5m", 300, "5m0s"), ("1h30m", 5400, "1h30m0s"), ("200ms", 0.2, "200ms"), ("1.5s", 1.5, "1.5s"), ("0s", 0, "0s")],
)
def test_durations(text: str, value: float, shown: str) -> None:
    assert seconds(text) == pytest.approx(value)
    assert duration(seconds(text)) == shown
