"""A stand-in for Flux's source-controller: serves GitRepositories as artifacts, and fails the way the original does.

The original cannot be built from public Go modules alone. What is kept of it: finalizer, conditions and their order,
observed generations, reconcile requests, intervals, retries, and that a failure leaves the old artifact in place.
"""

from __future__ import annotations

import argparse
import base64
import functools
import hashlib
import http.server
import re
import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch

from tests.servers.git_checkout import Checkout, GitOperationFailed, Mirror
from tests.servers.work_queue import WorkQueue

Object = dict[str, Any]
Key = tuple[str, str]

RESOURCE = ("source.toolkit.fluxcd.io", "v1")
PLURAL = "gitrepositories"
FINALIZER = "finalizers.fluxcd.io"
REQUESTED = "reconcile.fluxcd.io/requestedAt"
WORKERS = 4
FIRST_RETRY, LAST_RETRY = 0.75, 60.0
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class FetchFailed(Exception):
    """A reconciliation that failed, with the reason that its conditions show."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Storage:
    """The artifacts, in a folder that is served over HTTP."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        handler = functools.partial(_Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def has(self, artifact: Object) -> bool:
        """Whether the file of an artifact is (still) there."""
        return (self.folder / str(artifact["path"])).is_file()

    def store(self, key: Key, found: Checkout, content: bytes) -> Object:
        """Keep the content and describe it as an artifact."""
        path = f"gitrepository/{key[0]}/{key[1]}/{found.commit}.tar.gz"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(".draft")
        draft.write_bytes(content)
        draft.rename(target)
        return {
            "url": f"{self.address}/{path}",
            "path": path,
            "revision": found.revision,
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "size": len(content),
            "lastUpdateTime": _now(),
        }

    def remove(self, key: Key) -> None:
        """Remove all that was kept for an object."""
        shutil.rmtree(self.folder / "gitrepository" / key[0] / key[1], ignore_errors=True)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the log is for reconciliations."""


class SourceController:
    """Watches GitRepositories and reconciles each whenever its spec, a request or its interval asks for it."""

    def __init__(self, api: client.ApiClient, storage: Storage, mirrors: Path) -> None:
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._storage = storage
        self._mirrors = mirrors
        self._queue: WorkQueue[Key] = WorkQueue()
        self._seen: dict[Key, tuple[Any, ...]] = {}
        self._failures: dict[Key, int] = {}

    def run(self) -> None:
        """Work until the process ends."""
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()
        while True:
            try:
                self._list_and_watch()
            except Exception as error:
                print(f"watch: {type(error).__name__}: {error}")
                time.sleep(0.2)

    def _list_and_watch(self) -> None:
        listed = self._objects.list_cluster_custom_object(*RESOURCE, PLURAL, _request_timeout=10)
        for item in listed["items"]:
            self._notice(item)
        stream = watch.Watch().stream(
            self._objects.list_cluster_custom_object,
            *RESOURCE,
            PLURAL,
            resource_version=listed["metadata"]["resourceVersion"],
            timeout_seconds=300,
            _request_timeout=(3, 330),
        )
        for event in stream:
            if event["type"] == "DELETED":
                self._forget(_key(event["object"]))
            else:
                self._notice(event["object"])

    def _notice(self, item: Object) -> None:
        """Queue an object whose spec, request or life has changed; changes of its status are our own."""
        metadata = item["metadata"]
        seen = (metadata["uid"], metadata["generation"], _requested(item), metadata.get("deletionTimestamp"))
        if self._seen.get(_key(item)) != seen:
            self._seen[_key(item)] = seen
            self._queue.add(_key(item))

    def _forget(self, key: Key) -> None:
        self._seen.pop(key, None)
        self._failures.pop(key, None)
        self._queue.forget(key)

    def _work(self) -> None:
        while True:
            key = self._queue.take()
            try:
                self._reconcile(key)
            except client.ApiException as error:
                if error.status != 404:
                    print(f"{key[0]}/{key[1]}: {error.status} {error.reason} {error.body}")
                    self._queue.add(key, self._backoff(key))
            except Exception as error:
                print(f"{key[0]}/{key[1]}: {type(error).__name__}: {error}")
                self._queue.add(key, self._backoff(key))
            finally:
                self._queue.done(key)

    def _reconcile(self, key: Key) -> None:
        item = self._objects.get_namespaced_custom_object(*RESOURCE, key[0], PLURAL, key[1], _request_timeout=10)
        finalizers = item["metadata"].get("finalizers") or []
        if item["metadata"].get("deletionTimestamp"):
            self._storage.remove(key)
            shutil.rmtree(self._mirrors / item["metadata"]["uid"], ignore_errors=True)
            if FINALIZER in finalizers:
                self._patch(key, {"metadata": {"finalizers": [each for each in finalizers if each != FINALIZER]}})
            return
        if FINALIZER not in finalizers:
            item = self._patch(key, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
        if item["spec"].get("suspend"):
            return
        status = _Status(item)
        if status.is_new:
            self._patch_status(key, status.progressing())
        try:
            self._patch_status(key, status.succeeded(self._artifact(key, item)))
            self._failures.pop(key, None)
            self._queue.add(key, _seconds(item["spec"]["interval"]))
        except FetchFailed as failure:
            print(f"{key[0]}/{key[1]}: {failure}")
            self._patch_status(key, status.failed(failure))
            self._queue.add(key, self._backoff(key))

    def _artifact(self, key: Key, item: Object) -> Object:
        """The artifact of what the spec asks for: the old one where that is the same revision."""
        spec = item["spec"]
        mirror = Mirror(
            self._mirrors / item["metadata"]["uid"],
            spec["url"],
            self._credentials(key[0], spec),
            _seconds(spec.get("timeout", "60s")),
        )
        try:
            found = mirror.checkout(spec.get("ref") or {})
        except GitOperationFailed as error:
            text = f"failed to checkout and determine revision: {error}"
            raise FetchFailed("GitOperationFailed", text) from error
        old: Object = (item.get("status") or {}).get("artifact") or {}
        if old.get("revision") == found.revision and self._storage.has(old):
            return old
        print(f"{key[0]}/{key[1]}: {found.revision}")
        return self._storage.store(key, found, mirror.pack(found.commit))

    def _credentials(self, namespace: str, spec: Object) -> dict[str, str]:
        name = (spec.get("secretRef") or {}).get("name")
        if not name:
            return {}
        try:
            secret = self._core.read_namespaced_secret(name, namespace, _request_timeout=10)
        except client.ApiException as error:
            if error.status != 404:
                raise
            text = f"failed to get secret '{namespace}/{name}': secrets \"{name}\" not found"
            raise FetchFailed("AuthenticationFailed", text) from error
        return {field: base64.b64decode(value).decode() for field, value in (secret.data or {}).items()}

    def _backoff(self, key: Key) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        return float(min(FIRST_RETRY * 2 ** (count - 1), LAST_RETRY))

    def _patch(self, key: Key, body: Object) -> Object:
        answer: Object = self._objects.patch_namespaced_custom_object(
            *RESOURCE, key[0], PLURAL, key[1], body, field_manager="source-controller", _request_timeout=10
        )
        return answer

    def _patch_status(self, key: Key, status: Object) -> None:
        self._objects.patch_namespaced_custom_object_status(
            *RESOURCE,
            key[0],
            PLURAL,
            key[1],
            {"status": status},
            field_manager="source-controller",
            _request_timeout=10,
        )


class _Status:
    """The status of one object while it is reconciled, as a merge patch at each step."""

    def __init__(self, item: Object) -> None:
        self._generation = item["metadata"]["generation"]
        self._requested = _requested(item)
        old: Object = item.get("status") or {}
        self._observed = old.get("observedGeneration", -1)
        self._handled = old.get("lastHandledReconcileAt")
        self._conditions = {each["type"]: each for each in old.get("conditions") or []}

    @property
    def is_new(self) -> bool:
        """Whether there is a spec or a request that was not seen before, which the original shows at once."""
        return self._generation != self._observed or self._requested != self._handled

    def progressing(self) -> Object:
        text = "reconciliation in progress"
        if self._generation != self._observed:
            text = f"processing object: new generation {self._observed} -> {self._generation}"
        self._set("Reconciling", "True", "Progressing", text)
        self._set("Ready", "Unknown", "Progressing", text)
        return self._patch()

    def succeeded(self, artifact: Object) -> Object:
        text = f"stored artifact for revision '{artifact['revision']}'"
        self._conditions.pop("Reconciling", None)
        self._conditions.pop("FetchFailed", None)
        self._set("Ready", "True", "Succeeded", text)
        self._set("ArtifactInStorage", "True", "Succeeded", text)
        return self._patch() | {"artifact": artifact, "observedGeneration": self._generation} | self._request()

    def failed(self, failure: FetchFailed) -> Object:
        """The artifact and the observed generation stay as they were, as in the original."""
        self._set("Reconciling", "True", "ProgressingWithRetry", "reconciliation in progress")
        self._set("FetchFailed", "True", failure.reason, str(failure))
        self._set("Ready", "False", failure.reason, str(failure))
        return self._patch() | self._request()

    def _request(self) -> Object:
        return {"lastHandledReconcileAt": self._requested} if self._requested else {}

    def _set(self, kind: str, status: str, reason: str, message: str) -> None:
        old = self._conditions.get(kind) or {}
        since = old["lastTransitionTime"] if old.get("status") == status else _now()
        self._conditions[kind] = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": self._generation,
            "lastTransitionTime": since,
        }

    def _patch(self) -> Object:
        order = ("Reconciling", "Ready", "FetchFailed", "ArtifactInStorage")
        return {"conditions": [self._conditions[kind] for kind in order if kind in self._conditions]}


def _key(item: Object) -> Key:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _requested(item: Object) -> str | None:
    return (item["metadata"].get("annotations") or {}).get(REQUESTED)


def _seconds(duration: str) -> float:
    """The seconds of a duration as Go writes it: 10m0s, 1h, 500ms."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", duration))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.source_controller")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--storage", required=True, type=Path, help="folder for artifacts and copies of repositories")
    parser.add_argument("--port", required=True, type=int, help="where artifacts are served")
    options = parser.parse_args()
    api = config.new_client_from_config(options.kubeconfig)
    SourceController(api, Storage(options.storage / "served", options.port), options.storage / "mirrors").run()


if __name__ == "__main__":
    main()
