"""Set GitOps up for a repository: environments, and the Flux objects that bring its commits there."""

import re
import uuid
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from bot import objects
from bot.context import Context
from bot.core import manifests, repoconfig
from bot.core.access import GitAccess
from bot.core.calls import Call
from bot.core.deployments import short
from bot.core.errors import UserError
from bot.core.manifests import Manifest
from bot.core.ports import Cluster, Tree
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.inputs import Evidence, read
from bot.registry import command
from bot.store import deployments, log, projects, runs
from bot.store.deployments import Place, Wish, patience
from bot.store.transactions import Transaction
from models import Environment, GitopsResource, Project


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which environments; all of them for none."""

    environments: Annotated[tuple[str, ...], Meta(description="only these")] = ()


Fetching = tuple[manifests.Git, GitAccess | None]


@dataclass(frozen=True)
class Setup:
    """The rows of a project: its environments with the sources and Kustomizations that belong to them."""

    project: Project
    places: list[Place]
    shared: dict[str, GitopsResource]  # by environment id: the source that it follows unpinned
    going_by: dict[str, GitopsResource]  # by environment id: the source that it goes by now
    kustomizations: dict[str, GitopsResource]


@command("enable", needs=Role.ADMIN, on=("open",))
async def enable(ctx: Context, args: Args) -> Result:
    """Set GitOps up for this repository, or bring it up to date.

    Without names: development, staging and production at deploy/<name>, or what .sluice.yaml on the default branch
    says. Running it again changes only what differs.
    """
    head = await ctx.forge.branch_head(ctx.repository.full_name, ctx.repository.default_branch)
    if head is None:
        raise UserError("branch_missing", f"the default branch {ctx.repository.default_branch} does not exist yet")
    wanted = await _wanted(ctx, args, head)
    heads = await _heads(ctx, list(wanted.values()), head)
    async with ctx.store.write() as tx:
        setup = await _rows(tx, ctx, wanted)
    await _check_namespaces(ctx, setup)
    made = await _apply(ctx, setup, await _fetching(ctx, setup, wanted))
    evidence = {
        where.environment.name: await read(ctx.forge, where, heads[where.environment.branch]) for where in setup.places
    }
    async with ctx.store.write() as tx:
        await _activate(tx, ctx, setup, heads, evidence)
    return done(_report(setup, head, made))


# What is wanted.


async def _wanted(ctx: Context, args: Args, head: str) -> dict[int, repoconfig.Environment]:
    """The environments that are to be set up, by their place in the configuration."""
    tree = await ctx.forge.tree(ctx.repository.full_name, head)
    by_name = {environment.name: environment for environment in await _config(ctx, tree)}
    unknown = [name for name in args.environments if name not in by_name]
    if unknown:
        known = ", ".join(f"`{name}`" for name in by_name)
        raise UserError("target_unknown", f"`{unknown[0]}` is no environment here; there are {known}")
    chosen = set(args.environments or by_name)
    return {place: each for place, each in enumerate(by_name.values()) if each.name in chosen}


async def _heads(ctx: Context, wanted: list[repoconfig.Environment], default_head: str) -> dict[str, str]:
    """The head of every branch that is to be followed; the environments' folders must be there."""
    heads = {ctx.repository.default_branch: default_head}
    for branch in dict.fromkeys(each.branch for each in wanted):
        head = heads.get(branch) or await ctx.forge.branch_head(ctx.repository.full_name, branch)
        if head is None:
            raise UserError("branch_missing", f"the branch `{branch}` that an environment is to follow does not exist")
        heads[branch] = head
        tree = await ctx.forge.tree(ctx.repository.full_name, head)
        here = [each for each in wanted if each.branch == branch]
        missing = [] if tree.truncated else [each for each in here if each.path.strip("/") not in tree.entries]
        if missing:
            raise UserError("path_missing", _files_to_add(branch, missing))
    return heads


async def _config(ctx: Context, tree: Tree) -> tuple[repoconfig.Environment, ...]:
    """What the default branch says; never what the pull request says."""
    branch, entry = ctx.repository.default_branch, tree.entries.get(repoconfig.FILE)
    if entry is None:
        return repoconfig.default_environments(branch)
    content = await ctx.forge.blob(ctx.repository.full_name, entry.oid)
    config = repoconfig.parse(content, branch, ctx.repository.full_name)
    for project in config.projects:
        _refuse_unenforced(project, several=len(config.projects) > 1)
        ctx.check_policy(project.environments)
    return config.projects[0].environments


