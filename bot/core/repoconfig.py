"""Reads a repository's `.sluice.yaml`; what it cannot honour it refuses by file, line and field, and never ignores."""

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

import msgspec
import yaml

from bot.core.errors import UserError

FILE = ".sluice.yaml"
SIZE_LIMIT = 1_000_000
NESTING_LIMIT = 64
ENVIRONMENT_LIMIT = 50
DEFAULT_NAMES = ("development", "staging", "production")

# Known, but not carried out yet: to ignore a gate would be untrue.
UNSUPPORTED = frozenset(
    [
        *("approvals", "approvers", "deployers", "after", "deploy_from", "freeze", "forks", "checks", "up_to_date"),
        *("reviews_count", "auto_sync", "kustomization", "helm", "adopt", "git"),
    ]
)

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\\\\]")
_NO_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(?:/|$)|^@$")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """A place that a project is deployed to, as the configuration wants it."""

    name: str
    path: str
    branch: str
    namespace: str | None = None  # None: named after the project's namespace
    cluster: str = "default"
    service_account: str
    interval: str = "10m"
    timeout: str = "5m"

    def target_namespace(self, project_namespace: str) -> str:
        """Where the workloads go."""
        return self.namespace or f"{project_namespace}-{self.name}"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A repository's configuration. `project` is None where the project is named after the repository."""

    project: str | None = None
    environments: tuple[Environment, ...]


class BrokenYaml(Exception):
    """A text that is no YAML, or YAML that is not safe to read; `line` counts from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def default_environments(default_branch: str, names: Sequence[str] = DEFAULT_NAMES) -> tuple[Environment, ...]:
    """The environments of a repository without a configuration: at deploy/<name>, following the default branch."""
    return tuple(
        Environment(name=name, path=f"deploy/{name}", branch=default_branch, service_account=f"sluice-{name}")
        for name in names
    )


def compose(content: bytes) -> yaml.Node | None:
    """The one document of a YAML file, as nodes with line numbers; BrokenYaml for all that is hostile.

    The events are counted before nodes are made, because the C composer calls itself for each level and a deep file
    ends the whole process. Merge keys are refused, because some nested ones need all the memory there is.
    """
    if len(content) > SIZE_LIMIT:
        raise BrokenYaml(f"the file is larger than {SIZE_LIMIT:,} bytes")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise BrokenYaml("the file is not UTF-8", content.count(b"\n", 0, error.start) + 1) from error
    if "\0" in text:
        raise BrokenYaml("the file holds a NUL", text.count("\n", 0, text.index("\0")) + 1)
    try:
        _check_events(text)
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "this is no YAML"
        raise BrokenYaml(str(problem), mark.line + 1 if mark else 1) from error


def parse(content: bytes, default_branch: str, project_namespace: str = "") -> Config:
    """The configuration of a file; UserError `config_invalid` or `config_unsupported` names line and field.

    With the project's namespace it also finds a target namespace that is another environment's by default.
    """
    try:
        node = compose(content)
    except BrokenYaml as error:
        raise UserError("config_invalid", f"{FILE} line {error.line}: {error}") from error
    if node is None:
        raise UserError("config_invalid", f"{FILE} line 1: the file is empty; it must say at least `version: 1`")
    top = _fields(node, "", ("version", "projects", "environments"))
    if "version" not in top:
        _invalid(node, "version", "is missing; it must be 1")
    if _scalar(top["version"], "version", "int") != "1":
        _invalid(top["version"], "version", "must be 1")
    project, place, holder = None, "", top
    if "projects" in top:
        if "environments" in top:
            _invalid(top["environments"], "environments", "must stand below its project where there are projects")
        project, place, holder = _project(top["projects"])
    if "environments" not in holder:
        return Config(project=project, environments=default_environments(default_branch))
    environments, lines = _environments(holder["environments"], place, default_branch)
    _check_targets(environments, lines, project_namespace)
    return Config(project=project, environments=environments)


def _check_events(text: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise BrokenYaml("merge keys (<<) are not supported", line)
        if depth > NESTING_LIMIT:
            raise BrokenYaml(f"the file is nested more than {NESTING_LIMIT} levels deep", line)
        if documents > 1:
            raise BrokenYaml("the file holds more than one document", line)


def _project(node: yaml.Node) -> tuple[str, str, dict[str, yaml.Node]]:
    """The one project: its name, its place in the file, and its fields."""
    projects = dict(_pairs(node, "projects"))
    if len(projects) > 1:
        second = list(projects)[1]
        _unsupported(projects[second], f"projects.{second}", "several projects in one repository are")
    if not projects:
        _invalid(node, "projects", "must name one project (or leave `projects` out)")
    name, inner = next(iter(projects.items()))
    place = f"projects.{_shown(name)}"
    _check_name(inner, place, name, 50)
    return name, f"{place}.", _fields(inner, place, ("environments",))


def _environments(
    node: yaml.Node, place: str, default_branch: str
) -> tuple[tuple[Environment, ...], list[tuple[str, yaml.Node]]]:
    """The environments, and for each its place in the file and the node to point at."""
    place = f"{place}environments"
    found: list[Environment] = []
    places: list[tuple[str, yaml.Node]] = []
    for name, inner in _pairs(node, place):
        here = f"{place}.{_shown(name)}"
        _check_name(inner, here, name, 40)
        if len(found) == ENVIRONMENT_LIMIT:
            _invalid(inner, here, f"is one too many; a project may have {ENVIRONMENT_LIMIT} environments")
        environment, fields = _environment(inner, here, name, default_branch)
        found.append(environment)
        places.append((f"{here}.namespace", fields.get("namespace", inner)))
    if not found:
        _invalid(node, place, "must name at least one environment")
    return tuple(found), places


def _check_targets(
    environments: Sequence[Environment], places: Sequence[tuple[str, yaml.Node]], project_namespace: str
) -> None:
    """Two environments of one cluster would prune each other's objects in one target namespace."""
    owners: dict[tuple[str, str], str] = {}
    for environment, (place, node) in zip(environments, places, strict=True):
        target = (environment.cluster, environment.target_namespace(project_namespace))
        if target in owners:
            _invalid(node, place, f"{target[1]} is the target of {owners[target]}, too")
        owners[target] = environment.name


