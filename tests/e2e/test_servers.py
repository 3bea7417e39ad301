"""The servers themselves: what later tests take for granted about the cluster, the stand-in and Gitea."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from kubernetes.client import ApiException

from tests.servers.control_plane import CHECKOUT, ControlPlane
from tests.servers.gitea import Gitea
from tests.servers.gitea_account import PAGE, Account, GiteaError
from tests.servers.objects import VERSIONS, Object, Objects, condition, is_ready
from tests.servers.waiting import until

pytestmark = pytest.mark.e2e

LABELS = {"app.kubernetes.io/managed-by": "sluice"}
REQUESTED = "reconcile.fluxcd.io/requestedAt"


def deployment(image: str = "web:1", *, impossible: bool = False) -> str:
    """A Deployment that kwok makes Ready, or one that no node can take."""
    pod: dict[str, Any] = {"containers": [{"name": "web", "image": image}]}
    if impossible:
        pod["nodeSelector"] = {"no-such": "node"}
    labels = {"app": "web"}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        }
    )


def settings(n: str) -> str:
    """A ConfigMap: it is live as soon as it is applied; at a Deployment Flux looks every five seconds."""
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"n": n}})


class Site:
    """One project on the servers: a repository, its namespaces and accounts, everything written by Sluice's user."""

    def __init__(self, plane: ControlPlane, gitea: Gitea) -> None:
        name = uuid.uuid4().hex[:8]
        self.plane, self.gitea = plane, gitea
        self.sluice = plane.objects_as("sluice")
        self.namespace, self.target = f"project-{name}", f"project-{name}-dev"
        self.repository = gitea.create_repository(f"shop-{name}", {"deploy/dev/web.yaml": settings("1")})
        for namespace in (self.namespace, self.target):
            self.sluice.apply(self._object("v1", "Namespace", namespace, None))
        self.give_credentials(gitea.git_token)
        self._make_account()

    def give_credentials(self, token: str) -> None:
        """Write the Secret that the source is fetched with."""
        data = {"username": self.gitea.bot.name, "password": token}
        self.sluice.apply(self._object("v1", "Secret", "git", self.namespace) | {"stringData": data})

    def source(self, ref: dict[str, str], name: str = "source", **spec: Any) -> None:
        """Write a GitRepository."""
        spec = {
            "url": self.gitea.clone_url(self.repository),
            "interval": "10m",
            "ref": ref,
            "secretRef": {"name": "git"},
            **spec,
        }
        self.sluice.apply(self._object(KINDS["GitRepository"], "GitRepository", name, self.namespace) | {"spec": spec})

    def kustomization(self, **spec: Any) -> None:
        """Write the Kustomization of the one environment."""
        spec = {
            "path": "deploy/dev",
            "prune": True,
            "wait": True,
            "interval": "10m",
            "retryInterval": "1s",
            "timeout": "1m",
            "deletionPolicy": "Orphan",
            "targetNamespace": self.target,
            "serviceAccountName": "sluice-dev",
            "sourceRef": {"kind": "GitRepository", "name": "source"},
            **spec,
        }
        self.sluice.apply(self._object(KINDS["Kustomization"], "Kustomization", "dev", self.namespace) | {"spec": spec})

    def request(self, name: str = "source") -> str:
        """Ask for reconciliation of the source and return the token."""
        token = uuid.uuid4().hex
        body = {"metadata": {"annotations": {REQUESTED: token}}}
        self.sluice.patch("GitRepository", name, body, self.namespace)
        return token

    def handled(self, token: str, name: str = "source") -> Object:
        """The source once this request was handled; a failing one is Progressing again at each retry."""

        def done(item: Object) -> bool:
            handled = item.get("status", {}).get("lastHandledReconcileAt") == token
            return handled and condition(item).get("status") in ("True", "False")

        return self.plane.admin.wait("GitRepository", name, self.namespace, done)

    def ready(self, kind: str, name: str) -> Object:
        """The object once it is Ready."""
        return self.plane.admin.wait(kind, name, self.namespace, is_ready)

    def _make_account(self) -> None:
        rbac = "rbac.authorization.k8s.io/v1"
        self.sluice.apply(self._object("v1", "ServiceAccount", "sluice-dev", self.namespace))
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sluice-deployer"}
        subject = {"kind": "ServiceAccount", "name": "sluice-dev", "namespace": self.namespace}
        binding = self._object(rbac, "RoleBinding", "sluice-dev", self.target)
        self.sluice.apply(binding | {"roleRef": role, "subjects": [subject]})

    def _object(self, version: str, kind: str, name: str, namespace: str | None) -> Object:
        metadata: Object = {"name": name, "labels": LABELS}
        if namespace:
            metadata["namespace"] = namespace
        return {"apiVersion": version, "kind": kind, "metadata": metadata}


