"""Speaks HTTP with one Kubernetes API server: paths, time limits, and its answers as our errors."""

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from kubernetes.aio import client, config

from bot.core import manifests
from bot.core.errors import BotError, ConfigError, FieldConflict, StaleObject, TemporaryError, UserError

Object = dict[str, Any]
Load = Callable[[client.Configuration], Awaitable[None]]

_CONNECTIONS = 100  # each watch holds one
_PAGE = 500
_SECRET = "[secret]"  # noqa: S105 - what is shown in place of one


class Kind(msgspec.Struct, frozen=True):
    """Where the API server keeps a kind."""

    api: str  # group/version, or v1
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The path of one object, or of all of them (in a namespace, or everywhere)."""
        root = f"/apis/{self.api}" if "/" in self.api else f"/api/{self.api}"
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


KINDS = {
    "Namespace": Kind("v1", "namespaces", namespaced=False),
    "Secret": Kind("v1", "secrets"),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    "ConfigMap": Kind("v1", "configmaps"),
    "RoleBinding": Kind("rbac.authorization.k8s.io/v1", "rolebindings"),
    "Service": Kind("v1", "services"),
    "ResourceQuota": Kind("v1", "resourcequotas"),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "Role": Kind("rbac.authorization.k8s.io/v1", "roles"),
    "ClusterRoleBinding": Kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", namespaced=False),
    "ClusterRole": Kind("rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False),
    "Deployment": Kind("apps/v1", "deployments"),
    **{kind: Kind(found.api, found.plural) for kind, found in manifests.KINDS.items()},
    "CustomResourceDefinition": Kind("apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False),
    "ValidatingAdmissionPolicy": Kind(
        "admissionregistration.k8s.io/v1", "validatingadmissionpolicies", namespaced=False
    ),
    "ValidatingAdmissionPolicyBinding": Kind(
        "admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", namespaced=False
    ),
}


def _selectors(labels: str | None, only: tuple[str, str] | None) -> dict[str, str]:
    """Which objects are meant: by their labels, or one by its name."""
    by_label = {"labelSelector": labels} if labels else {}
    return by_label | ({"fieldSelector": f"metadata.name={only[1]}"} if only else {})


class Expired(BotError):
    """The API server no longer knows the history that was asked for (410): list again."""


class Connection:
    """One API server. It belongs to the event loop that it is first used on; the client is made then."""

    def __init__(self, load: Load, *, timeout: float = 15.0) -> None:
        self._load = load
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 5.0))
        self._client: Any = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close it; a later call opens it anew."""
        opened, self._client = self._client, None
        if opened is not None:
            await opened.close()
            await asyncio.sleep(0)  # the sockets of abandoned answers are closed by the loop

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request and its answer. A body's secrets never show in an error."""
        response = await self._send(method, path, query or {}, body, content_type, self._timeout)
        try:
            raw = await _guarded(response.read())
        finally:
            response.release()
        if response.status >= 400:
            raise refusal(response.status, raw, body)
        return _decoded(raw)

    async def list(
        self, kind: str, selector: str | None = None, only: tuple[str, str] | None = None
    ) -> tuple[str, list[Object]]:
        """All objects of a kind, or the `only` one by namespace and name, and the resource version of the list."""
        query = {"limit": str(_PAGE)} | _selectors(selector, only)
        items: list[Object] = []
        while True:
            page = await self.call("GET", KINDS[kind].path(only[0] if only else None), query=query)
            # Items of a list leave out what the list itself says.
            head = {"apiVersion": KINDS[kind].api, "kind": kind}
            items += [head | item for item in page.get("items") or []]
            metadata = page.get("metadata", {})
            if not metadata.get("continue"):
                return str(metadata.get("resourceVersion", "")), items
            query["continue"] = metadata["continue"]

    async def watch(
        self,
        kind: str,
        selector: str | None,
        resource_version: str,
        seconds: int,
        only: tuple[str, str] | None = None,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Changes since a resource version: (ADDED, MODIFIED, DELETED or BOOKMARK, object); ends after `seconds`."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        } | _selectors(selector, only)
        limits = aiohttp.ClientTimeout(total=seconds + 10.0, sock_connect=5.0)
        response = await self._send(
            "GET", KINDS[kind].path(only[0] if only else None), query, None, "application/json", limits
        )
        try:
            if response.status >= 400:
                raise refusal(response.status, await _guarded(response.read()), None)
            async with contextlib.aclosing(_lines(response)) as lines:
                async for line in lines:
                    yield _event(line)
        finally:
            _abandon(response)

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: Object | None,
        content_type: str,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        used = await self._opened()
        key = dict(used.configuration.api_key)
        response = await _once(used, method, path, query, body, content_type, limits)
        if response.status == 401 and await self._renew(used, key):
            response.release()
            response = await _once(await self._opened(), method, path, query, body, content_type, limits)
        if response.status == 403:
            response.release()
            await self._expect_ready()
            response = await _once(await self._opened(), method, path, query, body, content_type, limits)
        return response

    async def _expect_ready(self) -> None:
        """A server that has just started knows nobody's rights yet, and refuses everything, also to say if it is ready.

        What it refuses when it is ready is refused for good.
        """
        response = await _once(await self._opened(), "GET", "/readyz", {}, None, "application/json", self._timeout)
        response.release()
        if response.status not in (200, 404):  # 404: something in between passes on the API alone
            raise TemporaryError(f"the cluster's API server is not ready: it says {response.status}")

    async def _renew(self, used: Any, key: dict[str, str]) -> bool:
        """The server refused the credentials: whether others are at hand, in the kubeconfig or by its plug-in."""
        async with self._lock:
            if self._client is not used or used.configuration.api_key != key:
                return True
            fresh = await self._settings()
            if _place(fresh) == _place(used.configuration):
                used.configuration.api_key = fresh.api_key
                return bool(fresh.api_key != key)
            self._client = _named(client.ApiClient(fresh))
        await used.close()  # calls that are under way on it end as TemporaryError
        return True

    async def _opened(self) -> Any:
        async with self._lock:
            if self._client is None:
                self._client = _named(client.ApiClient(await self._settings()))
            return self._client

    async def _settings(self) -> client.Configuration:
        settings = client.Configuration()
        settings.connection_pool_maxsize = _CONNECTIONS
        try:
            await self._load(settings)
        except ConfigError:
            raise
        except Exception as error:
            # The loader's texts go on with the place, and with that the user's token.
            words = str(error).partition(" in ")[0] if isinstance(error, config.ConfigException) else ""
            raise ConfigError(f"the cluster's configuration cannot be used: {words or type(error).__name__}") from None
        if not str(settings.host).startswith(("https://", "http://")):
            raise ConfigError("the cluster's configuration cannot be used: it names no server")
        return settings


def _place(settings: client.Configuration) -> tuple[Any, ...]:
    return settings.host, settings.cert_file, settings.key_file, settings.ssl_ca_cert


def _named(fresh: Any) -> Any:
    """Says who asks, for the audit log and as the manager of what is not applied."""
    fresh.user_agent = "sluice"
    return fresh


async def _once(
    api: client.ApiClient,
    method: str,
    path: str,
    query: dict[str, str],
    body: Object | None,
    content_type: str,
    limits: aiohttp.ClientTimeout,
) -> aiohttp.ClientResponse:
    headers = {"Accept": "application/json", "Content-Type": content_type}
    request = await api.param_serialize(
        method, path, {}, list(query.items()), headers, body, auth_settings=["BearerToken"]
    )
    answer = await _guarded(api.call_api(*request, _request_timeout=limits))
    return answer.response  # type: ignore[no-any-return]


def from_kubeconfig(path: Path, context: str | None = None, *, timeout: float = 15.0) -> Connection:
    """By a kubeconfig file, re-read when the server refuses its credentials."""

    async def load(settings: client.Configuration) -> None:
        _must_exist(path)
        await config.load_kube_config(str(path), context, settings, persist_config=False)

    return Connection(load, timeout=timeout)


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"the kubeconfig {path} is not a file")