def _refuse_unenforced(project: repoconfig.Project, *, several: bool) -> None:
    what = ["several projects in one repository"] if several else []
    for environment in project.environments:
        what += [f"`{environment.name}.{field}`" for field in repoconfig.unenforced(environment)]
    if what:
        raise UserError(
            "config_unsupported",
            f"{repoconfig.FILE}: {', '.join(what)}: not supported by this version of Sluice; it was refused, because "
            "ignoring it would deploy without it",
        )


def _files_to_add(branch: str, missing: list[repoconfig.Environment]) -> str:
    files = "\n".join(f"- `{each.path}/kustomization.yaml`" for each in missing)
    return (
        f"these folders do not exist on `{branch}`; add them with at least this file each, then `/enable` again:\n\n"
        f"{files}\n\n```yaml\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n```"
    )


# The rows.


async def _rows(tx: Transaction, ctx: Context, wanted: dict[int, repoconfig.Environment]) -> Setup:
    project = await _project(tx, ctx)
    shared: dict[str, GitopsResource] = {}
    going_by: dict[str, GitopsResource] = {}
    kustomizations: dict[str, GitopsResource] = {}
    places = []
    for position, each in wanted.items():
        environment, kustomizations[each.name] = await _environment(tx, project, each, position)
        where = Place(ctx.repository, project, environment)
        places.append(where)
        source = await projects.ensure_object(
            tx.session,
            project,
            type="git-repository",
            cluster=environment.cluster,
            name=manifests.branch_source_name(environment.branch),
            repository=ctx.repository,
            branch=environment.branch,
        )
        pin = await projects.live_pin(tx.session, environment.id)
        shared[environment.name] = source
        going_by[environment.name] = await tx.session.get_one(GitopsResource, pin.source_id) if pin else source
    return Setup(project, places, shared, going_by, kustomizations)


async def _project(tx: Transaction, ctx: Context) -> Project:
    found = await projects.of_repository(tx.session, ctx.repository.id)
    if found:
        project = found[0]
    else:
        name = ctx.repository.full_name.split("/", 1)[1]
        id = uuid.uuid4()
        project = Project(
            id=id,
            organization_id=ctx.repository.organization_id,
            repository_id=ctx.repository.id,
            name=name,
            slug=manifests.slug(re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or name),
            namespace=manifests.project_namespace(id),
        )
        tx.session.add(project)
    project.initialization_job_id, project.initialization_started_at = ctx.run.id, tx.now
    project.initialization_error = None
    await tx.session.flush()
    return project


async def _environment(
    tx: Transaction, project: Project, wanted: repoconfig.Environment, position: int
) -> tuple[Environment, GitopsResource]:
    """The rows; an environment counts as enabled only when `_activate` has linked the two."""
    environment = await projects.environment_named(tx.session, project.id, wanted.name)
    if environment is None:
        environment = Environment(id=uuid.uuid4(), project_id=project.id, name=wanted.name)
        tx.session.add(environment)
    environment.type = wanted.name if wanted.name in ("development", "staging", "production") else "other"
    environment.branch, environment.path, environment.cluster = wanted.branch, wanted.path.strip("/"), wanted.cluster
    environment.target_namespace = wanted.namespace or manifests.target_namespace(project.namespace, wanted.name)
    environment.position = position
    environment.config = {
        "interval": wanted.interval,
        "timeout": wanted.timeout,
        "service_account": wanted.service_account,
    }
    await tx.session.flush()
    row = await projects.ensure_object(
        tx.session,
        project,
        type="kustomization",
        cluster=wanted.cluster,
        name=manifests.kustomization_name(wanted.name),
        environment_id=environment.id,
    )
    return environment, row


# The cluster.


async def _check_namespaces(ctx: Context, setup: Setup) -> None:
    """A namespace that exists without the project's label is somebody else's."""
    for where in setup.places:
        cluster = ctx.cluster(where.environment.cluster)
        for name in (setup.project.namespace, where.environment.target_namespace):
            found = await cluster.get("Namespace", None, name)
            if found is None:
                continue
            if found["metadata"].get("labels", {}).get(manifests.PROJECT_LABEL) != str(setup.project.id):
                raise UserError("namespace_taken", f"the namespace `{name}` exists and is not this project's")


