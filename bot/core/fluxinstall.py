"""Makes of Flux's published manifests what is to be applied: in which order, with which limits, flags and gates."""

import copy
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from bot.core.checks import GATE
from bot.core.errors import UserError

Manifest = dict[str, Any]

VERSION = "2.9.3"  # of the controllers that the end-to-end tests run
RELEASE = "https://github.com/fluxcd/flux2/releases/download/v{version}/install.yaml"

# From the versions that first know the gate; an older controller would not start with it.
_KNOWS_GATE = {"kustomize-controller": (1, 7), "helm-controller": (1, 5)}
_NEEDED = ("source-controller", "kustomize-controller")
_FIRST = ("CustomResourceDefinition", "Namespace")
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_RELEASE_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?)")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What each controller may use; None: as Flux's manifests say."""

    cpu: str | None = None
    memory: str | None = None


def release_url(version: str) -> str:
    """Where the manifests of a version are published."""
    found = _RELEASE_VERSION.fullmatch(version)
    if found is None:
        raise UserError("usage", f"{version!r} is no version of Flux: one is {VERSION}")
    return RELEASE.format(version=found[1])


def stages(documents: Iterable[Manifest], limits: Limits) -> list[list[Manifest]]:
    """The objects in the order of their application: definitions, namespaces, what controllers need, controllers."""
    wanted = [_tuned(each, limits) for each in documents]
    names = {each["metadata"]["name"] for each in wanted if each["kind"] == "Deployment"}
    missing = [name for name in _NEEDED if name not in names]
    if missing or not any(each["kind"] == "CustomResourceDefinition" for each in wanted):
        what = ", ".join(missing) or "the definitions of Flux's kinds"
        raise UserError("manifest_invalid", f"these are not Flux's install manifests: {what} is not in them")
    ranked: list[list[Manifest]] = [[], [], [], []]
    for each in wanted:
        ranked[_rank(each["kind"])].append(each)
    return [stage for stage in ranked if stage]


def documents(loaded: Iterable[Any]) -> list[Manifest]:
    """The objects of a file, or UserError for what is none."""
    found: list[Manifest] = []
    for number, each in enumerate(loaded, 1):
        if each is None:
            continue
        metadata = each.get("metadata") if isinstance(each, dict) else None
        if not isinstance(metadata, dict) or not metadata.get("name") or not each.get("kind"):
            raise UserError("manifest_invalid", f"document {number} of the manifests is no Kubernetes object")
        found.append(each)
    return found


def _rank(kind: str) -> int:
    if kind in _FIRST:
        return _FIRST.index(kind)
    return 3 if kind == "Deployment" else 2


def _tuned(manifest: Manifest, limits: Limits) -> Manifest:
    if manifest["kind"] != "Deployment":
        return manifest
    result = copy.deepcopy(manifest)
    for container in result["spec"]["template"]["spec"]["containers"]:
        if container.get("name") == "manager":
            _limit(container, limits)
            _flag(result["metadata"]["name"], container)
    return result


def _limit(container: Manifest, limits: Limits) -> None:
    wanted = {"cpu": limits.cpu, "memory": limits.memory}
    given = {resource: value for resource, value in wanted.items() if value is not None}
    if given:
        resources = container.setdefault("resources", {})
        resources["limits"] = {**(resources.get("limits") or {}), **given}


def _flag(name: str, container: Manifest) -> None:
    """Have objects without an account applied as nobody, and a newer revision end the health checks of an older one."""
    if name not in _KNOWS_GATE:
        return
    words = [str(word) for word in container.get("args") or []]
    if not any(word.startswith("--default-service-account=") for word in words):
        words.append("--default-service-account=default")
    if knows_gate(name, str(container.get("image", ""))):
        words = _with_gate(words)
    container["args"] = words


def _with_gate(words: list[str]) -> list[str]:
    """Flux's gates are one flag with commas."""
    flag = "--feature-gates="
    gates = [gate for word in words if word.startswith(flag) for gate in word.removeprefix(flag).split(",") if gate]
    others = [gate for gate in gates if gate.partition("=")[0] != GATE]
    return [*(word for word in words if not word.startswith(flag)), flag + ",".join([*others, f"{GATE}=true"])]


def knows_gate(name: str, image: str) -> bool:
    """Whether a controller knows the gate; one whose version cannot be told is taken for a current one."""
    found = _VERSION.match(image.partition("@")[0].rpartition(":")[2])
    return found is None or (int(found[1]), int(found[2])) >= _KNOWS_GATE[name]


# Is it there?


def is_established(definition: Manifest) -> bool:
    """Whether the API server serves a definition's kind."""
    return _condition(definition, "Established") == "True"


def why_unavailable(deployment: Manifest | None) -> str | None:
    """What a controller lacks to be available as it was written last; None if nothing."""
    if deployment is None:
        return "it is not there"
    status = deployment.get("status") or {}
    if status.get("observedGeneration") != deployment["metadata"].get("generation"):
        return "it was not looked at yet"
    wanted = deployment["spec"].get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated >= wanted and available >= wanted and status.get("replicas", 0) == updated:
        return None
    return f"{min(updated, available)} of {wanted} pods are available"


def _condition(found: Manifest, kind: str) -> str:
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((str(each.get("status")) for each in conditions if each.get("type") == kind), "")
