"""The Kubernetes API of the sandbox cluster over HTTP: paths, parameters, bodies and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
import yaml

from bot.sandbox import cluster_select
from bot.sandbox.cluster_errors import ApiError, Json, invalid
from bot.sandbox.cluster_kinds import CUSTOM_GROUPS, GROUPS, KINDS, Kind, lookup, undeclared
from bot.sandbox.cluster_store import Store, Write
from bot.sandbox.server import Message, Receive, Send

MERGE = ("application/merge-patch+json", "application/strategic-merge-patch+json")
APPLY = "application/apply-patch+yaml"
_UNKNOWN_FORMAT = (
    "the body of the request was in an unknown format - accepted media types include: "
    "application/merge-patch+json, application/apply-patch+yaml"
)
VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3+sandbox",
    "gitCommit": "sandbox",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "sandbox/any",
}
OPEN_PATHS = {"/version", "/readyz", "/livez", "/healthz"}


@dataclass(slots=True)
class Request:
    """One request, taken apart."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    warnings: list[str] = field(default_factory=list)

    @property
    def manager(self) -> str:
        """Who writes: the parameter, else the first word of the user agent, as the real server does."""
        return self.query.get("fieldManager") or self.headers.get("user-agent", "unknown").split("/")[0]

    @property
    def dry_run(self) -> bool:
        return self.query.get("dryRun", "") == "All"

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    kind: Kind
    namespace: str
    name: str
    subresource: str


async def read(scope: Message, receive: Receive) -> Request:
    """The request with its whole body."""
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    body = b""
    if scope["method"] not in ("GET", "HEAD"):
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = bool(message.get("more_body"))
    return Request(scope["method"], unquote(scope["path"]), query, headers, body)


