"""Whether a Flux object that others keep may be adopted: its source must be this very repository."""

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


def is_ours(source: Object | None, clone_url: str, *, exact_case: bool = True) -> bool:
    """Whether a GitRepository fetches this repository and nothing else: one that includes others may apply theirs."""
    spec = (source or {}).get("spec") or {}
    if spec.get("include"):
        return False
    return same_repository(str(spec.get("url", "")), clone_url, exact_case=exact_case)
