"""The apply rules of the design, on the sandbox and on a real API server."""

import asyncio
import contextlib
from typing import Any
from uuid import UUID

import pytest

from bot.core import manifests
from bot.core.errors import ConfigError, StaleObject, TemporaryError, UserError
from bot.core.manifests import Git, Owner, Rollout
from bot.flux.cluster import KubernetesCluster
from bot.flux.connection import from_dict, from_kubeconfig
from tests.flux.planes import Plane, SandboxPlane, is_gone

GIT = Git(url="https://git.example/acme/web")
SHA, OTHER = "a" * 40, "b" * 40
KIND = "GitRepository"
REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"


def pin(owner: Owner, commit: str = SHA, number: int = 1) -> dict[str, Any]:
    return manifests.own_source(owner, GIT, "production", branch="main", commit=commit, number=number)


async def test_what_is_applied_is_there(cluster: KubernetesCluster, owner: Owner) -> None:
    written = await cluster.apply(pin(owner))

    found = await cluster.get(KIND, owner.namespace, "pin-production")
    assert found is not None
    assert found["spec"]["ref"] == {"branch": "main", "commit": SHA}
    assert (written.uid, written.generation) == (found["metadata"]["uid"], 1)
    assert written.object["spec"] == found["spec"]


async def test_applied_again_it_changes_nothing(cluster: KubernetesCluster, owner: Owner) -> None:
    account = manifests.service_account(owner, "production")
    first = await cluster.apply(account)
    assert (await cluster.apply(account)).resource_version == first.resource_version


async def test_every_manifest_is_accepted(cluster: KubernetesCluster, owner: Owner) -> None:
    target = manifests.target_namespace(owner.namespace, "production")
    rollout = Rollout(environment="production", path="deploy/production", source="branch-main", target=target)
    for manifest in (
        manifests.namespace(owner, target),
        manifests.credentials(owner, {"username": "sluice", "password": "geheim"}),
        manifests.branch_source(owner, GIT, "main"),
        pin(owner),
        manifests.service_account(owner, "production"),
        manifests.role_binding(owner, "production", target),
        manifests.kustomization(owner, rollout),
    ):
        written = await cluster.apply(manifest)
        assert written.uid
        assert written.object["metadata"]["labels"]["sluice/project"] == str(owner.project)


async def test_a_dry_run_changes_nothing(cluster: KubernetesCluster, owner: Owner) -> None:
    await cluster.apply(pin(owner), dry=True)
    assert await cluster.get(KIND, owner.namespace, "pin-production") is None


async def test_what_is_not_there_is_none(cluster: KubernetesCluster, owner: Owner) -> None:
    assert await cluster.get(KIND, owner.namespace, "nothing") is None
    assert await cluster.get("Namespace", None, "no-such-namespace") is None
    assert await cluster.get(KIND, "no-such-namespace", "nothing") is None


async def test_a_pin_moves_with_uid_and_resource_version(cluster: KubernetesCluster, owner: Owner) -> None:
    """Flux moves the resourceVersion, too: then read, decide and try again."""
    first = await cluster.apply(pin(owner))
    for _ in range(10):
        found = await cluster.get(KIND, owner.namespace, "pin-production")
        assert found is not None
        version = found["metadata"]["resourceVersion"]
        with contextlib.suppress(StaleObject):
            moved = await cluster.apply(pin(owner, OTHER, 2), uid=first.uid, resource_version=version)
            break
    assert moved.object["spec"]["ref"]["commit"] == OTHER
    assert moved.object["metadata"]["annotations"]["sluice/deployment"] == "2"
    assert moved.generation == 2


async def test_a_stale_resource_version_is_refused(cluster: KubernetesCluster, owner: Owner) -> None:
    first = await cluster.apply(pin(owner))
    await cluster.apply(pin(owner, OTHER, 2))
    for force in (False, True):
        with pytest.raises(StaleObject):
            await cluster.apply(pin(owner, SHA, 3), uid=first.uid, resource_version=first.resource_version, force=force)


async def test_a_deleted_object_is_not_made_anew(cluster: KubernetesCluster, owner: Owner) -> None:
    """[tried] With the resourceVersion alone it would be."""
    first = await cluster.apply(pin(owner))
    await cluster.delete(KIND, owner.namespace, "pin-production")
    await is_gone(cluster, KIND, owner.namespace, "pin-production")
    with pytest.raises(StaleObject):
        await cluster.apply(pin(owner, OTHER, 2), uid=first.uid, resource_version=first.resource_version)
    with pytest.raises(ValueError, match="without the uid"):
        await cluster.apply(pin(owner), resource_version=first.resource_version)
    assert await cluster.get(KIND, owner.namespace, "pin-production") is None


