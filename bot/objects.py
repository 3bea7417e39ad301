"""The Flux objects of an environment as Sluice wants them, from the rows."""

from typing import Any

from bot.core import manifests
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
