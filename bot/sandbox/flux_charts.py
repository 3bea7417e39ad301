"""source-controller's part of Helm, as far as Sluice needs it: charts of a GitRepository, or of where charts are kept.

What it says when something fails is near to the original's words, and no more: it was not held against it.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from bot.sandbox.cluster import SandboxCluster
from bot.sandbox.cluster_apply import now
from bot.sandbox.cluster_errors import Json
from bot.sandbox.flux_queue import Job, Key, Retry
from bot.sandbox.flux_source import MANAGER, Artifacts
from bot.sandbox.flux_status import Progress
from bot.sandbox.flux_text import seconds

Files = Mapping[str, bytes]
Shelf = dict[str, dict[str, Files]]
"""What is kept at an address: for https by name and version, for oci (whose name is "") by tag; files of each chart."""

_DIGITS = 12


class ChartFailed(Exception):
    """A chart cannot be had: the reason and message of Ready=False."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChartController:
    """Reconciles HelmCharts, HelmRepositories and OCIRepositories."""

    def __init__(self, cluster: SandboxCluster, artifacts: Artifacts, shelves: Mapping[str, Shelf]) -> None:
        self._cluster = cluster
        self._artifacts = artifacts
        self._shelves = shelves
        self._charts: dict[tuple[str, Key], Files] = {}

    def files(self, kind: str, key: Key) -> Files | None:
        """The files of the chart that a HelmChart or OCIRepository holds."""
        return self._charts.get((kind, key))

    async def chart(self, key: Key, _: Job) -> float | None:
        """A HelmChart."""
        return self._reconcile("HelmChart", key, self._packaged)

    async def repository(self, key: Key, _: Job) -> float | None:
        """A HelmRepository."""
        return self._reconcile("HelmRepository", key, self._index)

    async def image(self, key: Key, _: Job) -> float | None:
        """An OCIRepository."""
        return self._reconcile("OCIRepository", key, self._pulled)

    def _reconcile(self, kind: str, key: Key, work: Callable[[Progress, Key], tuple[str, str]]) -> float | None:
        obj = self._cluster.get(kind, *key)
        if obj is None:
            self._charts.pop((kind, key), None)
            return None
        progress = Progress(self._cluster, obj, MANAGER)
        if progress.meta.get("deletionTimestamp"):
            self._charts.pop((kind, key), None)
            progress.remove_finalizer()
            return None
        progress.add_finalizer()
        if progress.spec.get("suspend"):
            return None
        try:
            reason, revision = work(progress, key)
        except ChartFailed as failure:
            progress.set("Ready", "False", failure.reason, str(failure))
            progress.handled()
            progress.save()
            raise Retry from failure
        progress.drop("Reconciling", "Stalled")
        progress.set("Ready", "True", reason, f"stored revision '{revision}'")
        progress.observed()
        progress.handled()
        progress.save()
        return seconds(progress.spec.get("interval", "1h"))

    def _index(self, progress: Progress, key: Key) -> tuple[str, str]:
        url = progress.spec["url"]
        if url not in self._shelves:
            raise ChartFailed("Failed", f"failed to fetch Helm repository index: '{url}/index.yaml' : 404 Not Found")
        _hold(progress, key, "index", f"sha256:{hashlib.sha256(url.encode()).hexdigest()}")
        return "Succeeded", url

    def _pulled(self, progress: Progress, key: Key) -> tuple[str, str]:
        url, tag = progress.spec["url"], progress.spec.get("ref", {}).get("tag", "")
        files = self._shelves.get(url, {}).get("", {}).get(tag)
        if files is None:
            raise ChartFailed(
                "OCIArtifactPullFailed", f"failed to determine artifact digest: GET {url}:{tag}: NOT_FOUND"
            )
        self._charts["OCIRepository", key] = files
        revision = f"{tag}@sha256:{_digest(files)}"
        _hold(progress, key, "oci", revision)
        return "Succeeded", revision

    def _packaged(self, progress: Progress, key: Key) -> tuple[str, str]:
        ref = progress.spec["sourceRef"]
        source = self._cluster.get(ref["kind"], key[0], ref["name"])
        artifact = ((source or {}).get("status") or {}).get("artifact")
        if source is None or not artifact:
            raise ChartFailed("NoSourceArtifact", f"no artifact available for {ref['kind']} source '{ref['name']}'")
        if ref["kind"] == "GitRepository":
            files, suffix = self._of_repository(progress, (key[0], ref["name"]), artifact["revision"])
        else:
            files, suffix = self._of_shelf(progress, source["spec"]["url"]), ""
        progress.status["observedSourceArtifactRevision"] = artifact["revision"]
        about = _about(files, progress.spec["chart"])
        self._charts["HelmChart", key] = files
        version = f"{about['version']}{suffix}"
        progress.status["observedChartName"] = about["name"]
        _hold(progress, key, about["name"], version)
        return "ChartPackageSucceeded", version

    def _of_repository(self, progress: Progress, source: Key, revision: str) -> tuple[Files, str]:
        found = self._artifacts.get(source, revision) or {}
        progress.status["observedSourceArtifactRevision"] = revision
        folder = posixpath.normpath(progress.spec["chart"])
        files = {path.removeprefix(f"{folder}/"): data for path, data in found.items() if path.startswith(f"{folder}/")}
        wanted = [posixpath.normpath(path) for path in progress.spec.get("valuesFiles") or []]
        for path in wanted:
            if path not in found:
                raise ChartFailed(
                    "ValuesFilesError", f"values files merge error: no values file found at path '{path}'"
                )
        if wanted:
            merged: Json = {}
            for path in wanted:
                merged = over(merged, yaml.safe_load(found[path]) or {})
            files = {**files, "values.yaml": yaml.safe_dump(merged).encode()}
        return files, f"+{revision.rpartition(':')[2][:_DIGITS]}"

    def _of_shelf(self, progress: Progress, url: str) -> Files:
        name, version = progress.spec["chart"], progress.spec.get("version", "*")
        files = self._shelves.get(url, {}).get(name, {}).get(version)
        if files is None:
            text = f"invalid chart reference: failed to get chart version for remote reference: no '{name}' chart with "
            raise ChartFailed("InvalidChartReference", f"{text}version matching '{version}' found")
        return files


def over(below: Json, above: Json) -> Json:
    """Values over values: maps are merged, of everything else the upper wins."""
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        result[key] = over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _about(files: Files, chart: str) -> dict[str, Any]:
    """What Chart.yaml says."""
    if "Chart.yaml" not in files:
        text = f"failed to load chart '{chart}': chart metadata is missing: stat Chart.yaml: no such file or directory"
        raise ChartFailed("ChartPackageError", text)
    found = yaml.safe_load(files["Chart.yaml"])
    return {"name": str(found["name"]), "version": str(found["version"])}


def _hold(progress: Progress, key: Key, name: str, revision: str) -> None:
    """A new artifact, where it is a new one."""
    held = progress.status.get("artifact")
    if held and held["revision"] == revision:
        return
    path = f"{progress.kind.lower()}/{key[0]}/{key[1]}/{name}-{revision.rpartition(':')[2]}.tgz"
    progress.status["artifact"] = {
        "revision": revision,
        "lastUpdateTime": now(),
        "path": path,
        "url": f"http://x/{path}",
    }


def _digest(files: Files) -> str:
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(path.encode() + b"\0" + files[path] + b"\0")
    return found.hexdigest()