def from_dict(kubeconfig: Object, context: str | None = None, *, timeout: float = 15.0) -> Connection:
    """By the content of a kubeconfig."""

    async def load(settings: client.Configuration) -> None:
        await config.load_kube_config_from_dict(kubeconfig, context, settings)

    return Connection(load, timeout=timeout)


def in_cluster(*, timeout: float = 15.0) -> Connection:
    """By the service account of the pod; its token is re-read every minute."""

    async def load(settings: client.Configuration) -> None:
        config.load_incluster_config(settings)

    return Connection(load, timeout=timeout)


async def _guarded(call: Awaitable[Any]) -> Any:
    """Trouble on the way as TemporaryError; no request is shown in it."""
    try:
        return await call
    except TimeoutError:
        raise TemporaryError("the cluster's API server did not answer in time") from None
    except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: the session was closed meanwhile
        raise TemporaryError(f"the cluster's API server cannot be reached: {type(error).__name__}: {error}") from None


def _abandon(response: aiohttp.ClientResponse) -> None:
    """End an answer in the middle of its body. A TLS connection would else stay half open until the server agrees."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """A watch's lines. Not by readline: that has a limit, and an object may be larger."""
    rest = b""
    chunks = response.content.iter_any()
    while (chunk := await _guarded(anext(chunks, None))) is not None:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line