KINDS = {"GitRepository": "source.toolkit.fluxcd.io/v1", "Kustomization": "kustomize.toolkit.fluxcd.io/v1"}


@pytest.fixture
def site(control_plane: ControlPlane, gitea: Gitea) -> Iterator[Site]:
    """A project that nothing was deployed of yet; Flux has nothing more to do with it after the test."""
    project = Site(control_plane, gitea)
    yield project
    project.sluice.delete("Kustomization", "dev", project.namespace)
    for source in ("source", "other"):
        project.sluice.delete("GitRepository", source, project.namespace)


def commit_of(item: Object) -> str:
    """The commit of a source's artifact."""
    return str(item["status"]["artifact"]["revision"]).rpartition(":")[2]


def test_a_commit_becomes_a_ready_deployment(site: Site) -> None:
    """Gitea, the stand-in, kustomize-controller, the scheduler and kwok together."""
    head = site.gitea.writer.commit(site.repository, {"deploy/dev/web.yaml": deployment()})
    site.source({"branch": "main"})
    site.kustomization()

    applied = site.ready("Kustomization", "dev")

    assert applied["status"]["lastAppliedRevision"] == f"main@sha1:{head}"
    web = site.plane.get("Deployment", "web", site.target)
    assert web is not None
    assert condition(web, "Available")["status"] == "True"


def test_moving_a_pin_is_applied_at_once(site: Site) -> None:
    """A pin names branch and commit; the revision keeps the form branch@sha1:commit."""
    first = str(site.gitea.owner.head(site.repository))
    site.source({"branch": "main", "commit": first})
    site.kustomization()
    site.ready("Kustomization", "dev")
    second = site.gitea.writer.commit(site.repository, {"deploy/dev/web.yaml": settings("2")})

    assert commit_of(site.handled(site.request())) == first
    site.source({"branch": "main", "commit": second})
    done = site.plane.admin.wait(
        "Kustomization",
        "dev",
        site.namespace,
        lambda it: it.get("status", {}).get("lastAppliedRevision") == f"main@sha1:{second}",
    )

    assert is_ready(done)


def fork_head(site: Site) -> str:
    """Open a pull request from a fork; returns its head."""
    site.gitea.owner.set_collaborator(site.repository, site.gitea.forker.name, "read")
    fork = site.gitea.forker.fork(site.repository)
    sha = site.gitea.forker.commit(fork, {"deploy/dev/web.yaml": deployment("evil:1")}, new_branch="evil")
    site.gitea.forker.open_pull(site.repository, f"{site.gitea.forker.name}:evil")
    return sha


def test_a_forks_head_is_not_found(site: Site) -> None:
    """The forge knows the commit, but no branch of the repository has it, named or not; the old artifact stays."""
    old = str(site.gitea.owner.head(site.repository))
    site.source({"branch": "main", "commit": old})
    site.ready("GitRepository", "source")
    sha = fork_head(site)

    for ref in ({"branch": "main"}, {}):
        site.source({**ref, "commit": sha})
        failed = site.handled(site.request())

        ready = condition(failed)
        assert (ready["status"], ready["reason"]) == ("False", "GitOperationFailed")
        assert f"unable to resolve commit object for '{sha}': object not found" in ready["message"]
        generation = failed["metadata"]["generation"]
        assert ready["observedGeneration"] == generation != failed["status"]["observedGeneration"]
        assert commit_of(failed) == old


