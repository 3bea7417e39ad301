"""A small Kubernetes cluster in memory: the same API as a real one, for the demo, for trying commands, and for tests.

`SandboxCluster` is an ASGI app (serve it with `Loopback`) and, for what lives in the same process, a set of methods.
"""

from __future__ import annotations

import asyncio
import copy
import json
import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bot.sandbox import cluster_seed
from bot.sandbox.cluster_errors import ApiError, Json, injected, qualified
from bot.sandbox.cluster_http import OPEN_PATHS, Api, Request, Target, answer, plain, read, route, verb
from bot.sandbox.cluster_kinds import BY_KIND, KNOWN_SPEC_FIELDS, Kind, for_object
from bot.sandbox.cluster_select import matcher
from bot.sandbox.cluster_store import Event, Store, Write
from bot.sandbox.cluster_watch import Watches
from bot.sandbox.server import Message, Receive, Send

__all__ = ["ApiError", "Event", "SandboxCluster"]

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(slots=True)
class _Trouble:
    """Requests that are to fail: how many, how, which, and whether they take effect first."""

    left: int
    code: int
    match: str
    after: bool


class SandboxCluster:
    """Objects, their API, and the knobs by which tests make it misbehave.

    `latency` delays every request by so many seconds. `writes` holds every change as (verb, kind, namespace/name, field
    manager); a request that changed nothing is not in it, a status write has the kind `Kustomization/status`.
    What the CRDs say is so: without one its kind is not served, and fields that it lacks are dropped or refused.
    """

    def __init__(
        self,
        token: str = "sandbox-token",  # noqa: S107 - made up
        *,
        seed: bool = True,
        cancel_health_checks: bool = True,
    ) -> None:
        self.token = token
        self.latency = 0.0
        self.requests = 0
        self._store = Store()
        self._api = Api(self._store)
        self._watches = Watches(self._store)
        self._troubles: list[_Trouble] = []
        self._forbidden: dict[tuple[str, str], frozenset[str]] = {}
        if seed:
            for obj in cluster_seed.objects(cancel_health_checks=cancel_health_checks):
                self.apply(obj, "flux")
            self.writes.clear()
            self._store.lenient = False

    # For tests: trouble and what happened

    @property
    def writes(self) -> list[tuple[str, str, str, str]]:
        return self._store.writes

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._store.version

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return self._watches.count()

    def fail_next(self, n: int, code: int, *, match: str = "", after: bool = False) -> None:
        """Answer the next n requests with this code; only those whose "METHOD path" contains `match`.

        `after`: the request takes effect first, and only its answer is lost. Code 0 cuts the connection.
        """
        with self._store.lock:
            self._troubles.append(_Trouble(n, code, match, after))

    def forbid(self, verb: str, plural: str, *, but: Iterable[str] = ()) -> None:
        """Take a right away from who speaks to the API, save in these namespaces."""
        self._forbidden[verb, plural] = frozenset(but)

    def permit(self) -> None:
        """Give all rights back."""
        self._forbidden.clear()

    def drop_field(self, kind: str, field: str) -> None:
        """Take a field out of a kind's CRD, to play an older Flux; `restore_fields` brings it back."""
        self._define(_known(kind), KNOWN_SPEC_FIELDS[kind] - {field})

    def restore_fields(self, kind: str) -> None:
        """Have a kind's CRD as it was at first."""
        self._define(_known(kind), KNOWN_SPEC_FIELDS[kind])

    def _define(self, kind: Kind, fields: Iterable[str]) -> None:
        self.apply(cluster_seed.definition(kind, fields), "flux")

    def drop_watches(self, *, abrupt: bool = False) -> None:
        """End all watches, as a restarted API server does; abruptly: without the end of the answer."""
        self._watches.drop(abrupt=abrupt)

    def compact(self) -> None:
        """Forget past events, so that a watch from before is answered 410."""
        self._store.compact()

    # For the same process

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        """A copy of an object, or None."""
        found = self._store.find(_known(kind), namespace, name)
        return None if found is None else copy.deepcopy(found)

    def list(self, kind: str, namespace: str | None = None, labels: str | dict[str, str] | None = None) -> list[Json]:
        """Copies of the objects that match; labels as a selector or as a mapping."""
        text = ",".join(f"{k}={v}" for k, v in labels.items()) if isinstance(labels, dict) else labels or ""
        match = matcher(text, "")
        return [copy.deepcopy(obj) for obj in self._store.listing(_known(kind), namespace or "")[1] if match(obj)]

    def apply(self, obj: Json, manager: str, *, force: bool = True, dry_run: bool = False) -> Json:
        """Server-side apply of one manifest."""
        kind = for_object(obj)
        if kind is None:
            raise ApiError(404, f'no matches for kind "{obj.get("kind")}" in version "{obj.get("apiVersion")}"')
        meta = obj["metadata"]
        namespace = meta.get("namespace", "") if kind.namespaced else ""
        write = Write(manager, dry_run=dry_run, verb="apply")
        return copy.deepcopy(self._store.apply(kind, namespace, meta["name"], obj, write, force)[0])

    def patch(self, kind: str, namespace: str, name: str, patch: Json, manager: str) -> Json:
        """A merge patch."""
        write = Write(manager, verb="patch")
        return copy.deepcopy(self._store.merge(_known(kind), namespace, name, patch, write))

    def patch_status(self, kind: str, namespace: str, name: str, status: Json, manager: str = "test") -> Json:
        """A merge patch of the status."""
        write = Write(manager, "status", verb="patch")
        return copy.deepcopy(self._store.merge(_known(kind), namespace, name, {"status": status}, write))

    def set_status(self, kind: str, namespace: str, name: str, status: Json, manager: str) -> Json:
        """Put a whole new status in place of the old."""
        with self._store.lock:
            known = _known(kind)
            found = {**self._store.get(known, namespace, name), "status": status}
            write = Write(manager, "status", verb="update")
            return copy.deepcopy(self._store.replace(known, namespace, name, found, write))

    def delete(self, kind: str, namespace: str, name: str, manager: str = "test") -> None:
        """Delete, or mark as being deleted where a finalizer holds it."""
        self._store.delete(_known(kind), namespace, name, {}, Write(manager, verb="delete"))

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back at every change, in order; returns how to stop that.

        It runs in the writer's thread with the cluster locked: set an event or fill a queue there, and nothing more.
        """
        return self._store.subscribe(callback)

    def wait(self, kind: str, namespace: str, name: str, test: Callable[[Json], bool], timeout: float = 5.0) -> Json:
        """Block until an object passes the test, and give it; no state in between is missed.

        While there is no object the test is given {}. Not for the thread of the API's or Flux's loop.
        """
        states: queue.SimpleQueue[Json] = queue.SimpleQueue()

        def note(event: Event) -> None:
            if (event.kind.kind, event.namespace, event.name) == (kind, namespace, name):
                states.put({} if event.type == "DELETED" else event.obj)

        with self._store.lock:
            states.put(self._store.find(_known(kind), namespace, name) or {})
            unsubscribe = self.subscribe(note)
        deadline = time.monotonic() + timeout
        found: Json = {}
        try:
            while True:
                found = states.get(timeout=max(0.0, deadline - time.monotonic()))
                if test(found):
                    return copy.deepcopy(found)
        except queue.Empty:
            text = f"{kind} {namespace}/{name} did not get there: {found.get('status')}"
            raise TimeoutError(text) from None
        finally:
            unsubscribe()

    def kubeconfig(self, url: str) -> Json:
        """A kubeconfig for the cluster, as `kubernetes.config.new_client_from_config_dict` takes it."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
            "clusters": [{"name": "sandbox", "cluster": {"server": url}}],
            "users": [{"name": "sandbox", "user": {"token": self.token}}],
        }

    # The API

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        request = await read(scope, receive)
        self.requests += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        trouble = self._trouble(request)
        if trouble is not None and trouble.after:
            await self._answer(request, receive, _discard)
        if trouble is None:
            await self._answer(request, receive, send)
        elif trouble.code:
            await answer(send, trouble.code, injected(trouble.code).status())
        else:
            await _cut(send)

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        try:
            if request.path not in OPEN_PATHS and request.headers.get("authorization") != f"Bearer {self.token}":
                raise ApiError(401, "Unauthorized")
            if request.method == "POST" and request.path == _REVIEWS:
                await answer(send, 201, self._review(json.loads(request.body)))
                return
            target = route(request.path)
            if target is not None:
                self._authorize(verb(request, target), target)
            if target is None or not self._store.serves(target.kind):
                body = plain(request.path, self._store.serves)
                await answer(send, 404 if body is None else 200, "404 page not found\n" if body is None else body)
            elif request.method == "GET" and request.flag("watch"):
                await self._watches.serve(request, target, receive, send)
            else:
                code, found = self._api.handle(request, target)
                await answer(send, code, found, request.warnings)
        except ApiError as refusal:
            await answer(send, refusal.code, refusal.status(), request.warnings)

    def _may(self, verb: str, plural: str, namespace: str) -> bool:
        places = self._forbidden.get((verb, plural))
        return places is None or namespace in places

    def _review(self, review: Json) -> Json:
        """Whether the asker may do what the review names."""
        what = review.get("spec", {}).get("resourceAttributes", {})
        allowed = self._may(what.get("verb", ""), what.get("resource", ""), what.get("namespace", ""))
        return review | {"status": {"allowed": allowed}}

    def _authorize(self, verb: str, target: Target) -> None:
        kind = target.kind
        if self._may(verb, kind.plural, target.namespace):
            return
        where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
        what = (
            f'{qualified(kind.plural, kind.group)} "{target.name}" is forbidden'
            if target.name
            else (f"{qualified(kind.plural, kind.group)} is forbidden")
        )
        resource = f'resource "{kind.plural}" in API group "{kind.group}"'
        raise ApiError(403, f'{what}: User "sluice" cannot {verb} {resource} {where}')

    def _trouble(self, request: Request) -> _Trouble | None:
        text = f"{request.method} {request.path}"
        with self._store.lock:
            for trouble in self._troubles:
                if trouble.left > 0 and trouble.match in text:
                    trouble.left -= 1
                    return trouble
        return None


def _known(kind: str) -> Kind:
    return BY_KIND[kind]


async def _discard(_: Any) -> None:
    """Where an answer goes that nobody is to get."""


async def _cut(send: Send) -> None:
    """Promise a body and never send it: the server closes the connection."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000000")]})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