async def answer(send: Send, code: int, body: Any, warnings: list[str] | None = None) -> None:
    """Send one answer; text for what is not the API's."""
    plain = isinstance(body, str)
    content = body.encode() if plain else msgspec.json.encode(body)
    headers = [(b"content-type", b"text/plain; charset=utf-8" if plain else b"application/json")]
    headers.append((b"content-length", str(len(content)).encode()))
    headers += [(b"warning", f'299 - "{text}"'.encode()) for text in warnings or []]
    if code == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def route(path: str) -> Target | None:
    """The resource that a path names, or None when the API has none there."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    kind = lookup(group, version, rest[0])
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        return None
    name, subresource = (rest[1] if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else "")
    if subresource and not (subresource == "status" and kind.status):
        return None
    if kind.namespaced and name and not namespace:
        return None
    return Target(kind, namespace, name, subresource)


def plain(path: str, serves: Callable[[Kind], bool]) -> Any:
    """Answers that are no resources: version, health and discovery of the kinds that are served."""
    path = path.rstrip("/") or "/"
    if path in ("/readyz", "/livez", "/healthz"):
        return "ok"
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in GROUPS]}
    parts = path.strip("/").split("/")
    if parts == ["api", "v1"]:
        return _resources("", "v1", serves)
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in GROUPS:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1])}
    if parts[0] == "apis" and len(parts) == 3 and parts[2] in _versions(parts[1]):
        return _resources(parts[1], parts[2], serves)
    return None


def _versions(group: str) -> list[str]:
    return sorted({kind.version for kind in KINDS if kind.group == group}) or ["v1"]


def _group(name: str) -> Json:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in _versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resources(group: str, version: str, serves: Callable[[Kind], bool]) -> Json | None:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    found: list[Json] = []
    for kind in KINDS:
        if (kind.group, kind.version) != (group, version) or not serves(kind):
            continue
        item = {"singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind}
        found.append({"name": kind.plural, **item, "verbs": verbs})
        if kind.status:
            found.append({"name": f"{kind.plural}/status", **item, "verbs": ["get", "patch", "update"]})
    where = f"{group}/{version}" if group else version
    if not found and group in CUSTOM_GROUPS:
        return None
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": where, "resources": found}


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def verb(request: Request, target: Target) -> str:
    """What a request does, as roles name it."""
    if request.method != "GET":
        return _VERBS.get(request.method, request.method.lower())
    return "get" if target.name else "watch" if request.flag("watch") else "list"


class Api:
    """Requests on resources, carried out on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def handle(self, request: Request, target: Target) -> tuple[int, Json]:
        """The status code and the body."""
        if request.method == "GET":
            return self._get(request, target)
        if request.method == "POST" and not target.name:
            return self._post(request, target)
        if request.method == "PUT" and target.name:
            return self._put(request, target)
        if request.method == "PATCH" and target.name:
            return self._patch(request, target)
        if request.method == "DELETE" and target.name:
            return self._delete(request, target)
        raise ApiError(405, "the server does not allow this method on the requested resource")

    def _get(self, request: Request, target: Target) -> tuple[int, Json]:
        kind = target.kind
        if target.name:
            return 200, self._store.get(kind, target.namespace, target.name)
        match = selector(request)
        version, found = self._store.listing(kind, target.namespace)
        items = [obj for obj in found if match(obj)]
        body = {"apiVersion": kind.api_version, "items": items, "kind": f"{kind.kind}List"}
        return 200, {**body, "metadata": {"continue": "", "resourceVersion": str(version)}}

    def _post(self, request: Request, target: Target) -> tuple[int, Json]:
        kind, obj = target.kind, self._object(request, target)
        namespace = target.namespace
        if kind.namespaced and not namespace:
            raise ApiError(405, "the server does not allow this method on the requested resource")
        _same_namespace(obj, namespace)
        return 201, self._store.create(kind, namespace, obj, _write(request, "create"))

    def _put(self, request: Request, target: Target) -> tuple[int, Json]:
        obj = self._object(request, target)
        name = obj.get("metadata", {}).get("name", target.name)
        if name != target.name:
            raise ApiError(400, f"the name of the object ({name}) does not match the name on the URL ({target.name})")
        _same_namespace(obj, target.namespace)
        write = _write(request, "update", target.subresource)
        return 200, self._store.replace(target.kind, target.namespace, target.name, obj, write)

    def _patch(self, request: Request, target: Target) -> tuple[int, Json]:
        media = request.headers.get("content-type", "").split(";")[0].strip()
        where = (target.kind, target.namespace, target.name)
        if media == APPLY:
            if not request.query.get("fieldManager"):
                raise _patch_option("fieldManager", "Required", "Required value: is required for apply patch")
            obj = self._object(request, target, as_yaml=True)
            write = _write(request, "apply", target.subresource)
            found, made = self._store.apply(*where, obj, write, request.flag("force"))
            return (201 if made else 200), found
        if media not in MERGE:
            raise ApiError(415, _UNKNOWN_FORMAT)
        if "force" in request.query:
            raise _patch_option("force", "Forbidden", "Forbidden: may not be specified for non-apply patch")
        patch = _json(request.body, "error decoding patch: ")
        self._warn(request, target, patch)
        return 200, self._store.merge(*where, patch, _write(request, "patch", target.subresource))

    def _delete(self, request: Request, target: Target) -> tuple[int, Json]:
        kind = target.kind
        options = _json(request.body, "") if request.body.strip() else {}
        dry = request.dry_run or options.get("dryRun") == ["All"]
        write = Write(request.manager, dry_run=dry, verb="delete")
        found, gone = self._store.delete(kind, target.namespace, target.name, options, write)
        if not gone or kind.kind in ("ServiceAccount", "Pod", "Namespace"):
            return 200, found
        about = {"name": target.name, "group": kind.group, "kind": kind.plural, "uid": found["metadata"]["uid"]}
        about = {key: value for key, value in about.items() if value}
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": about}

    def _object(self, request: Request, target: Target, *, as_yaml: bool = False) -> Json:
        kind = target.kind
        obj = _yaml(request.body) if as_yaml else _json(request.body, "couldn't get version/kind; json parse error: ")
        obj.setdefault("kind", kind.kind)
        obj.setdefault("apiVersion", kind.api_version)
        if (obj["kind"], obj["apiVersion"]) != (kind.kind, kind.api_version):
            wanted, got = f"{kind.api_version}, Kind={kind.kind}", f"{obj['apiVersion']}, Kind={obj['kind']}"
            raise ApiError(400, f"the object provided is {got}, but the path wants {wanted}")
        if not isinstance(obj.get("metadata", {}), dict):
            raise ApiError(400, "metadata must be an object")
        if not as_yaml:
            self._warn(request, target, obj)
        return obj

    def _warn(self, request: Request, target: Target, obj: Json) -> None:
        fields = undeclared(obj, self._store.spec_fields(target.kind))
        request.warnings += [f'unknown field \\"spec.{name}\\"' for name in fields]


def selector(request: Request) -> cluster_select.Match:
    """What a list or watch is narrowed to."""
    return cluster_select.matcher(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))


def _write(request: Request, verb: str, subresource: str = "") -> Write:
    return Write(request.manager, subresource, request.dry_run, verb)


def _same_namespace(obj: Json, namespace: str) -> None:
    has = obj.get("metadata", {}).get("namespace", "")
    if has and has != namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")


def _patch_option(option: str, reason: str, message: str) -> ApiError:
    return invalid("PatchOptions", "meta.k8s.io", "", [(f"FieldValue{reason}", message, option)])


def _json(body: bytes, prefix: str) -> Json:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise ApiError(400, f"{prefix}{problem}") from None
    if not isinstance(found, dict):
        raise ApiError(400, f"{prefix}an object is wanted")
    return found


def _yaml(body: bytes) -> Json:
    try:
        return _json(body, "")
    except ApiError:
        pass
    try:
        found = yaml.load(body, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
        raise ApiError(400, f"error decoding YAML: {problem}") from None
    if not isinstance(found, dict):
        raise ApiError(400, "error decoding YAML: an object is wanted")
    return found