def _environment(
    node: yaml.Node, place: str, name: str, default_branch: str
) -> tuple[Environment, dict[str, yaml.Node]]:
    """One environment; what its fields leave out is as without a configuration."""
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
        return default_environments(default_branch, (name,))[0], {}
    fields = _fields(node, place, ("path", "branch", "namespace", "cluster", "service_account", "interval", "timeout"))
    values = {key: _scalar(value, f"{place}.{key}", "str") for key, value in fields.items()}
    for key, value in values.items():
        problem = _problem(key, value)
        if problem:
            _invalid(fields[key], f"{place}.{key}", problem)
    if "path" in values:
        values["path"] = posixpath.normpath(values["path"])
    start = default_environments(default_branch, (name,))[0]
    return msgspec.structs.replace(start, **values), fields


def _problem(key: str, value: str) -> str | None:
    """What is wrong with a field's value."""
    if key == "path":
        return _path_problem(value)
    if key == "branch":
        return _branch_problem(value)
    if key in ("interval", "timeout"):
        return _duration_problem(value)
    if key == "service_account":
        named = len(value) <= 253 and ".." not in value and _SUBDOMAIN.fullmatch(value)
        return None if named else "must be the name of a service account: lower-case letters, digits, - and ."
    fits = len(value) <= 63 and _LABEL.fullmatch(value)
    return None if fits else "must be at most 63 lower-case letters, digits and -, and begin and end with no -"


def _path_problem(value: str) -> str | None:
    if not value or len(value) > 1024:
        return "must be a folder of the repository"
    if value.startswith("/"):
        return "must not begin with /; it counts from the repository's root"
    if ".." in value.split("/"):
        return "must not leave the repository (..)"
    if _UNPRINTABLE.search(value):
        return "holds a character that a folder must not have here (control, invisible or \\)"
    return None


def _branch_problem(value: str) -> str | None:
    if not value or len(value) > 250 or _NO_BRANCH.search(value) or _UNPRINTABLE.search(value):
        return "is no name that Git allows for a branch"
    if value.startswith(("sluice/", "refs/")):
        return "must be a branch of yours (those below sluice/ are Sluice's own, refs/ is left out)"
    return None


def _duration_problem(value: str) -> str | None:
    if not _DURATION.fullmatch(value) or len(value) > 20:
        return "must be a duration such as 30s, 10m or 1h30m"
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    return None if 1 <= seconds <= 7 * 86_400 else "must be between 1s and 168h"


# Reading nodes.


def _pairs(node: yaml.Node, place: str) -> Iterator[tuple[str, yaml.Node]]:
    """The keys and values of a mapping; a key that is there twice is an error."""
    if not isinstance(node, yaml.MappingNode):
        _invalid(node, place or "the file", "must be a mapping (key: value)")
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            _invalid(key, place or "the file", "has a key that is no text")
        if key.value in seen:
            _invalid(key, _joined(place, key.value), "is there twice")
        seen.add(key.value)
        yield key.value, value


def _fields(node: yaml.Node, place: str, allowed: tuple[str, ...]) -> dict[str, yaml.Node]:
    """The fields of a mapping by name, all of them allowed."""
    fields: dict[str, yaml.Node] = {}
    for key, value in _pairs(node, place):
        if key in UNSUPPORTED:
            _unsupported(value, _joined(place, key), f"`{key}` is")
        if key not in allowed:
            _invalid(value, _joined(place, key), f"is not known here; known are {', '.join(allowed)}")
        fields[key] = value
    return fields


def _scalar(node: yaml.Node, place: str, kind: str) -> str:
    """A scalar of the right type as it is written."""
    if not isinstance(node, yaml.ScalarNode):
        _invalid(node, place, "must be text" if kind == "str" else "must be a number")
    found = node.tag.rpartition(":")[2]
    if found != kind:
        _invalid(node, place, f"must be text; put {_shown(node.value)} into quotes" if kind == "str" else "must be 1")
    return str(node.value)


def _check_name(node: yaml.Node, place: str, name: str, limit: int) -> None:
    if len(name) > limit or not _LABEL.fullmatch(name):
        _invalid(node, place, f"must be named with at most {limit} lower-case letters, digits and -")


def _joined(place: str, key: str) -> str:
    return f"{place}.{_shown(key)}" if place else _shown(key)


def _shown(text: str) -> str:
    """A key or value of the file as it may stand in one line of a message."""
    clean = "".join(character if character.isprintable() else "�" for character in text)
    return clean if len(clean) <= 60 else clean[:59] + "…"


def _invalid(node: yaml.Node, place: str, problem: str) -> NoReturn:
    raise UserError("config_invalid", f"{FILE} line {node.start_mark.line + 1}: {place} {problem}")


def _unsupported(node: yaml.Node, place: str, what: str) -> NoReturn:
    raise UserError(
        "config_unsupported",
        f"{FILE} line {node.start_mark.line + 1}: {place}: {what} not supported by this version of Sluice; "
        "it was refused, because ignoring it would deploy without it",
    )
