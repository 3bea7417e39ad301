"""The fields of `.sluice.yaml`: what each may hold, and what editors and the docs say of it."""

import re
import zoneinfo
from collections.abc import Mapping
from functools import cache
from typing import Any

from bot.core import manifests
from bot.core.fields import Either, Field, Fields, Flag, Many, Named, OneOf, Shared, Text, Value, Whole

ENVIRONMENT_LIMIT = 50
PROJECT_LIMIT = 50
DEPLOY_FROM = ("merged", "pull_request")
CREDENTIALS = ("token", "deploy_key", "app", "oauth")

_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\\"
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DAY_AND_TIME = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?:[01][0-9]|2[0-3]):[0-5][0-9]"


def _duration_problem(value: str) -> str | None:
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    return None if 1 <= seconds <= 7 * 86_400 else "must be between 1s and 168h"


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _zone_problem(value: str) -> str | None:
    zone = value.rpartition(" ")[2]
    return f"names {zone}, which is no time zone (one is Europe/Berlin)" if _zones() and zone not in _zones() else None


def _secret_problem(value: Any) -> str | None:
    """What Flux would write into manifests must not be what it fetches with."""
    sources = value.get("substituteFrom") if isinstance(value, dict) else None
    for source in sources if isinstance(sources, list) else []:
        if isinstance(source, dict) and source.get("name") == manifests.CREDENTIALS:
            return f"must not read {manifests.CREDENTIALS}: that is what Flux fetches with"
    return None


LABEL = (
    r"^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$",
    "must be lower-case letters, digits and -, and begin and end with no -",
)
_LABEL_LENGTH = "must be at most {1} lower-case letters, digits and -"

ENVIRONMENT_NAME = Text(rules=(LABEL,), longest=40, length=_LABEL_LENGTH)
PROJECT_NAME = Text(rules=(LABEL,), longest=50, length=_LABEL_LENGTH)
CLUSTER = Text(rules=(LABEL,), longest=63, length=_LABEL_LENGTH)
NAMESPACE = Text(
    rules=(LABEL, (r"^(?!project-[0-9a-f]{8}(?:-|$))", "must not be one of Sluice's own (project-…)")),
    longest=63,
    length=_LABEL_LENGTH,
)
SERVICE_ACCOUNT = Text(
    shortest=0,
    rules=((r"^(?!.*\.\.)(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)?$", "must be lower-case letters, digits, - and ."),),
    length="must be the name of a service account",
)
PATH = Text(
    rules=(
        (r"^(?!/)", "must not begin with /; it counts from the repository's root"),
        (r"^(?!(?:[^/]*/)*\.\.(?:/|$))", "must not leave the repository (..)"),
        (rf"^[^{_UNPRINTABLE}]*$", "holds a character that a path must not have here (control, invisible or \\)"),
    ),
    longest=1024,
    length="must be a path in the repository",
)
BRANCH = Text(
    rules=(
        (
            rf"^(?![-/.])(?!@$)(?!(?:.*(?:\.\.|@\{{|//|/\.|\.lock(?:/|$)))|.*[/.]$)[^{_UNPRINTABLE} ~^:?*\[]+$",
            "is no name that Git allows for a branch",
        ),
        (
            r"^(?!sluice/|refs/)",
            "must be a branch of yours (those below sluice/ are Sluice's own, refs/ is left out)",
        ),
    ),
    longest=250,
    length="is no name that Git allows for a branch",
)
DURATION = Text(
    rules=((r"^(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+$", "must be a duration such as 30s, 10m or 1h30m"),),
    longest=20,
    length="must be a duration such as 30s, 10m or 1h30m",
    check=_duration_problem,
)
WHO = Text(
    rules=(
        (
            r"^(?:user:[A-Za-z0-9](?:[-_.A-Za-z0-9]*)|team:[A-Za-z0-9][-_.A-Za-z0-9]*(?:/[-_.A-Za-z0-9]+)+"
            r"|role:(?:read|write|maintain|admin))$",
            "must be user:LOGIN, team:ORGANIZATION/TEAM or role:read, role:write, role:maintain, role:admin",
        ),
    ),
)
CHECK = Text(
    rules=(
        (rf"^[^{_UNPRINTABLE}]*$", "holds a character that the name of a check must not have"),
        (r"^(?!sluice/)", "must not be one of Sluice's own statuses"),
    ),
    longest=255,
)
FREEZE = Text(
    rules=(
        (
            rf"^{_DAY_AND_TIME} - {_DAY_AND_TIME} [A-Za-z]+(?:[-_/+][A-Za-z0-9]+)*$",
            "must be like `Fri 16:00 - Mon 08:00 Europe/Berlin`",
        ),
    ),
    check=_zone_problem,
)
ADOPT = Text(
    rules=(
        (
            r"^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$",
            "must be the namespace and name of a Flux object, like flux-system/web",
        ),
    ),
    longest=317,
)
WORD = Text(rules=((rf"^[^{_UNPRINTABLE} ]*$", "must be one word"),), longest=63)
CHART_URL = Text(
    rules=((r"^(?:https|oci)://[A-Za-z0-9][^\x00-\x20\x7f\\@]*$", "must be an https:// or oci:// address"),),
    longest=1024,
)
CHART_NAME = Text(rules=((r"^[A-Za-z0-9][-_.A-Za-z0-9]*$", "must be a chart's name"),), longest=250)
CHART_VERSION = Text(
    rules=((r"^[0-9xX*^~<>=v][-+_.,|^~<>=*A-Za-z0-9 ]*$", "must be a version or a range, like 6.5.0 or 6.x"),)
)

