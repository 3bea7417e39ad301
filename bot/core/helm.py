"""The Kubernetes objects of an environment that is a Helm chart, as plain dicts for server-side apply."""

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bot.core import manifests
from bot.core.manifests import DEPLOYMENT_ANNOTATION, KINDS, Manifest, Owner, account_name, kustomization_name

_EXACT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]*")  # a tag; anything else is a range
_OCI = "oci://"


class InRepository(msgspec.Struct, frozen=True):
    """A chart in a folder of the repository, by the GitRepository that the environment goes by."""

    path: str
    source: str
    values: tuple[str, ...] = ()  # files, from the repository's root; the last one wins


class Elsewhere(msgspec.Struct, frozen=True):
    """A chart in a registry of charts; `values` are what the repository's files say at the commit that is deployed."""

    repository: str
    version: str
    name: str | None  # None at oci://, whose address names it
    values: Mapping[str, Any]
    number: int  # of the deployment that wrote them


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """How an environment is applied: what its HelmRelease says."""

    environment: str  # its name
    chart: InRepository | Elsewhere
    target: str  # the namespace of the workloads
    account: str | None = None  # None: sluice-<environment>
    interval: str = "10m"
    timeout: str = "5m"


def chart_source_name(environment: str) -> str:
    """The HelmRepository or OCIRepository of an environment whose chart is kept elsewhere."""
    return f"chart-{kustomization_name(environment)}"


def chart_source(owner: Owner, environment: str, chart: Elsewhere, interval: str = "10m") -> Manifest:
    """Where a chart from elsewhere comes from."""
    kind = source_kind(chart)
    source = owner.manifest(KINDS[kind].api, kind, chart_source_name(environment), owner.namespace)
    source["spec"] = {"url": chart.repository, "interval": interval}
    if kind == "OCIRepository":
        source["spec"]["ref"] = {"tag" if _EXACT.fullmatch(chart.version) else "semver": chart.version}
    return source


def source_kind(chart: Elsewhere) -> str:
    """The kind of its source."""
    return kind_at(chart.repository)


def kind_at(address: str) -> str:
    """HelmRepository, or OCIRepository for an address at oci://."""
    return "OCIRepository" if address.startswith(_OCI) else "HelmRepository"


def helm_release(owner: Owner, release: Release) -> Manifest:
    """An environment's HelmRelease. It never says `suspend`.

    The release is kept in the target namespace, where the account has its rights. A failed upgrade is tried once more
    and then rolled back, and Flux gives up: that is the end of a deployment.
    """
    result = owner.manifest(
        KINDS["HelmRelease"].api, "HelmRelease", kustomization_name(release.environment), owner.namespace
    )
    result["spec"] = {
        "interval": release.interval,
        "timeout": release.timeout,
        "releaseName": kustomization_name(release.environment),
        "targetNamespace": release.target,
        "storageNamespace": release.target,
        "serviceAccountName": release.account or account_name(release.environment),
        "install": {"remediation": {"retries": 1}},
        "upgrade": {"cleanupOnFail": True, "remediation": {"retries": 1, "remediateLastFailure": True}},
    } | _chart(release)
    if isinstance(release.chart, Elsewhere):
        result["metadata"]["annotations"] = {DEPLOYMENT_ANNOTATION: str(release.chart.number)}
    return result


def _chart(release: Release) -> dict[str, Any]:
    chart = release.chart
    if isinstance(chart, InRepository):
        source = {"kind": "GitRepository", "name": chart.source}
        spec: dict[str, Any] = {"chart": _inside(chart.path), "sourceRef": source, "reconcileStrategy": "Revision"}
        spec |= {"valuesFiles": [_inside(path) for path in chart.values]} if chart.values else {}
        return {"chart": {"spec": spec | {"interval": release.interval}}}
    values = {"values": dict(chart.values)} if chart.values else {}
    kind, name = source_kind(chart), chart_source_name(release.environment)
    if kind == "OCIRepository":
        return {"chartRef": {"kind": kind, "name": name}} | values
    source = {"kind": kind, "name": name}
    spec = {"chart": chart.name, "version": chart.version, "sourceRef": source, "interval": release.interval}
    return {"chart": {"spec": spec}} | values


def _inside(path: str) -> str:
    """A path of the repository, as Flux wants it."""
    return "./" + posixpath.normpath(path.strip("/"))


def fingerprint(found: Mapping[str, Any]) -> str:
    """Of what decides what a release of a chart from elsewhere runs: the chart, its version, and the values."""
    spec = found.get("spec", {})
    chart = (spec.get("chart") or {}).get("spec") or {}
    wanted = [chart.get(name) for name in ("chart", "version", "sourceRef")]
    parts = [spec.get("values") or {}, spec.get("chartRef"), *wanted]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def samples(owner: Owner) -> tuple[Manifest, ...]:
    """One of each, to know which fields are written."""
    inside = InRepository("charts/web", manifests.branch_source_name("main"), ("values.yaml",))
    remote = Elsewhere("https://charts.example", "1.x", "web", {"a": 1}, 1)
    registry = Elsewhere("oci://charts.example/web", "1.0.0", None, {"a": 1}, 1)
    releases = [Release(environment="web", chart=chart, target="web") for chart in (inside, remote, registry)]
    sources = [chart_source(owner, "web", chart) for chart in (remote, registry)]
    return (*(helm_release(owner, release) for release in releases), *sources)