async def _fetching(ctx: Context, setup: Setup, wanted: dict[int, repoconfig.Environment]) -> Fetching:
    """How Flux gets at the repository; all environments of a project by the same credentials."""
    kind = next((each.git for each in wanted.values()), None)
    access = await ctx.credentials.ensure(ctx.repository, setup.project, kind=kind, actor=ctx.run.actor)
    async with ctx.store.read() as session:
        return await ctx.credentials.git(session, ctx.repository, setup.project), access


async def _apply(ctx: Context, setup: Setup, fetching: Fetching) -> list[str]:
    """Write every object and have it read back; what there is now, for people."""
    made: list[str] = []
    written: set[tuple[str, str, str]] = set()
    for where in setup.places:
        cluster = ctx.cluster(where.environment.cluster)
        for manifest in _manifests(setup, where, fetching):
            metadata = manifest["metadata"]
            key = (where.environment.cluster, manifest["kind"], f"{metadata.get('namespace', '')}/{metadata['name']}")
            if key in written:
                continue
            written.add(key)
            await _write(cluster, manifest)
            if manifest["kind"] in ("Namespace", "GitRepository", "Kustomization"):
                made.append(f"{manifest['kind']} `{key[2].lstrip('/')}`")
    return made


def _manifests(setup: Setup, where: Place, fetching: Fetching) -> list[Manifest]:
    environment, project = where.environment, setup.project
    ours = objects.owner(project)
    theirs = objects.owner(project, environment)
    account = environment.config.get("service_account")
    git, access = fetching
    result = [manifests.namespace(ours, project.namespace)]
    if access is not None:
        result.append(manifests.credentials(ours, access.secret))
    result.append(manifests.branch_source(ours, git, environment.branch))
    result.append(manifests.namespace(theirs, environment.target_namespace))
    if account == manifests.account_name(environment.name):
        result.append(manifests.service_account(theirs, environment.name))
        result.append(manifests.role_binding(theirs, environment.name, environment.target_namespace))
    result.append(objects.kustomization(where, setup.going_by[environment.name].name))
    return result


async def _write(cluster: Cluster, manifest: Manifest) -> None:
    written = await cluster.apply(manifest)
    for field, value in manifest.get("spec", {}).items():
        if written.object.get("spec", {}).get(field) != value:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            raise UserError("not_kept", f"the cluster did not keep `spec.{field}` of {kind} {name}: is its CRD older?")


# The end.


async def _activate(
    tx: Transaction, ctx: Context, setup: Setup, heads: dict[str, str], evidence: dict[str, Evidence]
) -> None:
    project = await tx.session.get_one(Project, setup.project.id)
    project.status, project.initialization_completed_at = "active", tx.now
    log.record(
        tx.session,
        "project.enabled",
        event_type="audit",
        actor=ctx.run.actor,
        organization_id=project.organization_id,
        resource=("project", project.id),
        environments=[where.environment.name for where in setup.places],
    )
    for where in setup.places:
        name = where.environment.name
        row = await tx.session.get_one(Environment, where.environment.id)
        row.gitops_resource_id = where.environment.gitops_resource_id = setup.kustomizations[name].id
        await deployments.one_at_a_time(tx.session, row.id)
        if await projects.live_pin(tx.session, row.id) is not None:
            continue
        wish = Wish(
            commit=heads[where.environment.branch],
            source_id=setup.shared[name].id,
            trigger="enable",
            requested_by=ctx.run.actor,
            inputs_digest=evidence[name].inputs_digest,
            config_digest=evidence[name].config_digest,
            policy_digest=ctx.policy_digest,
            run_id=ctx.run.id,
            pull_request=ctx.call.number,
            patience=patience(where.environment),
        )
        await deployments.open_(tx, where, wish)
    for branch in dict.fromkeys(where.environment.branch for where in setup.places):
        await runs.start(tx, ctx.repository, _look_again(ctx, branch, heads[branch]))


def _look_again(ctx: Context, branch: str, head: str) -> Call:
    """A push that came while this was under way found nothing enabled; it is worked now."""
    return Call(
        kind="work",
        name="push",
        key=f"{ctx.repository.provider}:{ctx.repository.forge_id}:refs/heads/{branch}:enabled:{ctx.run.id}",
        actor=ctx.run.actor,
        arguments={"branch": branch, "commit": head},
    )


def _report(setup: Setup, head: str, made: list[str]) -> str:
    names = ", ".join(f"`{where.environment.name}`" for where in setup.places)
    listed = "\n".join(f"- {each}" for each in made)
    return f"GitOps is set up for {names}, from {short(head)} on. In the cluster:\n\n{listed}"