async def test_an_object_made_anew_by_another_is_not_taken_for_ours(cluster: KubernetesCluster, owner: Owner) -> None:
    first = await cluster.apply(pin(owner))
    await cluster.delete(KIND, owner.namespace, "pin-production")
    await is_gone(cluster, KIND, owner.namespace, "pin-production")
    second = await cluster.apply(pin(owner))
    with pytest.raises(StaleObject):
        await cluster.apply(pin(owner, OTHER, 2), uid=first.uid)
    with pytest.raises(StaleObject):
        await cluster.delete(KIND, owner.namespace, "pin-production", uid=first.uid)
    assert (await cluster.apply(pin(owner))).uid == second.uid


async def test_a_field_of_another_manager_is_named_and_not_taken(
    plane: Plane, cluster: KubernetesCluster, owner: Owner
) -> None:
    await cluster.apply(pin(owner))
    theirs = pin(owner, OTHER)
    theirs["metadata"]["annotations"] = {}
    plane.apply(theirs, "kubectl-by-hand")

    with pytest.raises(UserError) as caught:
        await cluster.apply(pin(owner))
    assert caught.value.code == "field_conflict"
    assert "kubectl-by-hand" in caught.value.message
    assert ".spec.ref.commit" in caught.value.message

    taken = await cluster.apply(pin(owner), force=True)
    assert taken.object["spec"]["ref"]["commit"] == SHA


async def test_a_reconcile_request_stays_apart_from_what_is_applied(
    plane: Plane, cluster: KubernetesCluster, owner: Owner
) -> None:
    """[tried] Inside the applied object it would conflict with the flux command."""
    await cluster.apply(pin(owner))
    await cluster.request_reconcile(KIND, owner.namespace, "pin-production", "2026-11-22T08:00:00Z")
    plane.patch(KIND, owner.namespace, "pin-production", {"metadata": {"annotations": {REQUESTED_AT: "by-flux"}}})
    again = await cluster.apply(pin(owner, OTHER, 2))
    assert again.object["metadata"]["annotations"] == {"sluice/deployment": "2", REQUESTED_AT: "by-flux"}

    await cluster.request_reconcile(KIND, owner.namespace, "pin-production", "2026-11-22T08:00:01Z")
    found = await cluster.get(KIND, owner.namespace, "pin-production")
    assert found is not None
    assert found["metadata"]["annotations"][REQUESTED_AT] == "2026-11-22T08:00:01Z"
    assert found["metadata"]["generation"] == 2


async def test_a_reconcile_request_for_what_is_gone(cluster: KubernetesCluster, owner: Owner) -> None:
    with pytest.raises(StaleObject):
        await cluster.request_reconcile(KIND, owner.namespace, "nothing", "now")


async def test_gone_already_is_fine(cluster: KubernetesCluster, owner: Owner) -> None:
    written = await cluster.apply(pin(owner))
    for _ in range(2):
        await cluster.delete(KIND, owner.namespace, "pin-production", uid=written.uid)


async def test_a_refusal_in_the_servers_words(cluster: KubernetesCluster, owner: Owner) -> None:
    broken = pin(owner)
    broken["spec"]["url"] = "nonsense"
    with pytest.raises(UserError) as caught:
        await cluster.apply(broken)
    assert caught.value.code == "cluster_refused"
    assert "spec.url" in caught.value.message


async def test_a_field_that_the_crd_lacks_is_refused(cluster: KubernetesCluster, owner: Owner) -> None:
    """[tried] A merge patch of it would be dropped silently."""
    newer = pin(owner)
    newer["spec"]["notYetThere"] = True
    with pytest.raises(UserError) as caught:
        await cluster.apply(newer)
    assert caught.value.code == "field_unknown"
    assert "notYetThere" in caught.value.message


async def test_a_namespace_that_is_not_there(cluster: KubernetesCluster, owner: Owner) -> None:
    manifest = pin(owner)
    manifest["metadata"]["namespace"] = "no-such-namespace"
    with pytest.raises(UserError) as caught:
        await cluster.apply(manifest)
    assert caught.value.code == "cluster_refused"
    assert "no-such-namespace" in caught.value.message


async def test_a_secrets_value_is_in_no_error(cluster: KubernetesCluster, owner: Owner) -> None:
    secret = manifests.credentials(owner, {"username": "sluice", "password": "geheim!!"})
    secret["metadata"]["name"] = "geheim!!"
    with pytest.raises(UserError) as caught:
        await cluster.apply(secret)
    assert "geheim" not in repr(caught.value) + caught.value.message
    assert caught.value.__cause__ is None


async def test_suspend_is_never_applied(cluster: KubernetesCluster, owner: Owner) -> None:
    manifest = pin(owner)
    manifest["spec"]["suspend"] = False
    with pytest.raises(ValueError, match="suspend"):
        await cluster.apply(manifest)


async def test_many_at_once(cluster: KubernetesCluster, owner: Owner) -> None:
    names = [f"sluice-{number}" for number in range(30)]
    accounts = [owner.manifest("v1", "ServiceAccount", name, owner.namespace) for name in names]
    written = await asyncio.gather(*(cluster.apply(account) for account in accounts))
    assert len({one.uid for one in written}) == 30


