"""The Flux objects of an environment as Sluice wants them, from the rows."""

from collections.abc import Mapping
from typing import Any

from bot.core import helm, manifests
from bot.core.manifests import Owner, Rollout
from bot.store.deployments import Place
from models import Environment, Project

KIND_OF = {
    "git-repository": "GitRepository",
    "helm-repository": "HelmRepository",
    "oci-repository": "OCIRepository",
    "kustomization": "Kustomization",
    "helm-release": "HelmRelease",
}


def owner(project: Project, environment: Environment | None = None) -> Owner:
    """Whose objects they are."""
    return Owner(project=project.id, namespace=project.namespace, environment=environment.id if environment else None)


def applier(where: Place, source: str) -> dict[str, Any]:
    """What applies an environment, going by the GitRepository `source`: its Kustomization, or its HelmRelease."""
    chart = where.environment.config.get("helm")
    return kustomization(where, source) if chart is None else helm_release(where, source, chart)


def helm_release(where: Place, source: str, chart: Mapping[str, Any]) -> dict[str, Any]:
    """An environment's HelmRelease of a chart in the repository: {chart: folder, values: [files]}."""
    environment, config = where.environment, where.environment.config
    return helm.helm_release(
        owner(where.project, environment),
        helm.Release(
            environment=environment.name,
            chart=helm.InRepository(chart["chart"], source, tuple(chart.get("values", ()))),
            target=environment.target_namespace,
            account=config.get("service_account"),
            interval=config.get("interval", "10m"),
            timeout=config.get("timeout", "5m"),
        ),
    )


def kustomization(where: Place, source: str) -> dict[str, Any]:
    """An environment's Kustomization, going by the GitRepository `source`."""
    environment, config = where.environment, where.environment.config
    return manifests.kustomization(
        owner(where.project, environment),
        Rollout(
            environment=environment.name,
            path=environment.path,
            source=source,
            target=environment.target_namespace,
            account=config.get("service_account"),
            interval=config.get("interval", "10m"),
            timeout=config.get("timeout", "5m"),
            extra=config.get("kustomization", {}),
        ),
    )
