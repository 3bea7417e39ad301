"""Whether a Flux object that others keep may be adopted: its source must be this very repository."""

import posixpath
import re
from typing import Any
from urllib.parse import unquote, urlsplit

Object = dict[str, Any]
Place = tuple[str, str, str]  # kind, namespace, name

_SCP = re.compile(r"(?:[^@/\s:]+@)?([^/\s:@]+):(?!//)(.+)")
_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}


def normal(url: str) -> str | None:
    """A repository's address without what makes no difference: scheme, user, usual port, case of the host, `.git`.

    None for what is no address of a repository.
    """
    text = url.strip()
    if (short := _SCP.fullmatch(text)) and "://" not in text:
        text = f"ssh://{short[1]}/{short[2].removeprefix('/')}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    path = unquote(parts.path).removeprefix("/").removesuffix("/").removesuffix(".git")
    if parts.scheme not in _PORTS or not parts.hostname or not path or parts.query or parts.fragment:
        return None
    if any(step in ("", ".", "..") for step in path.split("/")):
        return None
    shown = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.hostname.rstrip('.').lower()}{shown}/{path}"


def same_repository(url: str, ours: str, *, exact_case: bool = True) -> bool:
    """Whether two addresses are of one repository; GitHub and Gitea do not care about the case of its name."""
    one, other = normal(url), normal(ours)
    if one is None or other is None:
        return False
    return one == other if exact_case else one.lower() == other.lower()


def source_of(found: Object) -> Place | None:
    """The source that a Kustomization or HelmRelease goes by; None if it names none that Sluice reads."""
    spec = found.get("spec") or {}
    chart = (spec.get("chart") or {}).get("spec") or {}
    reference = spec.get("sourceRef") or chart.get("sourceRef") or {}
    if reference.get("kind") != "GitRepository" or not reference.get("name"):
        return None
    return "GitRepository", str(reference.get("namespace") or found["metadata"]["namespace"]), str(reference["name"])


def path_of(found: Object) -> str | None:
    """The folder that a Kustomization applies, from the repository's root; None for what is none."""
    if found.get("kind") != "Kustomization":
        return None
    return posixpath.normpath("/" + str((found.get("spec") or {}).get("path") or "")).lstrip("/")


def chart_of(found: Object) -> dict[str, Any] | None:
    """The chart of a HelmRelease, in the words of the configuration; None for what is none."""
    chart = ((found.get("spec") or {}).get("chart") or {}).get("spec")
    if found.get("kind") != "HelmRelease" or not isinstance(chart, dict):
        return None
    inside = [posixpath.normpath("/" + str(path)).lstrip("/") for path in chart.get("valuesFiles") or ()]
    return {"chart": posixpath.normpath("/" + str(chart.get("chart", ""))).lstrip("/"), "values": inside}


def patience_of(found: Object) -> str:
    """How long Flux gives it."""
    spec = found.get("spec") or {}
    return str(spec.get("timeout") or (spec.get("interval") if found.get("kind") == "Kustomization" else None) or "5m")


def branch_of(source: Object) -> str | None:
    """The branch that a GitRepository follows; None where it is kept at something that no push moves."""
    ref = (source.get("spec") or {}).get("ref") or {}
    if any(ref.get(field) for field in ("tag", "semver", "name", "commit")):
        return None
    return str(ref.get("branch") or "master")


def is_ours(source: Object | None, clone_url: str, *, exact_case: bool = True) -> bool:
    """Whether a GitRepository fetches this repository and nothing else: one that includes others may apply theirs."""
    spec = (source or {}).get("spec") or {}
    if spec.get("include"):
        return False
    return same_repository(str(spec.get("url", "")), clone_url, exact_case=exact_case)
