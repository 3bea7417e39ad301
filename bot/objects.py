"""The Flux objects of an environment as Sluice wants them, from the rows."""

from collections.abc import Mapping
from typing import Any

from bot.core import helm, manifests
from bot.core.manifests import Owner, Rollout
from bot.store import projects
from bot.store.deployments import Place
from models import Environment, Project

KIND_OF = {
    "git-repository": "GitRepository",
    "helm-repository": "HelmRepository",
    "oci-repository": "OCIRepository",
    "kustomization": "Kustomization",
    "helm-release": "HelmRelease",
}
TYPE_OF = {kind: type for type, kind in KIND_OF.items()}


def owner(project: Project, environment: Environment | None = None) -> Owner:
    """Whose objects they are."""
    return Owner(project=project.id, namespace=project.namespace, environment=environment.id if environment else None)


def wish(where: Place) -> dict[str, Any]:
    """What the configuration makes Sluice write, without what changes with every commit; it is digested."""
    environment = where.environment
    if projects.is_adopted(environment):
        return {"adopt": environment.config["adopt"]}
    if projects.is_elsewhere(environment):
        source, release = elsewhere(where, {}, 0)
        return {"source": source["spec"], **release["spec"]}
    spec: dict[str, Any] = applier(where, "")["spec"]
    place = spec["chart"]["spec"] if "chart" in spec else spec
    del place["sourceRef"]
    return spec


def applier(where: Place, source: str) -> dict[str, Any]:
    """What applies an environment, going by the GitRepository `source`: its Kustomization, or its HelmRelease."""
    chart = where.environment.config.get("helm")
    return kustomization(where, source) if chart is None else helm_release(where, source, chart)


def helm_release(where: Place, source: str, chart: Mapping[str, Any]) -> dict[str, Any]:
    """An environment's HelmRelease of a chart in the repository: {chart: folder, values: [files]}."""
    inside = helm.InRepository(chart["chart"], source, tuple(chart.get("values", ())))
    return helm.helm_release(owner(where.project, where.environment), _release(where.environment, inside))


def elsewhere(where: Place, values: Mapping[str, Any], number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The source of a chart from elsewhere, and the HelmRelease with its values, as deployment `number` wants them."""
    environment = where.environment
    wanted = environment.config["helm"]["chart"]
    chart = helm.Elsewhere(
        repository=wanted["repository"],
        version=wanted["version"],
        name=wanted.get("name"),
        values=values,
        number=number,
    )
    ours, interval = owner(where.project, environment), environment.config.get("interval", "10m")
    source = helm.chart_source(ours, environment.name, chart, interval)
    return source, helm.helm_release(ours, _release(environment, chart))


def _release(environment: Environment, chart: helm.InRepository | helm.Elsewhere) -> helm.Release:
    config = environment.config
    return helm.Release(
        environment=environment.name,
        chart=chart,
        target=environment.target_namespace,
        account=config.get("service_account"),
        interval=config.get("interval", "10m"),
        timeout=config.get("timeout", "5m"),
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