def test_a_deleted_branch_fails_and_keeps_the_artifact(site: Site) -> None:
    """Not the branch's commits are missing, but the branch."""
    sha = site.gitea.writer.commit(site.repository, {"x": "y"}, new_branch="feature")
    site.source({"branch": "feature", "commit": sha})
    site.ready("GitRepository", "source")

    site.gitea.owner.delete_branch(site.repository, "feature")
    failed = site.handled(site.request())

    assert condition(failed)["reason"] == "GitOperationFailed"
    assert 'couldn\'t find remote ref "refs/heads/feature"' in condition(failed)["message"]
    assert commit_of(failed) == sha


def test_a_rewritten_branch_loses_its_old_commit(site: Site) -> None:
    """After a force push the old commit is reachable from nowhere."""
    first = str(site.gitea.owner.head(site.repository))
    old = site.gitea.writer.commit(site.repository, {"x": "1"})
    site.source({"branch": "main", "commit": old})
    site.ready("GitRepository", "source")

    site.gitea.owner.force_push(site.repository, "main", {"x": "2"}, onto=first)

    assert "object not found" in condition(site.handled(site.request()))["message"]


def test_a_wrong_credential_fails_until_it_is_right(site: Site) -> None:
    """The condition names the failure; with the right token the next request succeeds."""
    site.give_credentials("wrong")
    site.source({"branch": "main"})
    failed = site.handled(site.request())
    assert condition(failed)["reason"] == "GitOperationFailed"
    assert "authentication required" in condition(failed)["message"]
    assert "artifact" not in failed["status"]

    site.give_credentials(site.gitea.git_token)
    site.handled(site.request())
    site.ready("GitRepository", "source")


def test_a_revoked_token_fails(site: Site) -> None:
    """A token that was good once is refused like a wrong one."""
    site.give_credentials(site.gitea.bot.create_token(site.namespace, ["read:repository"]))
    site.source({"branch": "main"})
    site.ready("GitRepository", "source")

    site.gitea.bot.revoke_token(site.namespace)

    assert "authentication required" in condition(site.handled(site.request()))["message"]


def test_a_missing_secret_is_said(site: Site) -> None:
    """This is the one failure with another reason."""
    site.source({"branch": "main"}, secretRef={"name": "nowhere"})
    assert condition(site.handled(site.request()))["reason"] == "AuthenticationFailed"


def test_a_source_is_fetched_again_at_its_interval(site: Site) -> None:
    """Nobody asks, and the new commit arrives."""
    site.source({"branch": "main"}, interval="1s")
    site.ready("GitRepository", "source")
    new = site.gitea.writer.commit(site.repository, {"x": "y"})
    site.plane.admin.wait("GitRepository", "source", site.namespace, lambda it: commit_of(it) == new)


def test_a_suspended_source_is_left_alone(site: Site) -> None:
    """Even a request is not handled; it is as soon as the source is resumed."""
    site.source({"branch": "main"}, suspend=True)
    site.source({"branch": "main"}, name="other")
    token = site.request()
    site.handled(site.request("other"), "other")
    suspended = site.plane.get("GitRepository", "source", site.namespace)
    assert suspended is not None
    assert "conditions" not in suspended["status"]

    site.source({"branch": "main"}, suspend=False)
    site.handled(token)


