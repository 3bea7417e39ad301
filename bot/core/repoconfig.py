"""Reads a repository's `.sluice.yaml`; what is wrong in it is refused by line, column and field, and never ignored."""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bot.core import manifests
from bot.core.config_fields import CONFIG
from bot.core.fields import Reader

FILE = ".sluice.yaml"
DEFAULT_NAMES = ("development", "staging", "production")

# What holds an environment back; nothing of it can be kept for an object that others keep.
HOLDS = ("auto_sync", "approvals", "after", "deploy_from", "checks", "freeze", "namespace", "service_account")


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart that is kept elsewhere; one at oci:// has no name of its own."""

    repository: str
    version: str
    name: str | None = None


class Helm(msgspec.Struct, frozen=True, kw_only=True):
    """A chart, in a folder of the repository or elsewhere, and the repository's files of values for it."""

    chart: str | Chart
    values: tuple[str, ...] = ()


class Adopt(msgspec.Struct, frozen=True, kw_only=True):
    """A Flux object that is kept by others: read, never written."""

    namespace: str
    name: str


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """A place that a project is deployed to, as the configuration wants it."""

    name: str
    path: str
    branch: str
    namespace: str | None = None  # None: named after the project's namespace
    cluster: str = "default"
    service_account: str  # "": Flux applies without impersonation
    interval: str = "10m"
    timeout: str = "5m"
    auto_sync: bool = True
    approvals: int = 0
    approvers: tuple[str, ...] = ()
    deployers: tuple[str, ...] = ()
    reviews_count: bool = False
    after: str | None = None
    deploy_from: str | None = None  # merged | pull_request
    forks: bool = False
    name_commit: bool = False
    up_to_date: bool = False
    checks: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    cloud_provider: str | None = None
    region: str | None = None
    kustomization: Mapping[str, Any] = {}
    helm: Helm | None = None
    adopt: Adopt | None = None
    git: str | None = None  # its project's; None: what the operator set up

    def target_namespace(self, project_namespace: str) -> str:
        """Where the workloads go."""
        return self.namespace or manifests.target_namespace(project_namespace, self.name)

    @property
    def elsewhere(self) -> bool:
        """Whether its chart is kept elsewhere: then the repository has only the values."""
        return self.helm is not None and isinstance(self.helm.chart, Chart)

    @property
    def needed(self) -> tuple[str, ...]:
        """The files and folders of the repository that must be there."""
        if self.adopt is not None:
            return ()
        if self.helm is None:
            return (self.path,)
        inside = (f"{self.helm.chart}/Chart.yaml",) if isinstance(self.helm.chart, str) else ()
        return (*inside, *self.helm.values)

    @property
    def own_account(self) -> bool:
        """Whether Flux applies as an account that Sluice makes."""
        return self.service_account == manifests.account_name(self.name)


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """One deployable thing of a repository; `name` is a DNS label."""

    name: str
    environments: tuple[Environment, ...]
    git: str | None = None

    def environment(self, name: str) -> Environment | None:
        """The environment of that name."""
        return next((each for each in self.environments if each.name == name), None)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A repository's configuration: one project or more."""

    projects: tuple[Project, ...]

    def project(self, name: str) -> Project | None:
        """The project of that name."""
        return next((each for each in self.projects if each.name == name), None)


def project_name(repository: str) -> str:
    """What the single project of a repository is called."""
    return manifests.slug(repository.rpartition("/")[2].lower().replace("_", "-").replace(".", "-"))


def default_environments(default_branch: str, names: Sequence[str] = DEFAULT_NAMES) -> tuple[Environment, ...]:
    """The environments of a repository without a configuration: at deploy/<name>, following the default branch."""
    return tuple(_environment(name, {}, default_branch, None) for name in names)


def default(default_branch: str, repository: str) -> Config:
    """The configuration of a repository without `.sluice.yaml`."""
    project = Project(name=project_name(repository), environments=default_environments(default_branch))
    return Config(projects=(project,))


def parse(content: bytes, default_branch: str, repository: str, file: str = FILE) -> Config:
    """The configuration of a file; UserError `config_invalid` names line, column and field."""
    reader = Reader(file, "config_invalid")
    fields = reader.read(content, CONFIG)
    if "projects" not in fields:
        project = _project(project_name(repository), fields, default_branch)
        _check_project(reader, project, "environments")
        _check_targets(reader, {"environments": project})
        return Config(projects=(project,))
    for name in ("environments", "git"):
        if name in fields:
            reader.refuse_at(name, "must stand below its project where there are projects")
    projects = {
        f"projects.{name}.environments": _project(name, inner, default_branch)
        for name, inner in fields["projects"].items()
    }
    _check_paths(reader, projects, fields["projects"])
    for place, project in projects.items():
        _check_project(reader, project, place)
    _check_targets(reader, projects)
    return Config(projects=tuple(projects.values()))


