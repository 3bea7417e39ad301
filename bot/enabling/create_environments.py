"""The rows of a project's environments, and what is different from before."""

import functools
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from bot import adopting
from bot.adopting import Adopted
from bot.core import adoption, helm, initialization, manifests, repoconfig, rules
from bot.core.errors import UserError
from bot.core.initialization import Difference
from bot.enabling.setup import Setup
from bot.objects import TYPE_OF
from bot.store import pins, projects
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Environment

TYPES = ("development", "staging", "production")


async def create_environments(setup: Setup) -> dict[str, Any]:
    """Every environment has its row and those of its objects; an environment counts only when its objects are there."""
    found = await setup.adopted()
    async with setup.ctx.store.write() as tx:
        rows = await projects.environments_of(tx.session, setup.project.id)
        before = {row.name: _fields(row) for row in rows if row.gitops_resource_id is not None}
        for position, wanted in setup.wanted.asked.items():
            await _environment(tx, setup, wanted, position, found.get(wanted.name))
        rows = await projects.environments_of(tx.session, setup.project.id)
    names = {each.name for each in setup.wanted.asked.values()}
    after = {row.name: _fields(row) for row in rows if row.name in names}
    known = {each.name for each in setup.wanted.project.environments}
    different = initialization.difference(before, after, known=known)
    if not before:
        return {"said": f"{len(after)} new"}
    return {"said": _said(different), "difference": msgspec.to_builtins(different)}


async def _environment(
    tx: Transaction, setup: Setup, wanted: repoconfig.Environment, position: int, adopted: Adopted | None
) -> None:
    project = setup.project
    row = await projects.environment_named(tx.session, project.id, wanted.name)
    target = wanted.target_namespace(project.namespace)
    other = await projects.in_namespace(tx.session, wanted.cluster, target)
    if other is not None and (row is None or other.id != row.id):
        raise UserError("namespace_taken", f"the namespace `{target}` is where another environment goes to")
    if row is None:
        row = Environment(id=uuid.uuid4(), project_id=project.id, name=wanted.name, cluster=wanted.cluster)
        tx.session.add(row)
    else:
        await _refuse_another_kind(tx, row, wanted, adopted)
    if row.cluster != wanted.cluster:
        raise UserError(
            "environment_moved", f"`{row.name}` is in the cluster `{row.cluster}` and cannot move to `{wanted.cluster}`"
        )
    row.type = wanted.name if wanted.name in TYPES else "other"
    row.branch, row.path, row.position = wanted.branch, wanted.path.strip("/"), position
    row.target_namespace = target
    row.cloud_provider, row.region = wanted.cloud_provider, wanted.region
    row.config = {
        "interval": wanted.interval,
        "timeout": wanted.timeout,
        "service_account": wanted.service_account,
        "kustomization": dict(wanted.kustomization),
        **({"helm": msgspec.to_builtins(wanted.helm)} if wanted.helm else {}),
        "rules": rules.to_config(rules.of(wanted)),
    }
    if adopted is not None:
        row.path = adoption.path_of(adopted.applier) or row.path
        row.config = row.config | _theirs(adopted)
    await tx.session.flush()
    await _objects(tx, setup, row, adopted)


def _theirs(adopted: Adopted) -> dict[str, Any]:
    """What an object says that others keep: it is read here, and written nowhere."""
    _, namespace, name = adopting.place_of(adopted.applier)
    chart = adoption.chart_of(adopted.applier)
    found = {"adopt": f"{namespace}/{name}", "timeout": adoption.patience_of(adopted.applier)}
    return found | ({"helm": chart} if chart else {})


async def _objects(tx: Transaction, setup: Setup, row: Environment, adopted: Adopted | None) -> None:
    """What applies it, and the source that it follows."""
    ensure = functools.partial(projects.ensure_object, tx.session, setup.project, cluster=row.cluster)
    if adopted is not None:
        kind, namespace, name = adopting.place_of(adopted.applier)
        repository = setup.ctx.repository
        await ensure(type=TYPE_OF[kind], name=name, adopted_in=namespace, environment_id=row.id, repository=repository)
        return
    type = "helm-release" if "helm" in row.config else "kustomization"
    await ensure(type=type, name=manifests.kustomization_name(row.name), environment_id=row.id)
    if projects.is_elsewhere(row):
        type = TYPE_OF[helm.kind_at(row.config["helm"]["chart"]["repository"])]
        name = helm.chart_source_name(row.name)
        await ensure(type=type, name=name, environment_id=row.id, repository=setup.ctx.repository)
        return
    where = Place(setup.ctx.repository, setup.project, row)
    if where.rules.protected:
        await pins.own_source(tx, where)
        return
    name = manifests.branch_source_name(row.branch)
    await ensure(type="git-repository", name=name, repository=setup.ctx.repository, branch=row.branch)


async def _refuse_another_kind(
    tx: Transaction, row: Environment, wanted: repoconfig.Environment, adopted: Adopted | None
) -> None:
    """What applies an environment stays of its kind: another would take over what the first one applied.

    What others kept may be handed over; Sluice forgets it then, and never touches it.
    """
    before, now = _kind(row.config), _wanted_kind(wanted, adopted)
    applier = await projects.applier(tx.session, row.id)
    if before == now or applier is None:
        return
    if applier.adopted:
        applier.deleted_at, row.gitops_resource_id = tx.now, None
        await tx.session.flush()
        return
    raise UserError(
        "environment_moved",
        f"`{row.name}` is applied by {before} and cannot become {now}; `/disable` and `/enable` it, or give the "
        "new one a name of its own",
    )


def _wanted_kind(wanted: repoconfig.Environment, adopted: Adopted | None) -> str:
    if adopted is not None:
        return _kind(_theirs(adopted))
    return _kind({"helm": msgspec.to_builtins(wanted.helm)} if wanted.helm else {})


def _kind(config: Mapping[str, Any]) -> str:
    if config.get("adopt") is not None:
        return f"{config['adopt']}, which others keep"
    chart = (config.get("helm") or {}).get("chart")
    if chart is None:
        return "a Kustomization"
    return "a chart in the repository" if isinstance(chart, str) else f"a chart by {helm.kind_at(chart['repository'])}"


def _fields(row: Environment) -> dict[str, Any]:
    """What people may have changed, by the names of the configuration."""
    config = {name: value for name, value in row.config.items() if name != "rules"}
    gates = {name: _words(value) for name, value in row.config.get("rules", {}).items()}
    return {"path": row.path, "branch": row.branch, "namespace": row.target_namespace, **config, **gates}


def _words(value: Any) -> Any:
    """Lists of words as people write them; two lists of people where both must allow."""
    return ", ".join(filter(None, map(_words, value))) if isinstance(value, list | tuple) else value


def _said(different: Difference) -> str:
    counts = {"new": different.added, "changed": different.changed, "not in the configuration any more": different.gone}
    return ", ".join(f"{len(names)} {what}" for what, names in counts.items() if names) or "nothing differs"
