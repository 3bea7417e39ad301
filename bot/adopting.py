"""Flux objects that others keep: found by name, and only where their source is this very repository."""

from dataclasses import dataclass
from typing import Any

from bot.core import adoption
from bot.core.adoption import Place
from bot.core.errors import UserError
from bot.core.manifests import MANAGED_BY, MANAGED_BY_LABEL
from bot.core.ports import Cluster
from bot.core.repoconfig import Adopt
from bot.dismantling import find
from models import Repository

KINDS = ("Kustomization", "HelmRelease")


@dataclass(frozen=True)
class Adopted:
    """What is there, and the source that it goes by."""

    applier: dict[str, Any]
    source: dict[str, Any]


async def look(cluster: Cluster, repository: Repository, wanted: Adopt) -> Adopted:
    """The object of that name; UserError `not_permitted`, in the same words whether it is there or not."""
    for kind in KINDS:
        found = await find(cluster, kind, wanted.namespace, wanted.name)
        source = await source_of(cluster, found)
        if found is not None and source is not None and is_permitted(repository, found, source):
            return Adopted(found, source)
    raise refused(f"{wanted.namespace}/{wanted.name}")


async def source_of(cluster: Cluster, found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The GitRepository that an object goes by now; its owner may choose another at any time."""
    place = adoption.source_of(found) if found is not None else None
    return await cluster.get(*place) if place is not None else None


def is_permitted(repository: Repository, found: dict[str, Any], source: dict[str, Any] | None) -> bool:
    """Whether it is applied from this repository alone, and is nobody's project of ours."""
    labels = found["metadata"].get("labels") or {}
    ours = adoption.is_ours(source, repository.clone_url, exact_case=False)  # the forges that we speak to do not care
    return ours and labels.get(MANAGED_BY_LABEL) != MANAGED_BY


def refused(name: str) -> UserError:
    """What is said of an object that may not be adopted."""
    return UserError(
        "not_permitted",
        f"`{name}` cannot be adopted: that takes a Kustomization or HelmRelease of this name whose GitRepository "
        "fetches this repository and nothing else",
    )


def place_of(found: dict[str, Any]) -> Place:
    """Kind, namespace and name of an object."""
    return found["kind"], found["metadata"]["namespace"], found["metadata"]["name"]
