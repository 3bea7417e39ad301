"""source-controller, as far as Sluice needs it: GitRepositories by branch and commit."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from bot.sandbox.cluster import SandboxCluster
from bot.sandbox.cluster_apply import now
from bot.sandbox.cluster_errors import Json
from bot.sandbox.flux_queue import Job, Key, Retry
from bot.sandbox.flux_status import Progress, requested
from bot.sandbox.flux_text import seconds
from bot.sandbox.git import Fetched, FetchError

Fetch = Callable[[str, tuple[str, str] | None, str | None, str | None], Fetched]
"""(url, (username, password) or None, branch, commit) → what is there; raises FetchError."""

MANAGER = "source-controller"
_HOST = "source-controller.flux-system.svc.cluster.local."


class Artifacts:
    """The files of each source's newest artifact."""

    def __init__(self) -> None:
        self._held: dict[Key, tuple[str, Mapping[str, bytes]]] = {}

    def put(self, key: Key, revision: str, files: Mapping[str, bytes]) -> None:
        self._held[key] = (revision, files)

    def get(self, key: Key, revision: str) -> Mapping[str, bytes] | None:
        held = self._held.get(key)
        return held[1] if held and held[0] == revision else None

    def drop(self, key: Key) -> None:
        self._held.pop(key, None)