# What only the sandbox can be made to do.


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_trouble_is_temporary(sandbox: SandboxPlane, code: int) -> None:
    cluster = sandbox.open()
    sandbox.cluster.fail_next(1, code)
    with pytest.raises(TemporaryError, match=str(code)):
        await cluster.get("Namespace", None, "default")
    assert await cluster.get("Namespace", None, "default") is not None
    await cluster.close()


async def test_a_server_that_has_just_started_is_temporary(sandbox: SandboxPlane) -> None:
    """It knows nobody's rights yet: it refuses what is asked of it, and to say if it is ready."""
    cluster = sandbox.open()
    sandbox.cluster.fail_next(2, 403)
    with pytest.raises(TemporaryError, match="not ready: it says 403"):
        await cluster.get("Namespace", None, "default")
    assert await cluster.get("Namespace", None, "default") is not None
    await cluster.close()


async def test_a_server_that_gets_ready_at_that_moment(sandbox: SandboxPlane) -> None:
    """Asked again, it does what it refused."""
    cluster = sandbox.open()
    sandbox.cluster.fail_next(1, 403, match="/namespaces/default")
    assert await cluster.get("Namespace", None, "default") is not None
    await cluster.close()


async def test_what_a_ready_server_refuses_is_refused(sandbox: SandboxPlane) -> None:
    cluster = sandbox.open()
    sandbox.cluster.fail_next(2, 403, match="/namespaces/default")
    with pytest.raises(UserError, match="the cluster refused"):
        await cluster.get("Namespace", None, "default")
    await cluster.close()


async def test_a_cut_connection_is_temporary(sandbox: SandboxPlane) -> None:
    cluster = sandbox.open()
    sandbox.cluster.fail_next(1, 0)
    with pytest.raises(TemporaryError):
        await cluster.get("Namespace", None, "default")
    await cluster.close()


async def test_a_server_that_does_not_answer_is_temporary(sandbox: SandboxPlane) -> None:
    cluster = KubernetesCluster("default", sandbox.connection(timeout=0.2))
    sandbox.cluster.latency = 5.0
    with pytest.raises(TemporaryError, match="in time"):
        await cluster.get("Namespace", None, "default")
    await cluster.close()


async def test_a_server_that_is_not_there_is_temporary(sandbox: SandboxPlane) -> None:
    cluster = sandbox.open()
    sandbox.stop()
    with pytest.raises(TemporaryError, match="cannot be reached"):
        await cluster.get("Namespace", None, "default")
    sandbox.start()
    assert await cluster.get("Namespace", None, "default") is not None
    await cluster.close()


async def test_a_request_is_repeated_on_conflict(sandbox: SandboxPlane) -> None:
    cluster = sandbox.open()
    sandbox.cluster.fail_next(2, 409, match="PATCH")
    owner = Owner(project=UUID(int=1), namespace="default")
    sandbox.apply(manifests.branch_source(owner, GIT, "main"), "sluice")
    await cluster.request_reconcile(KIND, "default", "branch-main", "now")
    found = sandbox.get(KIND, "default", "branch-main")
    assert found is not None
    assert found["metadata"]["annotations"][REQUESTED_AT] == "now"

    sandbox.cluster.fail_next(9, 409, match="PATCH")
    with pytest.raises(StaleObject):
        await cluster.request_reconcile(KIND, "default", "branch-main", "then")
    await cluster.close()


async def test_refused_credentials_are_no_temporary_trouble(sandbox: SandboxPlane) -> None:
    sandbox.cluster.token = "another"
    cluster = sandbox.open()
    sandbox.cluster.token = "renewed"
    with pytest.raises(UserError, match="Unauthorized") as caught:
        await cluster.get("Namespace", None, "default")
    assert caught.value.code == "cluster_refused"
    await cluster.close()


async def test_renewed_credentials_are_read_again(sandbox: SandboxPlane) -> None:
    kubeconfig = sandbox.cluster.kubeconfig(sandbox.server.url)
    cluster = KubernetesCluster("default", from_dict(kubeconfig))
    assert await cluster.get("Namespace", None, "default") is not None
    sandbox.cluster.token = kubeconfig["users"][0]["user"]["token"] = "renewed"
    found = await asyncio.gather(*(cluster.get("Namespace", None, "default") for _ in range(5)))
    assert all(found)
    await cluster.close()


async def test_a_kind_that_the_cluster_lacks_is_not_none(
    sandbox: SandboxPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bot.flux.connection import KINDS, Kind

    monkeypatch.setitem(KINDS, "Gadget", Kind("gadgets.example/v1", "gadgets"))
    cluster = sandbox.open()
    with pytest.raises(UserError, match="does not know the kind Gadget"):
        await cluster.get("Gadget", "default", "one")
    await cluster.close()


async def test_an_unusable_kubeconfig_says_so_without_its_token(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        await from_kubeconfig(tmp_path / "nothing").call("GET", "/version")
    broken: dict[str, Any] = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {}}],
        "users": [{"name": "u", "user": {"token": "geheim"}}],
    }
    with pytest.raises(ConfigError, match="names no server") as caught:
        await from_dict(broken).call("GET", "/version")
    assert "geheim" not in str(caught.value)
