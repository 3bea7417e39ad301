"""helm-controller, as far as Sluice needs it: a HelmRelease from its chart to Ready, and away again.

It renders `{{ .Values.… }}` and `{{ .Release.… }}` only, keeps no Secrets, and tries as often as the spec says.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from bot.sandbox.cluster import ApiError, SandboxCluster
from bot.sandbox.cluster_apply import now
from bot.sandbox.cluster_errors import Json
from bot.sandbox.flux_apply import Account, Applier, ApplyError, inventory, listed
from bot.sandbox.flux_charts import ChartController, Files, over
from bot.sandbox.flux_health import Changes, state
from bot.sandbox.flux_queue import Job, Key, Retry
from bot.sandbox.flux_status import Progress, condition
from bot.sandbox.flux_text import named, seconds

MANAGER = "helm-controller"
OWNER = "helm.toolkit.fluxcd.io"
_HISTORY = 5
_PLACE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_VALUE = re.compile(r"\.(Values|Release)((?:\.[A-Za-z0-9_]+)+)")


class _Failed(Exception):
    """What Ready=False says, and when to look again."""

    def __init__(self, reason: str, message: str, retry: float) -> None:
        super().__init__(message)
        self.reason, self.retry = reason, retry


class HelmController:
    """Reconciles HelmReleases."""

    def __init__(self, cluster: SandboxCluster, charts: ChartController, changes: Changes) -> None:
        self._cluster = cluster
        self._charts = charts
        self._changes = changes
        self._failures: dict[tuple[Key, str], int] = {}

    async def reconcile(self, key: Key, _: Job) -> float | None:
        obj = self._cluster.get("HelmRelease", *key)
        if obj is None:
            return None
        progress = Progress(self._cluster, obj, MANAGER)
        if progress.meta.get("deletionTimestamp"):
            self._finalize(progress)
            return None
        progress.add_finalizer()
        if progress.spec.get("suspend"):
            progress.handled()
            progress.save()
            return None
        progress.drop("Stalled")  # what is at work again does not stand still, as in the original
        progress.progressing("Fulfilling prerequisites", drift=False)
        progress.save()
        try:
            await self._release(progress, key)
        except _Failed as failure:
            progress.set("Ready", "False", failure.reason, str(failure))
            progress.handled()
            progress.save()
            return failure.retry
        progress.drop("Reconciling")
        progress.observed()
        progress.handled()
        progress.save()
        return seconds(progress.spec["interval"])

    async def _release(self, progress: Progress, key: Key) -> None:
        kind, source = self._source(progress, key)
        files = self._charts.files(kind, (key[0], source["metadata"]["name"])) or {}
        about = yaml.safe_load(files["Chart.yaml"])
        revision = source["status"]["artifact"]["revision"]
        version, digest = _versions(kind, str(about["version"]), revision)
        values = over(yaml.safe_load(files.get("values.yaml", b"")) or {}, progress.spec.get("values") or {})
        newest: Json = next(iter(progress.status.get("history") or []), {})
        config = f"sha256:{hashlib.sha256(msgspec.json.encode(values, order='sorted')).hexdigest()}"
        progress.status |= {"lastAttemptedRevision": version, "lastAttemptedGeneration": progress.generation}
        progress.status |= {"lastAttemptedConfigDigest": config, "storageNamespace": progress.spec["storageNamespace"]}
        entry: Json = {"chartName": about["name"], "chartVersion": version, "configDigest": config, "namespace": key[0]}
        entry |= {"version": newest.get("version", 0) + 1, "name": progress.spec["releaseName"]}
        entry |= {"ociDigest": digest} if digest else {}
        if _same(newest, entry) and newest["status"] == "deployed":
            word = "upgrade" if newest["version"] > 1 else "install"
            progress.set("Ready", "True", f"{word.title()}Succeeded", _said(entry | newest, word))
            return
        await self._deploy(progress, key, files, values, entry)

    def _source(self, progress: Progress, key: Key) -> tuple[str, Json]:
        """The HelmChart, made as the spec wants it, or the OCIRepository; it must be ready."""
        ref = progress.spec.get("chartRef")
        kind, name = (ref["kind"], ref["name"]) if ref else ("HelmChart", f"{key[0]}-{key[1]}")
        if not ref:
            meta = {"name": name, "namespace": key[0], "labels": _labels(key)}
            spec = {field: value for field, value in progress.spec["chart"]["spec"].items() if value}
            self._cluster.apply(
                {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, "metadata": meta, "spec": spec}, MANAGER
            )
            progress.status["helmChart"] = f"{key[0]}/{name}"
        found = self._cluster.get(kind, key[0], name)
        status, ready = (found or {}).get("status") or {}, condition(found, "Ready")
        current = found is not None and status.get("observedGeneration") == found["metadata"]["generation"]
        if found is None or not current or ready.get("status") != "True" or not status.get("artifact"):
            why = ready.get("message") or "latest generation of object has not been reconciled"
            raise _Failed("SourceNotReady", f"{kind} '{key[0]}/{name}' is not ready: {why}", 30.0)
        return kind, found

    async def _deploy(self, progress: Progress, key: Key, files: Files, values: Json, entry: Json) -> None:
        history: list[Json] = progress.status.get("history") or []
        word = "upgrade" if history else "install"
        text = f"Running '{word}' action with timeout of {progress.spec['timeout']}"
        progress.set("Reconciling", "True", "Progressing", text)
        progress.set("Ready", "Unknown", "Progressing", text)
        progress.save()
        try:
            objects = _rendered(files, values, progress.spec)
        except ValueError as broken:  # no release was made of it, so no retry is counted
            text = f"Helm {word} failed for {_name(entry)}: {broken}"
            raise _Failed(f"{word.title()}Failed", text, 0.3) from None
        problem = await self._try(progress, key, objects)
        entry["lastDeployed"] = now()
        if problem is None:
            before = [each | {"status": "superseded"} for each in history]
            progress.status["history"] = [entry | {"status": "deployed"}, *before][:_HISTORY]
            progress.set("Released", "True", f"{word.title()}Succeeded", _said(entry, word))
            progress.set("Ready", "True", f"{word.title()}Succeeded", _said(entry, word))
            return
        progress.status["history"] = [entry | {"status": "failed"}, *history][:_HISTORY]
        self._give_up(progress, key, entry, f"Helm {word} failed for {_name(entry)}: {problem}", word)

    def _give_up(self, progress: Progress, key: Key, entry: Json, message: str, word: str) -> None:
        """Try again as often as the spec says; then this release stays as it is until something changes."""
        retries = (progress.spec.get(word) or {}).get("remediation", {}).get("retries", 0)
        attempt = (key, f"{entry['chartVersion']} {entry['configDigest']} {progress.generation}")
        self._failures[attempt] = self._failures.get(attempt, 0) + 1
        if self._failures[attempt] <= retries:
            progress.set("Released", "False", f"{word.title()}Failed", message)
            raise _Failed(f"{word.title()}Failed", message, 0.1)
        text = f"Failed to {word} after {self._failures[attempt]} attempt(s)"
        progress.set("Released", "False", f"{word.title()}Failed", message)
        progress.set("Stalled", "True", "RetriesExceeded", f"{text}: {message}")
        progress.drop("Reconciling")
        raise _Failed("RetriesExceeded", message, seconds(progress.spec["interval"]))

    async def _try(self, progress: Progress, key: Key, objects: list[Json]) -> str | None:
        """Apply as the account, wait; what went wrong."""
        try:
            applied = self._applier(progress, key).apply(objects)
        except ApplyError as problem:
            return str(problem).strip()
        stale = [obj for obj in listed(progress.status.get("inventory")) if _id(obj) not in map(_id, applied)]
        progress.status["inventory"] = inventory(applied)
        try:
            self._applier(progress, key).prune(stale)
        except ApplyError as problem:
            return str(problem.args[0])
        return await self._wait(objects, seconds(progress.spec["timeout"]))

    async def _wait(self, objects: list[Json], limit: float) -> str | None:
        deadline = time.monotonic() + limit
        with self._changes.watched() as changed:
            while True:
                found = {named(obj): state(self._cluster.get(*_place(obj))) for obj in objects}
                unhealthy = {name: how for name, how in found.items() if how != "Current"}
                if not unhealthy:
                    return None
                changed.clear()
                try:
                    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                        await changed.wait()
                except TimeoutError:
                    shown = ", ".join(f"{name} status: '{how}'" for name, how in unhealthy.items())
                    return f"timeout waiting for: [{shown}]: context deadline exceeded"

    def _applier(self, progress: Progress, key: Key) -> Applier:
        account = Account(self._cluster, key[0], progress.spec.get("serviceAccountName", ""))
        return Applier(self._cluster, account, key, OWNER, MANAGER)

    def _finalize(self, progress: Progress) -> None:
        """At deletion: uninstall and take the chart away, but neither of a release that is suspended."""
        key = (progress.namespace, progress.name)
        if not progress.spec.get("suspend"):
            try:
                self._applier(progress, key).prune(listed(progress.status.get("inventory")))
            except ApplyError as problem:
                raise Retry(str(problem)) from None
            if progress.status.get("helmChart"):
                try:
                    namespace, _, name = progress.status["helmChart"].partition("/")
                    self._cluster.delete("HelmChart", namespace, name, MANAGER)
                except ApiError as problem:
                    if problem.code != 404:
                        raise Retry(str(problem)) from None
        progress.remove_finalizer()


def _versions(kind: str, version: str, revision: str) -> tuple[str, str]:
    """The version that is noted, and the digest of what came as an image."""
    if kind == "HelmChart":
        return revision, ""
    digest = revision.rpartition("@")[2]
    return f"{version}+{digest.removeprefix('sha256:')[:12]}", digest


def _rendered(files: Files, values: Json, spec: Json) -> list[Json]:
    """The templates with their values, in the target namespace."""
    given = {"Values": values, "Release": {"Name": spec["releaseName"], "Namespace": spec["targetNamespace"]}}
    found = []
    for path in sorted(files):
        if path.startswith("templates/") and path.endswith(".yaml"):
            text = _PLACE.sub(lambda place: _filled(path, place[1], given), files[path].decode())  # noqa: B023
            found += [obj for obj in yaml.safe_load_all(text) if obj]
    for obj in found:
        obj["metadata"].setdefault("namespace", spec["targetNamespace"])
    return found


def _filled(path: str, expression: str, given: Mapping[str, Any]) -> str:
    match = _VALUE.fullmatch(expression)
    if match is None:
        raise ValueError(f"template: {path}: the sandbox renders .Values and .Release only, not {expression!r}")
    value: Any = given[match[1]]
    for name in match[2].removeprefix(".").split("."):
        if not isinstance(value, dict) or name not in value:
            raise ValueError(f"template: {path}: nil pointer evaluating {expression}")
        value = value[name]
    return str(value)


def _same(one: Json, other: Json) -> bool:
    return all(one.get(field) == other.get(field) for field in ("chartVersion", "configDigest", "ociDigest"))


def _labels(key: Key) -> dict[str, str]:
    return {f"{OWNER}/name": key[1], f"{OWNER}/namespace": key[0]}


def _name(entry: Json) -> str:
    return f"release {entry['namespace']}/{entry['name']} with chart {entry['chartName']}@{entry['chartVersion']}"


def _said(entry: Json, word: str) -> str:
    version = entry["version"]
    return f"Helm {word} succeeded for {_name(entry).replace(' with', f'.v{version} with')}"


def _id(obj: Json) -> str:
    return str(inventory([obj])["entries"][0]["id"])


def _place(obj: Json) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