class _Failed(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceController:
    """Reconciles GitRepositories."""

    def __init__(
        self, cluster: SandboxCluster, fetch: Fetch, artifacts: Artifacts, restored: Callable[[Key], None]
    ) -> None:
        self._cluster = cluster
        self._fetch = fetch
        self._artifacts = artifacts
        self._restored = restored

    async def reconcile(self, key: Key, _: Job) -> float | None:
        obj = self._cluster.get("GitRepository", *key)
        if obj is None:
            self._artifacts.drop(key)
            return None
        progress = Progress(self._cluster, obj, MANAGER)
        if progress.meta.get("deletionTimestamp"):
            self._artifacts.drop(key)
            progress.remove_finalizer()
            return None
        progress.add_finalizer()
        if progress.spec.get("suspend"):
            _skip(progress)
            return None
        self._begin(progress)
        try:
            fetched = await self._checkout(progress)
        except _Failed as failure:
            _fail(progress, failure)
            raise Retry from failure
        self._store(progress, key, fetched)
        return seconds(progress.spec["interval"])

    def _begin(self, progress: Progress) -> None:
        """Show that work is under way, as far as the original does."""
        status = progress.status
        progress.progressing("reconciliation in progress", drift=False)
        seen = status.get("observedGeneration", -1)
        if seen != progress.generation:
            text = f"processing object: new generation {seen} -> {progress.generation}"
            progress.progressing(text, drift=False)
            progress.save()
        elif requested(progress.obj) != status.get("lastHandledReconcileAt", ""):
            progress.save()
        if not status.get("artifact"):
            progress.progressing("building artifact")
            progress.drop("ArtifactInStorage")
            progress.save()

    async def _checkout(self, progress: Progress) -> Fetched:
        spec = progress.spec
        ref = spec.get("ref") or {}
        unsupported = [name for name in ("tag", "semver", "name") if ref.get(name)]
        if unsupported:
            text = f"the sandbox follows branches and commits only, not ref.{unsupported[0]}"
            raise _Failed("GitOperationFailed", f"failed to checkout and determine revision: {text}")
        branch, commit = ref.get("branch"), ref.get("commit")
        if not branch and not commit:
            branch = "master"
        credentials = self._credentials(progress)
        try:
            async with asyncio.timeout(seconds(spec.get("timeout", "60s"))):
                return await asyncio.to_thread(self._fetch, spec["url"], credentials, branch, commit)
        except FetchError as problem:
            text = str(problem)
        except TimeoutError:
            text = f"unable to clone '{spec['url']}': context deadline exceeded"
        raise _Failed("GitOperationFailed", f"failed to checkout and determine revision: {text}")

    def _credentials(self, progress: Progress) -> tuple[str, str] | None:
        name = (progress.spec.get("secretRef") or {}).get("name")
        if not name:
            return None
        where = f"{progress.namespace}/{name}"
        secret = self._cluster.get("Secret", progress.namespace, name)
        if secret is None:
            inner = f"failed to get secret '{where}': secrets \"{name}\" not found"
            raise _Failed("AuthenticationFailed", f"failed to get secret '{where}': {inner}")
        data = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        if progress.spec["url"].startswith("ssh://"):
            return _identity(progress.spec["url"], data)
        if bool(data.get("username")) is not bool(data.get("password")):
            text = "invalid 'HTTP' auth option: 'password' requires 'username' to be set"
            if data.get("username"):
                text = "invalid 'HTTP' auth option: 'username' requires 'password' to be set"
            raise _Failed("AuthenticationFailed", f"failed to configure authentication options: {text}")
        return (data["username"], data["password"]) if data.get("username") else None

    def _store(self, progress: Progress, key: Key, fetched: Fetched) -> None:
        revision, held = fetched.revision, progress.status.get("artifact")
        lost = held and held["revision"] == revision and self._artifacts.get(key, revision) is None
        self._artifacts.put(key, revision, fetched.files)
        progress.drop("FetchFailed")
        if not held or held["revision"] != revision:
            text = f"new upstream revision '{revision}'"
            if held:
                progress.set("ArtifactOutdated", "True", "NewRevision", text)
            progress.progressing(f"building artifact: {text}")
            progress.save()
            progress.status["artifact"] = _artifact(key, revision, fetched.files)
        progress.drop("ArtifactOutdated", "Reconciling", "Stalled")
        text = f"stored artifact for revision '{revision}'"
        progress.set("ArtifactInStorage", "True", "Succeeded", text)
        progress.set("Ready", "True", "Succeeded", text)
        progress.observed()
        progress.handled()
        progress.save()
        if lost:
            self._restored(key)


def _identity(url: str, data: Mapping[str, str]) -> tuple[str, str]:
    """The private key for an SSH address, whose server must be known."""
    for name in ("identity", "known_hosts"):
        if not data.get(name):
            text = f"invalid 'ssh' auth option: '{name}' is required"
            raise _Failed("AuthenticationFailed", f"failed to configure authentication options: {text}")
    host = urlsplit(url).hostname or ""
    if not any(re.match(rf"\[?{re.escape(host)}[\]\s]", line) for line in data["known_hosts"].splitlines()):
        text = f"unable to clone '{url}': knownhosts: key is unknown"
        raise _Failed("GitOperationFailed", f"failed to checkout and determine revision: {text}")
    return "git", data["identity"]


def _skip(progress: Progress) -> None:
    """A suspended source: nothing is fetched, but what was asked for counts as seen."""
    progress.handled()
    ready = progress.get("Ready")
    if ready:
        progress.set("Ready", ready["status"], ready["reason"], ready["message"])
        progress.observed()
    progress.save()


def _fail(progress: Progress, failure: _Failed) -> None:
    """The old artifact stays, and so does the observed generation."""
    text = str(failure)
    progress.set("FetchFailed", "True", failure.reason, text)
    progress.retrying()
    progress.set("Ready", "False", failure.reason, text)
    progress.handled()
    progress.save()


def _artifact(key: Key, revision: str, files: Mapping[str, bytes]) -> Json:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.encode() + b"\0" + files[path] + b"\0")
    path = f"gitrepository/{key[0]}/{key[1]}/{revision.rpartition(':')[2]}.tar.gz"
    return {
        "digest": f"sha256:{digest.hexdigest()}",
        "lastUpdateTime": now(),
        "path": path,
        "revision": revision,
        "size": sum(map(len, files.values())),
        "url": f"http://{_HOST}/{path}",
    }
