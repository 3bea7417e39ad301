"""The sandbox cluster answers the `kubernetes` package as a real API server does.

With SLUICE_TEST_KUBE_URL and SLUICE_TEST_KUBE_TOKEN the tests that turn no knobs run against that server instead (it
needs Flux's CRDs); that is how their expectations were found.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import aio, client, config, watch
from kubernetes.client.exceptions import ApiException

from bot.sandbox.cluster import ApiError, SandboxCluster
from bot.sandbox.cluster_errors import details
from bot.sandbox.cluster_select import labels
from bot.sandbox.server import Loopback

Json = dict[str, Any]
REAL = os.environ.get("SLUICE_TEST_KUBE_URL")
SOURCE = ("source.toolkit.fluxcd.io", "v1")
sandbox_only = pytest.mark.skipif(bool(REAL), reason="turns the sandbox's own knobs")


def source(name: str = "main", namespace: str = "", **spec: Any) -> Json:
    wanted = {"interval": "1m", "url": "http://forge/acme/web.git", "ref": {"branch": "main"}, **spec}
    meta: Json = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": meta,
        "spec": {key: value for key, value in wanted.items() if value is not None},
    }


class Served:
    """A served cluster and a client on it; each test has a namespace of its own."""

    def __init__(self) -> None:
        self.cluster = SandboxCluster()
        self.loopback = Loopback(self.cluster)
        self.config = self.cluster.kubeconfig(REAL or self.loopback.start())
        if REAL:
            self.config["users"][0]["user"]["token"] = os.environ["SLUICE_TEST_KUBE_TOKEN"]
            self.config["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
        self.client = config.new_client_from_config_dict(self.config)
        self.core = client.CoreV1Api(self.client)
        self.custom = client.CustomObjectsApi(self.client)
        self.ns = self.namespace()

    def namespace(self) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.core.create_namespace({"metadata": {"name": name}})
        return name

    def close(self) -> None:
        self.client.close()
        self.client.rest_client.pool_manager.clear()
        self.loopback.stop()

    def apply(self, obj: Json, manager: str = "sluice", **options: Any) -> Json:
        """The client gives None for a 201, with which a server answers an apply that made the object."""
        found = self.custom.patch_namespaced_custom_object(
            *SOURCE,
            self.ns,
            "gitrepositories",
            obj["metadata"]["name"],
            obj,
            field_manager=manager,
            _content_type="application/apply-patch+yaml",
            **options,
        )
        return found or self.get(obj["metadata"]["name"])

    def merge(self, name: str, patch: Json, manager: str = "flux") -> Json:
        return self.custom.patch_namespaced_custom_object(
            *SOURCE,
            self.ns,
            "gitrepositories",
            name,
            patch,
            field_manager=manager,
            _content_type="application/merge-patch+json",
        )

    def merge_status(self, name: str, status: Json) -> Json:
        return self.custom.patch_namespaced_custom_object_status(
            *SOURCE,
            self.ns,
            "gitrepositories",
            name,
            {"status": status},
            field_manager="source-controller",
            _content_type="application/merge-patch+json",
        )

    def get(self, name: str = "main") -> Json:
        return self.custom.get_namespaced_custom_object(*SOURCE, self.ns, "gitrepositories", name)

    def list(self, **options: Any) -> Json:
        return self.custom.list_namespaced_custom_object(*SOURCE, self.ns, "gitrepositories", **options)

    def create(self, obj: Json, **options: Any) -> Json:
        return self.custom.create_namespaced_custom_object(*SOURCE, self.ns, "gitrepositories", obj, **options)

    def replace(self, obj: Json) -> Json:
        name = obj["metadata"]["name"]
        return self.custom.replace_namespaced_custom_object(*SOURCE, self.ns, "gitrepositories", name, obj)

    def delete(self, name: str = "main", **options: Any) -> Json:
        return self.custom.delete_namespaced_custom_object(*SOURCE, self.ns, "gitrepositories", name, **options)

    def watch(self, **options: Any) -> Iterator[Json]:
        arguments = {"timeout_seconds": 5, **options}
        call = self.custom.list_namespaced_custom_object
        return watch.Watch().stream(call, *SOURCE, self.ns, "gitrepositories", **arguments)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    try:
        yield made
    finally:
        made.close()


def refused(call: Callable[[], Any]) -> Json:
    """The Status object of a refusal."""
    with pytest.raises(ApiException) as found:
        call()
    body: Json = json.loads(found.value.body)
    assert body["code"] == found.value.status
    return body


def test_create_fills_in_what_a_server_fills_in(served: Served) -> None:
    obj = served.create(source())
    assert obj["spec"]["timeout"] == "60s"
    assert obj["status"] == {"observedGeneration": -1}
    meta = obj["metadata"]
    assert (meta["generation"], meta["namespace"]) == (1, served.ns)
    assert uuid.UUID(meta["uid"])
    assert meta["creationTimestamp"].endswith("Z")
    assert served.get() == obj
    assert refused(lambda: served.create(source())) | {"metadata": {}} == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'gitrepositories.source.toolkit.fluxcd.io "main" already exists',
        "reason": "AlreadyExists",
        "details": {"name": "main", "group": SOURCE[0], "kind": "gitrepositories"},
        "code": 409,
    }


def test_generation_counts_specs_only(served: Served) -> None:
    def generation(obj: Json) -> int:
        return int(obj["metadata"]["generation"])

    assert generation(served.apply(source())) == 1
    assert generation(served.merge("main", {"metadata": {"annotations": {"a": "b"}}})) == 1
    assert generation(served.merge_status("main", {"observedGeneration": 1})) == 1
    assert generation(served.merge("main", {"spec": {"suspend": True}})) == 2


def test_an_apply_that_changes_nothing_writes_nothing(served: Served) -> None:
    """After the second time, that is: a real server stores an object with defaults once more, unchanged."""
    served.apply(source())
    second = served.apply(source())
    assert served.apply(source()) == second


def test_fields_that_are_no_longer_applied_go(served: Served) -> None:
    served.apply(source(ref={"branch": "main", "commit": "c1"}, timeout="7s", suspend=False))
    served.merge("main", {"spec": {"suspend": True}})
    obj = served.apply(source())
    assert obj["spec"]["ref"] == {"branch": "main"}
    assert obj["spec"]["timeout"] == "60s", "the default comes back"
    assert obj["spec"]["suspend"] is True, "somebody else owns it by now"


def test_fields_of_two_owners_stay_until_both_let_go(served: Served) -> None:
    served.apply(source(timeout="7s"))
    served.apply(source(timeout="7s"), "other")
    assert served.apply(source())["spec"]["timeout"] == "7s"
    assert served.apply(source(), "other")["spec"]["timeout"] == "60s"


def test_managed_fields(served: Served) -> None:
    served.apply(source())
    served.merge("main", {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "1"}}})
    obj = served.merge_status("main", {"observedGeneration": 1})
    found = {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in obj["metadata"]["managedFields"]
    }
    assert found[("sluice", "Apply", "")] == {"f:spec": {"f:interval": {}, "f:ref": {"f:branch": {}}, "f:url": {}}}
    notes = found[("flux", "Update", "")]["f:metadata"]["f:annotations"]
    assert "f:reconcile.fluxcd.io/requestedAt" in notes
    assert found[("source-controller", "Update", "status")] == {"f:status": {"f:observedGeneration": {}}}


def test_conflicts_name_the_manager_and_the_field(served: Served) -> None:
    served.apply(source())
    one = refused(lambda: served.apply(source(ref={"branch": "dev"}), "other"))
    assert one["message"] == 'Apply failed with 1 conflict: conflict with "sluice": .spec.ref.branch'
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "sluice"'} | {"field": ".spec.ref.branch"}
    assert (one["code"], one["reason"], one["details"]) == (409, "Conflict", {"causes": [cause]})
    two = refused(lambda: served.apply(source(ref={"branch": "dev"}, interval="2m"), "other"))
    listed = '"sluice":\n- .spec.interval\n- .spec.ref.branch'
    assert two["message"] == f"Apply failed with 2 conflicts: conflicts with {listed}"
    served.merge("main", {"spec": {"timeout": "5s"}}, "kubectl-edit")
    by_hand = refused(lambda: served.apply(source(timeout="6s")))["details"]["causes"][0]
    assert by_hand["message"] == 'conflict with "kubectl-edit" using source.toolkit.fluxcd.io/v1'
    assert served.apply(source(timeout="6s"), force=True)["spec"]["timeout"] == "6s"
    assert "kubectl-edit" not in {entry["manager"] for entry in served.get()["metadata"]["managedFields"]}


def with_meta(obj: Json, **meta: str) -> Json:
    return {**obj, "metadata": {**obj["metadata"], **meta}}


def test_a_stale_version_is_a_conflict_without_causes(served: Served) -> None:
    first = served.apply(source())
    served.merge("main", {"metadata": {"annotations": {"a": "b"}}})
    stale = with_meta(source(), resourceVersion=first["metadata"]["resourceVersion"])
    body = refused(lambda: served.apply(stale, force=True))
    assert body["message"] == (
        'Operation cannot be fulfilled on gitrepositories.source.toolkit.fluxcd.io "main": the object has been '
        "modified; please apply your changes to the latest version and try again"
    )
    assert (body["reason"], body["details"]) == ("Conflict", details("main", SOURCE[0], "gitrepositories"))
    fresh = with_meta(source(interval="2m"), resourceVersion=served.get()["metadata"]["resourceVersion"])
    assert served.apply(fresh)["spec"]["interval"] == "2m"


def test_a_uid_keeps_an_apply_from_making_the_object_anew(served: Served) -> None:
    first = served.apply(source())
    served.delete()
    stale = with_meta(source(), resourceVersion=first["metadata"]["resourceVersion"])
    assert served.apply(stale)["metadata"]["uid"] != first["metadata"]["uid"], "the version alone does not"
    served.delete()
    body = refused(lambda: served.apply(with_meta(source(), uid=first["metadata"]["uid"])))
    why = (
        f"uid mismatch: the provided object specified uid {first['metadata']['uid']}, and no existing object was found"
    )
    assert (body["code"], body["reason"], body["message"].partition(": ")[2]) == (409, "Conflict", why)
    served.apply(source())
    other = refused(lambda: served.apply(with_meta(source(), uid=first["metadata"]["uid"])))
    assert other["code"] == 422
    assert other["message"].endswith("field is immutable")


REFUSALS = [
    (source(url=None), "spec.url", "FieldValueRequired", "Required value"),
    (
        source(interval="soon"),
        "spec.interval",
        "FieldValueInvalid",
        "Invalid value: \"soon\": spec.interval in body should match '^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$'",
    ),
    (
        source(url="ftp://x"),
        "spec.url",
        "FieldValueInvalid",
        "Invalid value: \"ftp://x\": spec.url in body should match '^(http|https|ssh)://.*$'",
    ),
]


@pytest.mark.parametrize(("obj", "field", "reason", "message"), REFUSALS)
def test_the_schema_is_checked(served: Served, obj: Json, field: str, reason: str, message: str) -> None:
    body = refused(lambda: served.create(obj))
    assert (body["code"], body["reason"]) == (422, "Invalid")
    assert body["details"]["causes"][0] == {"reason": reason, "message": message, "field": field}
    assert body["message"].startswith('GitRepository.source.toolkit.fluxcd.io "main" is invalid: ')
    assert refused(lambda: served.apply(obj))["code"] == 422


def test_a_field_that_the_crd_lacks(served: Served) -> None:
    """A merge patch drops it silently, a server-side apply says so."""
    served.apply(source())
    assert "nope" not in served.merge("main", {"spec": {"nope": 1}})["spec"]
    body = refused(lambda: served.apply(source(namespace=served.ns, nope=1)))
    assert body["message"] == (
        f"failed to create typed patch object ({served.ns}/main; source.toolkit.fluxcd.io/v1, Kind=GitRepository): "
        ".spec.nope: field not declared in schema"
    )


@sandbox_only
def test_an_older_crd(served: Served) -> None:
    served.cluster.drop_field("GitRepository", "sparseCheckout")
    assert refused(lambda: served.apply(source(sparseCheckout=["a"])))["code"] == 500


def test_status_is_a_part_of_its_own(served: Served) -> None:
    served.create(source())
    served.merge("main", {"status": {"observedGeneration": 7}})
    assert served.get()["status"] == {"observedGeneration": -1}
    served.merge_status("main", {"observedGeneration": 1})
    served.apply({**source(), "status": {"observedGeneration": 9}})
    assert served.get()["status"] == {"observedGeneration": 1}


def test_put(served: Served) -> None:
    obj = served.create(source())
    changed = {**obj, "spec": {**obj["spec"], "interval": "3m"}}
    assert served.replace(changed)["spec"]["interval"] == "3m"
    assert refused(lambda: served.replace(changed))["reason"] == "Conflict"
    bare = with_meta(source())
    text = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    assert refused(lambda: served.replace(bare))["message"].endswith(text)


def test_not_found(served: Served) -> None:
    body = refused(lambda: served.get("gone"))
    assert (body["code"], body["reason"]) == (404, "NotFound")
    assert body["message"] == 'gitrepositories.source.toolkit.fluxcd.io "gone" not found'
    missing = refused(lambda: served.core.create_namespaced_secret("nowhere-at-all", {"metadata": {"name": "a"}}))
    assert missing["message"] == 'namespaces "nowhere-at-all" not found'
    with pytest.raises(ApiException) as found:
        served.custom.list_cluster_custom_object("nope.example.com", "v1", "things")
    assert (found.value.status, found.value.body) == (404, "404 page not found\n")


def test_deletion_waits_for_finalizers(served: Served) -> None:
    served.create({**source(), "metadata": {"name": "main", "finalizers": ["finalizers.fluxcd.io"]}})
    obj = served.delete()
    assert obj["metadata"]["deletionTimestamp"]
    assert obj["metadata"]["generation"] == 2
    assert served.get()["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
    served.merge("main", {"metadata": {"finalizers": None}})
    assert refused(served.get)["code"] == 404


def test_deletion_with_preconditions(served: Served) -> None:
    obj = served.create(source())
    for wanted in ({"uid": "other"}, {"resourceVersion": "1"}):
        body = refused(lambda wanted=wanted: served.delete(body={"preconditions": wanted}))  # type: ignore[misc]
        assert (body["code"], "in the precondition" in body["message"]) == (409, True)
    done = served.delete(body={"preconditions": {"uid": obj["metadata"]["uid"]}})
    assert done["status"] == "Success"


def test_dry_run_leaves_no_trace(served: Served) -> None:
    assert served.create(source(), dry_run="All")["metadata"]["uid"]
    assert served.list()["items"] == []
    served.create(source())
    assert served.apply(source(interval="9m"), "probe", dry_run="All", force=True)["spec"]["interval"] == "9m"
    assert served.get()["spec"]["interval"] == "1m"


def test_secrets_and_namespaces(served: Served) -> None:
    made = served.core.create_namespaced_secret(
        served.ns, {"metadata": {"name": "git"}, "stringData": {"username": "bot"}}
    )
    assert (made.type, made.data, made.string_data) == ("Opaque", {"username": "Ym90"}, None)
    namespace = served.core.read_namespace(served.ns)
    assert namespace.metadata.labels["kubernetes.io/metadata.name"] == served.ns
    assert namespace.status.phase == "Active"


@sandbox_only
def test_deleting_a_namespace_removes_what_is_in_it(served: Served) -> None:
    """A real cluster does the same through its controller-manager."""
    served.create({**source(), "metadata": {"name": "held", "finalizers": ["a/b"]}})
    served.core.create_namespaced_secret(served.ns, {"metadata": {"name": "git"}})
    served.core.delete_namespace(served.ns)
    assert served.core.read_namespace(served.ns).status.phase == "Terminating"
    assert refused(lambda: served.core.read_namespaced_secret("git", served.ns))["code"] == 404
    late = refused(lambda: served.create(source("late")))
    assert late["code"] == 403
    assert late["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    served.merge("held", {"metadata": {"finalizers": None}})
    assert refused(lambda: served.core.read_namespace(served.ns))["code"] == 404


def test_lists_and_selectors(served: Served) -> None:
    for name, env in (("a", "dev"), ("b", "prod"), ("c", "")):
        mark = {"labels": {"env": env}} if env else {}
        served.create({**source(), "metadata": {"name": name, **mark}})
    table = {
        "env=dev": "a",
        "env==dev": "a",
        "env!=dev": "bc",
        "env in (dev, prod)": "ab",
        "env notin (dev)": "bc",
        "env": "ab",
        "!env": "c",
        "env in (dev,prod),env!=dev": "b",
        "": "abc",
    }
    found = {text: served.list(label_selector=text)["items"] for text in table}
    assert {text: "".join(obj["metadata"]["name"] for obj in items) for text, items in found.items()} == table
    assert [obj["metadata"]["name"] for obj in served.list(field_selector="metadata.name=b")["items"]] == ["b"]
    whole = served.list()
    assert (whole["kind"], whole["apiVersion"]) == ("GitRepositoryList", "source.toolkit.fluxcd.io/v1")
    assert int(whole["metadata"]["resourceVersion"]) >= int(whole["items"][-1]["metadata"]["resourceVersion"])
    everywhere = served.custom.list_cluster_custom_object(*SOURCE, "gitrepositories", label_selector="env=prod")
    assert served.ns in [obj["metadata"]["namespace"] for obj in everywhere["items"]]
    assert refused(lambda: served.list(label_selector="a ==="))["code"] == 400


def test_a_watch_tells_what_enters_and_leaves_its_selection(served: Served) -> None:
    start = served.list()["metadata"]["resourceVersion"]
    served.create(source("other"))
    served.create({**source(), "metadata": {"name": "main", "labels": {"env": "dev"}}})
    served.merge("main", {"spec": {"interval": "2m"}})
    served.merge("main", {"metadata": {"labels": {"env": "prod"}}})
    served.merge("main", {"metadata": {"labels": {"env": "dev"}}})
    served.delete()
    events = served.watch(resource_version=start, label_selector="env=dev")
    seen = [(event["type"], event["object"]["metadata"]["name"]) for _, event in zip(range(5), events, strict=False)]
    assert seen == [(kind, "main") for kind in ("ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED")]


def test_a_watch_without_a_version_begins_with_what_is_there(served: Served) -> None:
    served.create(source())
    event = next(iter(served.watch()))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "main")


def test_a_watch_ends_with_its_time(served: Served) -> None:
    started = time.monotonic()
    version = served.list()["metadata"]["resourceVersion"]
    assert list(served.watch(resource_version=version, timeout_seconds=1)) == []
    assert 0.9 < time.monotonic() - started < 4


def raw_watch(served: Served, query: str) -> list[Json]:
    """The lines of a watch as they are."""
    path = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{served.ns}/gitrepositories?watch=true&{query}"
    found = served.client.call_api(
        *served.client.param_serialize("GET", path, auth_settings=["BearerToken"]), _request_timeout=10
    )
    return [json.loads(line) for line in found.read().splitlines()]


def test_a_watch_from_too_long_ago_is_told_410(served: Served) -> None:
    [line] = raw_watch(served, "resourceVersion=1&timeoutSeconds=5")
    assert line["type"] == "ERROR"
    assert (line["object"]["code"], line["object"]["reason"]) == (410, "Expired")
    assert line["object"]["message"].startswith("too old resource version: 1 (")


def test_a_watch_may_list_first(served: Served) -> None:
    served.create(source())
    asked = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    lines = raw_watch(served, asked)
    assert [line["type"] for line in lines[:2]] == ["ADDED", "BOOKMARK"]
    assert lines[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert raw_watch(served, "sendInitialEvents=true")[0]["code"] == 422


async def test_the_asynchronous_client(served: Served) -> None:
    api = await aio.config.new_client_from_config_dict(served.config)
    async with api:
        custom = aio.client.CustomObjectsApi(api)
        await custom.patch_namespaced_custom_object(
            *SOURCE,
            served.ns,
            "gitrepositories",
            "main",
            source(),
            field_manager="sluice",
            force=True,
            _content_type="application/apply-patch+yaml",
        )
        version = served.get()["metadata"]["resourceVersion"]
        served.merge("main", {"metadata": {"annotations": {"a": "b"}}})
        async with aio.watch.Watch() as watching:
            stream = watching.stream(
                custom.list_namespaced_custom_object,
                *SOURCE,
                served.ns,
                "gitrepositories",
                resource_version=version,
                timeout_seconds=5,
            )
            async for event in stream:
                assert (event["type"], event["object"]["metadata"]["annotations"]) == ("MODIFIED", {"a": "b"})
                break


def test_a_wrong_token(served: Served) -> None:
    wrong = {**served.config, "users": [{"name": "sandbox", "user": {"token": "wrong"}}]}
    api = config.new_client_from_config_dict(wrong)
    try:
        body = refused(lambda: client.CoreV1Api(api).list_namespace())
        assert (body["code"], body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")
    finally:
        api.close()
        api.rest_client.pool_manager.clear()


def test_version_and_discovery(served: Served) -> None:
    assert client.VersionApi(served.client).get_code().major == "1"
    groups = {group.name for group in client.ApisApi(served.client).get_api_versions().groups}
    assert {"apps", "source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io"} <= groups
    found = served.custom.get_api_resources(*SOURCE)
    assert "gitrepositories" in [resource.name for resource in found.resources]
    crds = client.ApiextensionsV1Api(served.client) if REAL else served.custom
    assert crds
    name = "kustomizations.kustomize.toolkit.fluxcd.io"
    crd = served.custom.get_cluster_custom_object("apiextensions.k8s.io", "v1", "customresourcedefinitions", name)
    assert crd["spec"]["names"]["kind"] == "Kustomization"


# The knobs


@pytest.mark.parametrize("code", [409, 429, 500, 503])
@sandbox_only
def test_requests_can_be_made_to_fail(served: Served, code: int) -> None:
    served.cluster.fail_next(1, code, match="PATCH ")
    assert served.list()["items"] == []
    with pytest.raises(ApiException) as found:
        served.apply(source())
    assert found.value.status == code
    assert served.cluster.get("GitRepository", served.ns, "main") is None
    served.apply(source())


@sandbox_only
def test_an_answer_can_be_lost_after_the_effect(served: Served) -> None:
    served.cluster.fail_next(1, 504, after=True)
    assert refused(lambda: served.apply(source()))["reason"] == "Timeout"
    assert served.cluster.get("GitRepository", served.ns, "main")


@sandbox_only
def test_writes_are_counted_when_they_change_something(served: Served) -> None:
    served.cluster.writes.clear()
    for _ in range(3):
        served.apply(source())
    served.merge_status("main", {"observedGeneration": 1})
    served.apply(source(interval="2m"), dry_run="All")
    served.delete()
    where = f"{served.ns}/main"
    user = served.cluster.writes[-1][3]
    assert served.cluster.writes == [
        ("apply", "GitRepository", where, "sluice"),
        ("patch", "GitRepository/status", where, "source-controller"),
        ("delete", "GitRepository", where, user),
    ]


@sandbox_only
def test_compaction_and_dropped_watches(served: Served) -> None:
    version = served.list()["metadata"]["resourceVersion"]
    served.create(source())
    served.cluster.compact()
    assert raw_watch(served, f"resourceVersion={version}")[0]["object"]["code"] == 410
    version = served.list()["metadata"]["resourceVersion"]
    found: list[list[Json]] = []
    thread = threading.Thread(target=lambda: found.append(raw_watch(served, f"resourceVersion={version}")))
    thread.start()
    deadline = time.monotonic() + 5
    while not served.cluster.watching and time.monotonic() < deadline:
        threading.Event().wait(0.002)
    served.cluster.drop_watches()
    thread.join(5)
    assert found == [[]]


@sandbox_only
def test_the_convenience_calls(served: Served) -> None:
    cluster = served.cluster
    made = cluster.apply(source("x", served.ns), "me")
    made["spec"]["url"] = "changed"
    assert cluster.get("GitRepository", served.ns, "x")["spec"]["url"] != "changed", "what is given is a copy"  # type: ignore[index]
    with pytest.raises(ApiError) as found:
        cluster.apply(source("x", served.ns, interval="1h"), "you", force=False)
    assert found.value.code == 409
    cluster.patch_status("GitRepository", served.ns, "x", {"observedGeneration": 4})
    assert cluster.list("GitRepository", served.ns)[0]["status"]["observedGeneration"] == 4
    assert cluster.list("GitRepository", labels={"no": "such"}) == []
    cluster.delete("GitRepository", served.ns, "x")
    assert cluster.wait("GitRepository", served.ns, "x", lambda obj: not obj) == {}
    with pytest.raises(TimeoutError):
        cluster.wait("GitRepository", served.ns, "x", bool, timeout=0.01)


@sandbox_only
def test_many_threads_lose_no_update(served: Served) -> None:
    cluster = served.cluster
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "namespace": served.ns}}, "me")
    counts = [0] * 4

    def count(me: int) -> None:
        while counts[me] < 25:
            obj = served.core.read_namespaced_config_map("n", served.ns)
            obj.data = {"n": str(int((obj.data or {"n": "0"})["n"]) + 1)}
            try:
                served.core.replace_namespaced_config_map("n", served.ns, obj)
                counts[me] += 1
            except ApiException as problem:
                assert problem.status == 409  # noqa: PT017 - a lost race is the point

    threads = [threading.Thread(target=count, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert cluster.get("ConfigMap", served.ns, "n")["data"] == {"n": "100"}  # type: ignore[index]


def test_label_texts_that_are_no_selectors() -> None:
    for text in ("a b", "a in", "(a)", "a=b c"):
        with pytest.raises(ApiError):
            labels(text)


# The server


@sandbox_only
def test_the_server_ends_in_order_with_open_watches() -> None:
    cluster = SandboxCluster()
    loopback = Loopback(cluster)
    started = time.monotonic()
    url = loopback.start()
    assert time.monotonic() - started < 1.0
    host, port = url.removeprefix("http://").split(":")
    lines = [f"GET /api/v1/secrets?watch=1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {cluster.token}\r\n\r\n"]
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall("".join(lines).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        loopback.stop()
        assert time.monotonic() - started < 1.0
        rest = b""
        while part := connection.recv(4096):
            rest += part
        assert rest.endswith(b"0\r\n\r\n"), "the stream is ended, not broken"
    assert not any(thread.name == "loopback" for thread in threading.enumerate())


@sandbox_only
def test_a_broken_connection() -> None:
    cluster = SandboxCluster()
    with Loopback(cluster) as served_again:
        api = config.new_client_from_config_dict(cluster.kubeconfig(served_again.url))
        try:
            cluster.fail_next(1, 0)
            with pytest.raises(Exception, match=r"IncompleteRead|Connection broken|aborted"):
                client.CoreV1Api(api).list_namespace()
            assert client.CoreV1Api(api).list_namespace().items
        finally:
            api.close()
            api.rest_client.pool_manager.clear()