# What a Kustomization of Flux can say beside what Sluice says; the types are Flux's, the rest Flux checks.
_PASSED: Mapping[str, tuple[str, str]] = {
    "commonMetadata": ("object", "Labels and annotations for everything that is applied"),
    "components": ("array", "Kustomize components, relative to the path"),
    "decryption": ("object", "How secrets in the repository are decrypted (SOPS)"),
    "dependsOn": ("array", "Kustomizations that must be ready first"),
    "force": ("boolean", "Make objects anew whose fields cannot be changed"),
    "healthCheckExprs": ("array", "When custom resources are healthy, in CEL"),
    "healthChecks": ("array", "What must be healthy; with `wait` all is checked anyway"),
    "ignoreMissingComponents": ("boolean", "Go on where a component is not there"),
    "images": ("array", "Image names, tags and digests to replace"),
    "namePrefix": ("string", "Put before every name"),
    "nameSuffix": ("string", "Put after every name"),
    "patches": ("array", "Patches for what is built"),
    "postBuild": ("object", "Variables to put in after the build"),
    "retryInterval": ("string", "How soon Flux tries again after a failure"),
    "wait": ("boolean", "Whether all that is applied must become healthy"),
}
_SLUICES = "is Sluice's own and cannot be set under `kustomization`"
KUSTOMIZATION = Fields(
    fields={
        name: Field(kind=Value(type, _secret_problem if name == "postBuild" else None), doc=doc)
        for name, (type, doc) in _PASSED.items()
    },
    refused={
        **dict.fromkeys(sorted(manifests.OWNED_FIELDS), _SLUICES),
        "interval": f"{_SLUICES}; set `interval` of the environment",
        "timeout": f"{_SLUICES}; set `timeout` of the environment",
    },
)

CHART = Fields(
    fields={
        "repository": Field(
            kind=CHART_URL, doc="Where the chart is kept", example="https://charts.example.org", required=True
        ),
        "name": Field(kind=CHART_NAME, doc="The chart's name; left out for oci://", example="podinfo"),
        "version": Field(kind=CHART_VERSION, doc="The chart's version or a range", example="6.5.0", required=True),
    }
)
HELM = Fields(
    fields={
        "chart": Field(
            kind=Either(PATH, CHART),
            doc="A chart's folder in the repository, or {repository, name, version} of one elsewhere",
            example="charts/web",
            required=True,
        ),
        "values": Field(
            kind=Many(PATH, most=20),
            doc="Files of values in the repository, counted from its root; the last one wins",
            default="none",
            example="[deploy/values.yaml, deploy/production.yaml]",
        ),
    }
)