def test_a_deleted_source_goes(site: Site) -> None:
    """The finalizer is the stand-in's to take away."""
    site.source({"branch": "main"})
    made = site.ready("GitRepository", "source")
    assert made["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]

    site.sluice.delete("GitRepository", "source", site.namespace)
    site.plane.admin.wait_gone("GitRepository", "source", site.namespace)


def test_a_bad_release_fails_and_the_next_one_cancels_it(site: Site) -> None:
    """A Deployment that no node can take never gets Ready; a fix need not wait for the timeout."""
    site.gitea.writer.commit(site.repository, {"deploy/dev/web.yaml": deployment("web:2", impossible=True)})
    site.source({"branch": "main"})
    site.kustomization(timeout="5m")
    site.plane.admin.wait(
        "Kustomization",
        "dev",
        site.namespace,
        lambda it: "health checks" in condition(it, "Healthy").get("message", ""),
    )

    fixed = site.gitea.writer.commit(site.repository, {"deploy/dev/web.yaml": deployment("web:3")})
    site.request()

    done = site.ready("Kustomization", "dev")
    assert done["status"]["lastAppliedRevision"].endswith(fixed)


def test_without_the_feature_gate_a_bad_release_holds_on(site: Site) -> None:
    """Flux's default: the fix waits until the bad release has timed out, and 30 s is the shortest timeout.

    The failure shows in the conditions only for a moment, since the fix is next at once, and not always in the history.
    """
    if site.plane.foreign:
        pytest.skip("the Flux of a cluster that was handed in is not ours to restart")
    site.plane.restart_flux(cancel_health_check=False)
    try:
        site.gitea.writer.commit(site.repository, {"deploy/dev/web.yaml": deployment("web:2", impossible=True)})
        site.source({"branch": "main"})
        site.kustomization(timeout="30s")
        admin, at = site.plane.admin, ("Kustomization", "dev", site.namespace)
        admin.wait(*at, lambda it: "health checks" in condition(it, "Healthy").get("message", ""))
        site.gitea.writer.commit(site.repository, {"deploy/dev/web.yaml": deployment("web:3")})
        site.handled(site.request())

        reasons = set()
        for seen in admin.watch(*at):
            reasons.add(condition(seen).get("reason"))
            if is_ready(seen):
                break
        assert reasons == {"Progressing", "HealthCheckFailed", "ReconciliationSucceeded"}
    finally:
        site.plane.restart_flux(cancel_health_check=True)


def test_a_projects_namespace_can_be_deleted_under_the_gate(site: Site) -> None:
    """By an operator; the namespace controller and the garbage collector pass the gate."""
    site.source({"branch": "main"})
    site.ready("GitRepository", "source")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": site.namespace}}
    (made,) = site.plane.apply(owner)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": made["metadata"]["uid"]}
    body = {"metadata": {"ownerReferences": [reference]}}
    site.sluice.patch("GitRepository", "source", body, site.namespace)

    site.plane.delete("ConfigMap", "owner", site.namespace)
    site.plane.admin.wait_gone("GitRepository", "source", site.namespace)
    site.source({"branch": "main"})
    site.plane.operator.delete("Namespace", site.namespace)
    site.plane.admin.wait_gone("Namespace", site.namespace, seconds=60)


def test_the_api_server_can_hang(site: Site) -> None:
    """A paused server takes connections and answers nothing until it goes on."""
    if site.plane.foreign:
        pytest.skip("the API server of a cluster that was handed in is not ours to pause")
    trust = ssl.create_default_context(cafile=str(site.plane.folder / "ca.crt"))
    ready = f"{site.plane.url}/readyz"
    assert httpx2.get(ready, verify=trust).status_code == 200
    site.plane.pause_api_server()
    try:
        with pytest.raises(httpx2.TimeoutException):
            httpx2.get(ready, verify=trust, timeout=0.5)
    finally:
        site.plane.resume_api_server()
    site.source({"branch": "main"})
    site.ready("GitRepository", "source")


def refused(objects: Objects, kind: str, name: str, body: Object, namespace: str, subresource: str = "") -> str:
    with pytest.raises(ApiException) as caught:
        objects.patch(kind, name, body, namespace, subresource=subresource)
    assert caught.value.status == 403
    return str(caught.value.body)


def test_only_sluice_moves_a_pin(site: Site) -> None:
    """The gate refuses even system:masters; reconcile requests and Flux's own status pass."""
    site.source({"branch": "main"})
    site.ready("GitRepository", "source")
    admin = site.plane.admin

    moved = {"spec": {"ref": {"branch": "other"}}}
    assert "belongs to Sluice" in refused(admin, "GitRepository", "source", moved, site.namespace)
    forged = {"status": {"artifact": None}}
    assert "only Flux" in refused(admin, "GitRepository", "source", forged, site.namespace, "status")
    unlabelled = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
    assert "belongs to Sluice" in refused(admin, "Namespace", site.namespace, unlabelled, "")
    with pytest.raises(ApiException, match="belongs to Sluice"):
        admin.delete("Namespace", site.namespace)
    admin.patch("GitRepository", "source", {"metadata": {"annotations": {REQUESTED: "now"}}}, site.namespace)
    site.handled("now")
    site.plane.operator.patch("GitRepository", "source", {"spec": {"interval": "9m"}}, site.namespace)


def test_sluice_writes_only_where_it_may(site: Site) -> None:
    """The fence holds Sluice's own user; its role has no reading of Secrets."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "default"}}
    with pytest.raises(ApiException, match="sluice-fence"):
        site.sluice.apply(secret)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sluice-deployer"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "sluice-web", "namespace": f"{site.namespace}-theirs"},
        "roleRef": role,
        "subjects": [{"kind": "ServiceAccount", "name": "sluice-web", "namespace": site.namespace}],
    }
    theirs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{site.namespace}-theirs", "labels": {}}}
    site.plane.admin.apply(theirs)
    with pytest.raises(ApiException, match="sluice-fence"):
        site.sluice.apply(binding)
    with pytest.raises(ApiException, match="sluice-fence"):  # who is to be let in does not open the door
        site.sluice.apply(theirs | {"metadata": {**theirs["metadata"], "labels": {"sluice/target": "true"}}})
    site.plane.admin.apply(theirs | {"metadata": {**theirs["metadata"], "labels": {"sluice/target": "true"}}})
    site.sluice.apply(binding)
    with pytest.raises(ApiException, match="sluice-fence"):
        site.sluice.apply(secret | {"metadata": {"name": "x", "namespace": f"{site.namespace}-theirs"}})
    site.sluice.delete("RoleBinding", "sluice-web", f"{site.namespace}-theirs")
    for read in (lambda: site.sluice.get("Secret", "git", site.namespace), lambda: site.sluice.list("Secret")):
        with pytest.raises(ApiException, match="403"):
            read()


def test_policies_can_be_taken_out(site: Site) -> None:
    """Tests can try accounts and policies each alone."""
    site.source({"branch": "main"})
    with site.plane.without_policies():
        site.plane.admin.patch("GitRepository", "source", {"spec": {"interval": "9m"}}, site.namespace)
    refused(site.plane.admin, "GitRepository", "source", {"spec": {"interval": "8m"}}, site.namespace)


def test_all_recover_when_the_api_server_comes_back(site: Site) -> None:
    """Same address, same objects; what was pushed meanwhile is applied."""
    if site.plane.foreign:
        pytest.skip("the API server of a cluster that was handed in is not ours to stop")
    site.source({"branch": "main"}, interval="1s")
    site.kustomization()
    site.ready("Kustomization", "dev")

    site.plane.stop_api_server()
    pushed = site.gitea.writer.commit(site.repository, {"deploy/dev/web.yaml": settings("2")})
    site.plane.start_api_server()

    site.plane.admin.wait(
        "Kustomization",
        "dev",
        site.namespace,
        lambda it: it["status"].get("lastAppliedRevision", "").endswith(pushed) and is_ready(it),
        60,
    )


@dataclass(frozen=True)
class Pull:
    """A pull request of the writer."""

    gitea: Gitea
    repository: str
    number: int
    head: str


@pytest.fixture(scope="module")
def pull(gitea: Gitea) -> Pull:
    """One for all that Gitea alone is asked about."""
    repository = gitea.create_repository(f"shop-{uuid.uuid4().hex[:8]}", {"README.md": "# Shop\n"})
    head = gitea.writer.commit(repository, {"a": "1", "b": "2"}, new_branch="feature")
    return Pull(gitea, repository, gitea.writer.open_pull(repository, "feature"), head)


def test_gitea_lists_statuses_and_comments_beyond_one_page(pull: Pull) -> None:
    """More than fit on one page, all of them, in order."""
    texts = [str(count) for count in range(PAGE + 5)]
    for text in texts:
        pull.gitea.bot.set_status(pull.repository, pull.head, "sluice/dev", "pending", text)
        pull.gitea.bot.comment(pull.repository, pull.number, text)

    statuses = pull.gitea.reader.statuses(pull.repository, pull.head, "sluice/dev")
    assert [each["description"] for each in statuses] == texts
    comments = pull.gitea.reader.comments(pull.repository, pull.number, by=pull.gitea.bot.name)
    assert [each["body"] for each in comments] == texts


def test_gitea_calls_hooks(pull: Pull) -> None:
    """A delivery that nobody takes is kept as failed."""
    hook = pull.gitea.bot.create_hook(pull.repository, "http://127.0.0.1:9/webhooks/gitea", "secret")
    pull.gitea.reader.comment(pull.repository, pull.number, "/help")

    def delivered() -> list[Object]:
        found = pull.gitea.deliveries(hook)  # events from just before the hook was made may be among them
        return [each for each in found if each["delivered"] and "/help" in json.dumps(each["payload"])]

    (delivery,) = until(delivered, 10, "Gitea calls the hook")
    assert delivery["event"] == "pull_request_comment"
    assert not delivery["succeeded"]


def test_gitea_keeps_people_to_their_rights(pull: Pull) -> None:
    """A reader cannot push, and a stranger does not even see the repository."""

    def attempt(who: Account) -> int:
        with pytest.raises(GiteaError) as caught:
            who.commit(pull.repository, {"c": "3"})
        return caught.value.status

    assert (attempt(pull.gitea.reader), attempt(pull.gitea.forker)) == (403, 404)
    merged = pull.gitea.owner.merge_pull(pull.repository, pull.number)
    assert pull.gitea.owner.head(pull.repository) == merged


START = """
import os, pwd, signal, sys
from pathlib import Path
from tests.servers.processes import Process
folder = Path(sys.argv[1])
accounts = [-1, pwd.getpwnam("nobody").pw_uid] if os.geteuid() == 0 else [-1]
started = [Process(f"sleep{each}", ["/bin/sleep", "600"], folder, account=each) for each in accounts]
for each in started:
    each.start()
print(*[each.pid for each in started], flush=True)
signal.pause()
"""


def test_nothing_outlives_killed_tests(tmp_path: Path) -> None:
    """SIGKILL leaves no server behind, whoever it runs as: all are started like these."""
    command = [sys.executable, "-c", START, str(tmp_path)]
    child = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pids = child.stdout.readline().split()
    assert pids
    sleep = os.path.realpath("/bin/sleep")
    until(lambda: all(_program(pid) == sleep for pid in pids), 10, "all of them sleep")
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    until(lambda: not any(_program(pid) for pid in pids), 10, "all of them are gone")


def _program(pid: str) -> str:
    """What a process runs; nothing when it has ended."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def test_a_cluster_can_be_handed_in(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the user's own kubeconfig nothing is started, and users come from the cluster itself."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.admin_kubeconfig))
    monkeypatch.setenv("E2E_KUBECONFIG", "1")
    with ControlPlane() as handed_in:
        assert handed_in.url == control_plane.url
        sluice = Objects(handed_in.sluice_kubeconfig)
        sluice.list("Kustomization")
        with pytest.raises(ApiException, match="sluice-fence"):
            sluice.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "not-ours"}})
        sluice.close()
        with pytest.raises(ApiException, match="403"):
            handed_in.objects_as("dave", ["developers"]).list("Kustomization")
        handed_in.operator.list("Secret")