def _event(line: bytes) -> tuple[str, Object]:
    event = _decoded(line)
    kind, found = event.get("type"), event.get("object")
    if not isinstance(kind, str) or not isinstance(found, dict):
        raise TemporaryError("the cluster's API server sent a watch event without type or object")
    if kind != "ERROR":
        return kind, found
    if found.get("code") == 410:
        raise Expired("the watch is too old")
    raise TemporaryError(f"the cluster's API server ended the watch: {found.get('message') or found.get('reason')}")


def _decoded(raw: bytes) -> Object:
    try:
        value = json.loads(raw or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TemporaryError("the cluster's API server sent something that is not a JSON object")
    return value


class NotFound(UserError):
    """The object, its namespace or its kind is not there."""

    def __init__(self, message: str, *, known_kind: bool) -> None:
        super().__init__("cluster_refused", message)
        self.known_kind = known_kind


def refusal(status: int, raw: bytes, body: Object | None) -> BotError:
    """The error for an answer of 400 or more."""
    try:
        answer = _decoded(raw)
    except TemporaryError:
        answer = {"message": raw.decode("utf-8", "replace").strip()[:200]}
    words = _masked(answer, body) or f"status {status}"
    details = answer.get("details") or {}
    if status == 404:
        return NotFound(words, known_kind=bool(details.get("name")))
    if status == 409:
        return _conflict(details, words)
    if status == 422 and any(cause.get("field") == "metadata.uid" for cause in details.get("causes") or []):
        return StaleObject(words)  # another object of this name
    if status == 410:
        return Expired(words)
    # Older API servers answer 500 to a field that their schema lacks.
    if "field not declared in schema" in words:
        return UserError("field_unknown", f"the cluster's definition of the kind is older: {words}")
    if status == 429 or status >= 500:
        return TemporaryError(f"the cluster's API server says {status}: {words}", delay=_delay(details))
    return UserError("cluster_refused", f"the cluster refused: {words}")


def _delay(details: Object) -> float:
    seconds = details.get("retryAfterSeconds")
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else 5.0


def _conflict(details: Object, words: str) -> BotError:
    """A field of another manager, or an object that is not the one that was read."""
    causes = [cause for cause in details.get("causes") or [] if cause.get("reason") == "FieldManagerConflict"]
    if not causes:
        return StaleObject(words)
    fields = ", ".join(f"{cause.get('field')} ({cause.get('message')})" for cause in causes)
    name = f"{details.get('kind', 'object')} {details.get('name', '')}".strip()
    held = tuple(f"{cause.get('field')} of {_manager(str(cause.get('message')))}" for cause in causes)
    return FieldConflict(f"{name} has fields that another manager holds: {fields}", held)


def _manager(words: str) -> str:
    """Who it is, in `conflict with "flux" using source.toolkit.fluxcd.io/v1`."""
    return words.split('"')[1] if words.count('"') > 1 else words


def _masked(answer: Object, body: Object | None) -> str:
    """The server's words without the values of a Secret that was sent."""
    words = str(answer.get("message") or answer.get("reason") or "")
    if body is None or body.get("kind") != "Secret":
        return words
    if answer.get("code") in (400, 422, 500):  # these quote the input, maybe changed
        causes = (answer.get("details") or {}).get("causes") or []
        fields = ", ".join(str(cause.get("field")) for cause in causes if cause.get("field"))
        return f"{answer.get('reason') or 'invalid'}: {fields or 'the Secret'} {_SECRET}"
    for value in _values(body):
        words = words.replace(value, _SECRET)
    return words


def _values(secret: Object) -> list[str]:
    encoded = [str(value) for value in (secret.get("data") or {}).values()]
    plain = [str(value) for value in (secret.get("stringData") or {}).values()]
    for value in encoded:
        try:
            plain.append(base64.b64decode(value).decode("utf-8", "replace"))
        except (binascii.Error, ValueError):
            continue
    return sorted((value for value in encoded + plain if value), key=len, reverse=True)