ENVIRONMENT = Fields(
    fields={
        "path": Field(kind=PATH, doc="The folder to deploy", default="deploy/<name>", example="apps/web/production"),
        "branch": Field(kind=BRANCH, doc="The branch to follow", default="the default branch", example="main"),
        "cluster": Field(
            kind=CLUSTER, doc="One of the clusters that the operator named", default="default", example="edge"
        ),
        "namespace": Field(
            kind=NAMESPACE,
            doc="Where the workloads go; the operator's policy must allow it",
            default="<project namespace>-<name>, made by Sluice",
            example="web-production",
        ),
        "service_account": Field(
            kind=SERVICE_ACCOUNT,
            doc='Whom Flux applies as, in the project\'s namespace; the operator must allow it, and "" (nobody), too',
            default="sluice-<name>, made by Sluice",
            example="web-deployer",
        ),
        "interval": Field(kind=DURATION, doc="How often Flux looks by itself", default="10m", example="10m"),
        "timeout": Field(kind=DURATION, doc="How long applying may take", default="5m", example="10m"),
        "auto_sync": Field(kind=Flag(), doc="Follow the branch without being asked", default="true", example="false"),
        "approvals": Field(kind=Whole(0, 20), doc="How many people must approve", default="0", example="2"),
        "approvers": Field(
            kind=Many(WHO),
            doc="Who may approve, narrower than the forge's roles",
            default="everybody with the role approver",
            example='["team:acme/sre", "user:alice"]',
        ),
        "deployers": Field(
            kind=Many(WHO),
            doc="Who may deploy, narrower than the forge's roles",
            default="everybody with the role deployer",
            example='["role:write"]',
        ),
        "reviews_count": Field(
            kind=Flag(), doc="A review that approves counts as /approve of its commit", default="false", example="true"
        ),
        "after": Field(
            kind=ENVIRONMENT_NAME,
            doc="The environment of the same project that must have succeeded with the same inputs first",
            default="none",
            example="staging",
        ),
        "deploy_from": Field(
            kind=OneOf(DEPLOY_FROM),
            doc="What may be deployed: only what was merged, or a pull request's head, too",
            default="none: the branch is followed, and /deploy takes a pull request's head",
            example="merged",
        ),
        "forks": Field(
            kind=Flag(), doc="Whether pull requests from forks may run commands", default="false", example="false"
        ),
        "name_commit": Field(
            kind=Flag(), doc="Whether /deploy must name the commit that it means", default="false", example="true"
        ),
        "up_to_date": Field(
            kind=Flag(), doc="Whether a change must hold all of its branch", default="false", example="true"
        ),
        "checks": Field(
            kind=Many(CHECK), doc="Statuses that must be green first", default="none", example='["ci/test"]'
        ),
        "freeze": Field(
            kind=Many(FREEZE),
            doc="Weekly times in which nothing is deployed",
            default="none",
            example='["Fri 16:00 - Mon 08:00 Europe/Berlin"]',
        ),
        "cloud_provider": Field(kind=WORD, doc="Where the cluster runs, for people", default="none", example="aws"),
        "region": Field(kind=WORD, doc="Where the cluster runs, for people", default="none", example="eu-central-1"),
        "kustomization": Field(
            kind=KUSTOMIZATION,
            doc="Passed into the Kustomization's spec; what Sluice owns is refused",
            default="none",
            example="{postBuild: {substitute: {region: eu}}}",
        ),
        "helm": Field(kind=HELM, doc="A chart instead of a folder", default="none", example="{chart: charts/web}"),
        "adopt": Field(
            kind=ADOPT,
            doc="A Flux object that is kept elsewhere: it is watched and reported, never written",
            default="none",
            example="flux-system/web",
        ),
    },
    one_of=("kustomization", "helm", "adopt"),
    may_be_empty=True,
)

ENVIRONMENTS = Named(
    name=ENVIRONMENT_NAME, kind=Shared("environment", ENVIRONMENT), noun="environment", most=ENVIRONMENT_LIMIT
)
_PROJECT_FIELDS = {
    "environments": Field(
        kind=ENVIRONMENTS,
        doc="The places that the project is deployed to, by name",
        default="development, staging and production",
        example="{production: {path: deploy/production}}",
    ),
    "git": Field(
        kind=OneOf(CREDENTIALS),
        doc="What Flux fetches with",
        default="what the operator set up",
        example="deploy_key",
    ),
}
PROJECT = Fields(fields=_PROJECT_FIELDS, may_be_empty=True)
CONFIG = Fields(
    fields={
        "version": Field(kind=Whole(1, 1), doc="The version of this format", example="1", required=True),
        "projects": Field(
            kind=Named(name=PROJECT_NAME, kind=Shared("project", PROJECT), noun="project", most=PROJECT_LIMIT),
            doc="The repository's projects, by name; leave it out for a single one named after the repository",
            default="none",
            example="{web: {environments: {production: {path: apps/web/production}}}}",
        ),
        **_PROJECT_FIELDS,
    }
)
DEFINITIONS = {"environment": ENVIRONMENT, "project": PROJECT}