def _project(name: str, fields: Mapping[str, Any], default_branch: str) -> Project:
    git = fields.get("git")
    environments = fields.get("environments", {each: {} for each in DEFAULT_NAMES})
    made = tuple(_environment(each, inner, default_branch, git) for each, inner in environments.items())
    return Project(name=name, environments=made, git=git)


def _environment(name: str, fields: Mapping[str, Any], default_branch: str, git: str | None) -> Environment:
    """One environment; what its fields leave out is as without a configuration."""
    values = {
        "path": f"deploy/{name}",
        "branch": default_branch,
        "service_account": manifests.account_name(name),
        **fields,
    }
    values["path"] = posixpath.normpath(values["path"])
    values["helm"] = _helm(fields["helm"]) if "helm" in fields else None
    values["adopt"] = _adopt(fields["adopt"]) if "adopt" in fields else None
    return Environment(name=name, git=git, **values)


def _helm(fields: Mapping[str, Any]) -> Helm:
    chart = fields["chart"]
    return Helm(
        chart=posixpath.normpath(chart) if isinstance(chart, str) else Chart(**chart),
        values=tuple(posixpath.normpath(path) for path in fields.get("values", ())),
    )


def _adopt(text: str) -> Adopt:
    namespace, _, name = text.partition("/")
    return Adopt(namespace=namespace, name=name)


# What only several fields together tell.


def _check_project(reader: Reader, project: Project, place: str) -> None:
    """`after` names another environment of the project, and never in a circle; a chart elsewhere has a name."""
    for environment in project.environments:
        here = f"{place}.{environment.name}"
        _check_after(reader, project, environment, f"{here}.after")
        chart = environment.helm.chart if environment.helm else None
        if isinstance(chart, Chart) and (chart.name is None) != chart.repository.startswith("oci://"):
            wrong = "is missing" if chart.name is None else "must be left out for oci://, whose address names the chart"
            reader.refuse_at(f"{here}.helm.chart.name", wrong)
        if environment.adopt is not None:
            _check_adopted(reader, environment, here)


def _check_adopted(reader: Reader, environment: Environment, here: str) -> None:
    """What others keep goes where they let it go: a gate in front of it would be none."""
    plain = _environment(environment.name, {}, environment.branch, None)
    for field in HOLDS:
        if getattr(environment, field) != getattr(plain, field):
            reader.refuse_at(f"{here}.{field}", "cannot stand beside `adopt`: Sluice watches that, and cannot hold it")


def _check_after(reader: Reader, project: Project, environment: Environment, place: str) -> None:
    seen, following = {environment.name}, environment.after
    while following is not None:
        before = project.environment(following)
        if before is None:
            known = ", ".join(each.name for each in project.environments)
            reader.refuse_at(place, f"names no environment of this project; there are {known}")
        if before.name in seen:
            reader.refuse_at(place, "goes round in a circle, so that nothing would ever be first")
        seen.add(before.name)
        following = before.after


def _check_paths(reader: Reader, projects: Mapping[str, Project], written: Mapping[str, Any]) -> None:
    """Several projects cannot all lie in deploy/<name>, so each says where it lies."""
    if len(projects) < 2:
        return
    for place, project in projects.items():
        environments = written[project.name].get("environments")
        if environments is None:
            reader.refuse_at(place, "is missing; where there are several projects each says where it lies")
        for name, fields in environments.items():
            if not {"path", "helm", "adopt"} & set(fields):
                reader.refuse_at(
                    f"{place}.{name}.path", "is missing; where there are several projects each says its own"
                )


def _check_targets(reader: Reader, projects: Mapping[str, Project]) -> None:
    """Two environments of one cluster would prune each other's objects in one target namespace."""
    owners: dict[tuple[str, str], str] = {}
    adopted: dict[tuple[str, Adopt], str] = {}
    for place, project in projects.items():
        for environment in project.environments:
            if environment.adopt is not None:
                key, here = (environment.cluster, environment.adopt), f"{place}.{environment.name}"
                if key in adopted:
                    reader.refuse_at(f"{here}.adopt", f"is adopted as {adopted[key]} already")
                adopted[key] = here.removeprefix("environments.")
            if environment.namespace is None or environment.adopt is not None:
                continue  # the others' names are made from the project's, which is the only one so called
            here, target = f"{place}.{environment.name}", (environment.cluster, environment.namespace)
            if target in owners:
                reader.refuse_at(f"{here}.namespace", f"{target[1]} is the target of {owners[target]}, too")
            owners[target] = here.removeprefix("environments.")