def test_several_threads_may_begin_with_a_client(
    control_plane: ControlPlane, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each learns what kinds there are at the same moment, and none reads what another has written half."""
    kubeconfig = Path(shutil.copy(control_plane.admin_kubeconfig, tmp_path))
    objects, kinds = Objects(kubeconfig), list(VERSIONS)
    with ThreadPoolExecutor(len(kinds)) as pool:
        found = list(pool.map(objects.resource, kinds))
    objects.close()
    assert [each.kind for each in found] == kinds
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []


def test_without_go_the_build_says_what_is_missing(tmp_path: Path) -> None:
    """Exit code 2, and how to go on."""
    env = {**os.environ, "E2E_SERVERS_CACHE": str(tmp_path / "cache"), "PATH": "/nowhere"}
    env.pop("KUBEBUILDER_ASSETS", None)
    command = [sys.executable, "-m", "tests.servers.build", "--only", "etcd"]
    done = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no `go` on PATH" in done.stderr
    assert "KUBEBUILDER_ASSETS" in done.stderr


def test_ready_made_programs_are_used(tmp_path: Path) -> None:
    """What the folder has is taken from there."""
    (tmp_path / "etcd").write_text("")
    env = {**os.environ, "E2E_SERVERS_CACHE": str(tmp_path / "cache"), "KUBEBUILDER_ASSETS": str(tmp_path)}
    command = [sys.executable, "-m", "tests.servers.build", "--list"]
    done = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0].endswith(str(tmp_path / "etcd"))
    assert lines[1].endswith("not built")
