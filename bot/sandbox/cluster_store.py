"""The sandbox cluster's objects: versions, generations, finalizers, events. No HTTP here."""

from __future__ import annotations

import bisect
import copy
import random
import string
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bot.sandbox.cluster_apply import apply, merge_patch, now, record_update
from bot.sandbox.cluster_errors import (
    MODIFIED,
    ApiError,
    Json,
    already_exists,
    conflict,
    invalid,
    not_found,
    terminating,
)
from bot.sandbox.cluster_kinds import (
    BY_KIND,
    KINDS,
    KNOWN_SPEC_FIELDS,
    Kind,
    not_in_schema,
    undeclared,
    validate,
    with_defaults,
)

Key = tuple[str, str]
RING = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """One change; `obj` and `old` are never altered afterwards."""

    version: int
    type: str
    kind: Kind
    obj: Json
    old: Json | None

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Write:
    """How a change is asked for."""

    manager: str
    subresource: str = ""
    dry_run: bool = False
    verb: str = "update"


class Store:
    """Objects by kind and name. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.version = 1000
        self.compacted = 1000
        self.writes: list[tuple[str, str, str, str]] = []
        self.lenient = True  # kinds are served without their CRD
        self._objects: dict[Kind, dict[Key, Json]] = {kind: {} for kind in KINDS}
        self._events: list[Event] = []
        self._callbacks: list[Callable[[Event], None]] = []

    # Reading

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """The stored object itself: look, do not touch."""
        with self.lock:
            found = self._objects[kind].get((namespace, name))
        if found is None:
            raise not_found(kind.plural, kind.group, name)
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        with self.lock:
            return self._objects[kind].get((namespace, name))

    def listing(self, kind: Kind, namespace: str = "") -> tuple[int, list[Json]]:
        """The version of the list and the objects, sorted by name."""
        with self.lock:
            items = sorted(self._objects[kind].items())
            return self.version, [obj for (where, _), obj in items if not namespace or where == namespace]

    def since(self, version: int) -> list[Event] | None:
        """The events after a version, or None when they are no longer kept."""
        with self.lock:
            if version < self.compacted:
                return None
            start = bisect.bisect_right(self._events, version, key=lambda event: event.version)
            return self._events[start:]

    def compact(self) -> None:
        """Forget all events, so that a watch from an older version is told 410."""
        with self.lock:
            self._events.clear()
            self.compacted = self.version

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back at every change, in order, in the writer's thread (so: hand over, do not work)."""
        with self.lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self.lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return unsubscribe

    def serves(self, kind: Kind) -> bool:
        """Whether the API has a kind: a custom one only as its CRD says."""
        with self.lock:
            return not kind.custom or self.lenient or self._definition(kind) is not None

    def spec_fields(self, kind: Kind) -> frozenset[str] | None:
        """The top-level fields that the spec of a custom kind has by its CRD."""
        if not kind.custom:
            return None
        with self.lock:
            version = self._definition(kind)
        if version is None:
            return KNOWN_SPEC_FIELDS[kind.kind]
        schema = version.get("schema", {}).get("openAPIV3Schema", {})
        return frozenset(schema.get("properties", {}).get("spec", {}).get("properties", {}))

    def _definition(self, kind: Kind) -> Json | None:
        """The version of the kind's CRD that the sandbox serves."""
        found = self._objects[BY_KIND["CustomResourceDefinition"]].get(("", f"{kind.plural}.{kind.group}"))
        versions = found["spec"]["versions"] if found else []
        return next((each for each in versions if each["name"] == kind.version and each.get("served")), None)

    # Writing

    def create(self, kind: Kind, namespace: str, obj: Json, write: Write) -> Json:
        new = copy.deepcopy(obj)
        meta = new.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + "".join(random.choices(string.ascii_lowercase, k=5))  # noqa: S311
        with self.lock:
            self._check_place(kind, namespace, meta.get("name", ""))
            if self.find(kind, namespace, meta.get("name", "")) is not None:
                raise already_exists(kind.plural, kind.group, meta["name"])
            if meta.get("resourceVersion"):
                raise ApiError(500, "resourceVersion should not be set on objects to be created", "")
            if kind.status:
                new.pop("status", None)
            meta.pop("managedFields", None)
            self._make_new(kind, namespace, new)
            record_update(None, new, write.manager, write.subresource)
            return self._commit(kind, None, new, write)

    def replace(self, kind: Kind, namespace: str, name: str, obj: Json, write: Write) -> Json:
        with self.lock:
            old = self.get(kind, namespace, name)
            if kind.custom and not obj.get("metadata", {}).get("resourceVersion"):
                cause = ("FieldValueInvalid", "Invalid value: 0: must be specified for an update")
                raise invalid(kind.plural, kind.group, name, [(*cause, "metadata.resourceVersion")])
            return self._update(kind, old, copy.deepcopy(obj), write)

    def merge(self, kind: Kind, namespace: str, name: str, patch: Json, write: Write) -> Json:
        with self.lock:
            old = self.get(kind, namespace, name)
            return self._update(kind, old, copy.deepcopy(merge_patch(old, patch)), write)

    def apply(self, kind: Kind, namespace: str, name: str, obj: Json, write: Write, force: bool) -> tuple[Json, bool]:
        """Server-side apply; also whether the object was made."""
        wanted = copy.deepcopy(obj)
        meta = wanted.setdefault("metadata", {})
        written = str(meta.get("namespace", ""))
        _check_applied(meta, name, namespace)
        if kind.status and write.subresource != "status":
            wanted.pop("status", None)
        if write.subresource == "status":
            wanted = {key: wanted[key] for key in ("apiVersion", "kind", "metadata", "status") if key in wanted}
            wanted["metadata"] = {}
        fields = undeclared(wanted, self.spec_fields(kind))
        if fields:
            raise not_in_schema(kind, written, name, fields)
        with self.lock:
            old = self.find(kind, namespace, name)
            if old is None:
                return self._apply_new(kind, namespace, name, wanted, write), True
            _check_version(kind, old, meta)
            merged = apply(old, wanted, write.manager, force, write.subresource)
            return self._update(kind, old, merged, write, applied=True), False

    def delete(self, kind: Kind, namespace: str, name: str, options: Json, write: Write) -> tuple[Json, bool]:
        """The object and whether it is gone already."""
        with self.lock:
            old = self.get(kind, namespace, name)
            _check_preconditions(kind, old, options.get("preconditions") or {})
            if kind.kind == "Namespace":
                return self._delete_namespace(kind, old, write)
            if not old["metadata"].get("finalizers"):
                if not write.dry_run:
                    self._remove(kind, old, write)
                return old, True
            if old["metadata"].get("deletionTimestamp"):
                return old, False
            new = copy.deepcopy(old)
            new["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
            if "generation" in new["metadata"]:
                new["metadata"]["generation"] += 1
            return self._commit(kind, old, new, write), False

    # Inside

    def _check_place(self, kind: Kind, namespace: str, name: str) -> None:
        if not kind.namespaced:
            return
        home = self.find(BY_KIND["Namespace"], "", namespace)
        if home is None:
            raise not_found("namespaces", "", namespace)
        if home["metadata"].get("deletionTimestamp"):
            raise terminating(kind.plural, kind.group, name, namespace)

    def _make_new(self, kind: Kind, namespace: str, new: Json) -> None:
        meta = new["metadata"]
        for key in ("resourceVersion", "deletionTimestamp", "generation", "selfLink"):
            meta.pop(key, None)
        if kind.namespaced:
            meta["namespace"] = namespace
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        if kind.generation:
            meta["generation"] = 1
        self._finish(kind, new)

    def _finish(self, kind: Kind, new: Json) -> None:
        for name in undeclared(new, self.spec_fields(kind)):
            del new["spec"][name]
        validate(kind, new)
        with_defaults(kind, new)

    def _apply_new(self, kind: Kind, namespace: str, name: str, wanted: Json, write: Write) -> Json:
        if write.subresource:
            raise not_found(kind.plural, kind.group, name)
        self._check_place(kind, namespace, name)
        uid = wanted["metadata"].get("uid")
        if uid:
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(kind.plural, kind.group, name, why)
        new = apply(None, wanted, write.manager, False)
        managed = new["metadata"].pop("managedFields", None)
        new["metadata"]["name"] = name
        self._make_new(kind, namespace, new)
        if managed:
            new["metadata"]["managedFields"] = managed
        return self._commit(kind, None, new, write)

    def _update(self, kind: Kind, old: Json, new: Json, write: Write, *, applied: bool = False) -> Json:
        meta, before = new.setdefault("metadata", {}), old["metadata"]
        _check_version(kind, old, meta)
        for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation"):
            if key in before:
                meta[key] = before[key]
            else:
                meta.pop(key, None)
        meta["resourceVersion"] = before["resourceVersion"]
        new |= {"apiVersion": kind.api_version, "kind": kind.kind}
        managed = meta.get("managedFields")
        if write.subresource == "status":
            status = new.get("status")
            new = copy.deepcopy(old)
            new.pop("status", None)
            if status is not None:
                new["status"] = status
            if applied and managed:
                new["metadata"]["managedFields"] = managed
        elif kind.status and "status" in old:
            new["status"] = copy.deepcopy(old["status"])
        self._finish(kind, new)
        if kind.generation and _without_meta(new) != _without_meta(old):
            new["metadata"]["generation"] = before.get("generation", 0) + 1
        if not applied:
            record_update(old, new, write.manager, write.subresource)
        return old if new == old else self._commit(kind, old, new, write)

    def _commit(self, kind: Kind, old: Json | None, new: Json, write: Write) -> Json:
        new |= {"apiVersion": kind.api_version, "kind": kind.kind}
        if write.dry_run:
            return new
        meta = new["metadata"]
        if old is not None and meta.get("deletionTimestamp") and not meta.get("finalizers") and _ends(kind, new):
            return self._remove(kind, new, write)
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self._objects[kind][(meta.get("namespace", ""), meta["name"])] = new
        self._note(kind, new, write)
        self._publish(Event(self.version, "MODIFIED" if old is not None else "ADDED", kind, new, old))
        return new

    def _remove(self, kind: Kind, old: Json, write: Write) -> Json:
        gone = copy.deepcopy(old)
        meta = gone["metadata"]
        namespace = meta.get("namespace", "")
        self._objects[kind].pop((namespace, meta["name"]), None)
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self._note(kind, gone, write)
        self._publish(Event(self.version, "DELETED", kind, gone, old))
        self._end_namespace(namespace)
        return gone

    def _note(self, kind: Kind, obj: Json, write: Write) -> None:
        meta = obj["metadata"]
        where = f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])
        what = f"{kind.kind}/{write.subresource}" if write.subresource else kind.kind
        self.writes.append((write.verb, what, where, write.manager))

    def _publish(self, event: Event) -> None:
        self._events.append(event)
        if len(self._events) > RING:
            self.compacted = self._events[RING // 2].version
            del self._events[: RING // 2 + 1]
        for callback in tuple(self._callbacks):
            callback(event)

    def _delete_namespace(self, kind: Kind, old: Json, write: Write) -> tuple[Json, bool]:
        if write.dry_run or old["metadata"].get("deletionTimestamp"):
            return old, False
        new = copy.deepcopy(old)
        new["metadata"]["deletionTimestamp"] = now()
        new["status"] = {**new.get("status", {}), "phase": "Terminating"}
        new = self._commit(kind, old, new, write)
        name = new["metadata"]["name"]
        cleaner = Write("kube-controller-manager", verb="delete")
        for inner, obj in list(self._inside(name)):
            self.delete(inner, name, obj["metadata"]["name"], {}, cleaner)
        self._end_namespace(name)
        return new, False

    def _inside(self, namespace: str) -> Iterator[tuple[Kind, Json]]:
        for kind, objects in self._objects.items():
            yield from ((kind, obj) for (where, _), obj in objects.items() if where == namespace)

    def _end_namespace(self, namespace: str) -> None:
        kind = BY_KIND["Namespace"]
        home = self._objects[kind].get(("", namespace))
        if home and home["metadata"].get("deletionTimestamp") and not any(self._inside(namespace)):
            self._remove(kind, home, Write("kube-controller-manager", verb="delete"))


def _ends(kind: Kind, obj: Json) -> bool:
    """Whether an object without finalizers that is being deleted goes now; a namespace goes when it is empty."""
    return kind.kind != "Namespace"


def _without_meta(obj: Json) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _check_applied(meta: Json, name: str, namespace: str) -> None:
    if meta.get("managedFields"):
        raise ApiError(400, "metadata.managedFields must be nil")
    if meta.setdefault("name", name) != name:
        raise ApiError(400, f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    if namespace and meta.setdefault("namespace", namespace) != namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")


def _check_version(kind: Kind, old: Json, meta: Json) -> None:
    """Compare what the writer says it saw with what is there."""
    name = old["metadata"]["name"]
    version, uid = meta.get("resourceVersion"), meta.get("uid")
    if version and version != old["metadata"]["resourceVersion"]:
        raise conflict(kind.plural, kind.group, name, MODIFIED)
    if uid and uid != old["metadata"]["uid"]:
        cause = ("FieldValueInvalid", f'Invalid value: "{uid}": field is immutable', "metadata.uid")
        raise invalid(kind.kind, kind.group, name, [cause])


def _check_preconditions(kind: Kind, old: Json, wanted: Json) -> None:
    for key, label, why in (
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ):
        asked, has = wanted.get(key), old["metadata"][key]
        if asked is not None and asked != has:
            text = f"the {label} in the precondition ({asked}) does not match the {label} in record ({has}). {why}"
            raise conflict(kind.kind, kind.group, old["metadata"]["name"], text)
