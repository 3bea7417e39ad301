"""Who owns which field: server-side apply and the `managedFields` of every other write.

Lists are atomic here (a real server merges a few well-known ones by key). A field is a path of keys; the fields of a
manager are a set of such paths, shown as `fieldsV1`.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bot.sandbox.cluster_errors import Json, apply_conflict

Path = tuple[str, ...]
_UNOWNED = {"apiVersion", "kind"}
_UNOWNED_META = {
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")


@dataclass(slots=True)
class Owner:
    """One entry of `managedFields`."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    paths: set[Path] = field(default_factory=set)

    def shown(self) -> str:
        """As conflicts name it."""
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text

    def key(self) -> tuple[str, str, str, str]:
        return (self.manager, self.operation, self.subresource, self.api_version)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def leaves(obj: Json) -> dict[Path, Any]:
    """Every field of an object that somebody can own."""
    found: dict[Path, Any] = {}
    for key, value in obj.items():
        if key in _UNOWNED:
            continue
        if key == "metadata":
            for name, inner in (value or {}).items():
                if name not in _UNOWNED_META:
                    _walk(inner, ("metadata", name), found)
        else:
            _walk(value, (key,), found)
    return found


def _walk(value: Any, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _walk(inner, (*path, str(key)), found)
    else:
        found[path] = value


def owners(obj: Json) -> list[Owner]:
    """The managers of a stored object."""
    return [
        Owner(
            entry["manager"],
            entry["operation"],
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            entry.get("time", ""),
            _decode(entry.get("fieldsV1", {})),
        )
        for entry in obj["metadata"].get("managedFields", [])
    ]


def _decode(node: Json, path: Path = ()) -> set[Path]:
    found: set[Path] = set()
    for key, inner in node.items():
        here = (*path, key[2:])
        found |= _decode(inner, here) if inner else {here}
    return found


def _encode(paths: set[Path]) -> Json:
    tree: Json = {}
    for path in sorted(paths):
        node = tree
        for key in path:
            node = node.setdefault(f"f:{key}", {})
    return tree


def store_owners(obj: Json, entries: list[Owner]) -> None:
    """Write the managers back, in the server's order: appliers first, then by time and name."""
    kept = sorted((e for e in entries if e.paths), key=lambda e: (e.operation, e.time, e.manager))
    shown = []
    for entry in kept:
        item: Json = {"apiVersion": entry.api_version, "fieldsType": "FieldsV1", "fieldsV1": _encode(entry.paths)}
        item |= {"manager": entry.manager, "operation": entry.operation, "time": entry.time}
        if entry.subresource:
            item["subresource"] = entry.subresource
        shown.append(item)
    if shown:
        obj["metadata"]["managedFields"] = shown
    else:
        obj["metadata"].pop("managedFields", None)


def field_path(path: Path) -> str:
    """As the server shows a path in a conflict, e.g. `.metadata.annotations.sluice/deployment`."""
    return "".join(f".{key}" for key in path)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386; neither argument is changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def record_update(old: Json | None, new: Json, manager: str, subresource: str = "") -> None:
    """Give the fields that a write changed to its manager, in place."""
    before = leaves(old) if old else {}
    after = leaves(new) if subresource else _without_status(leaves(new))
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    entries = owners(old) if old else []
    present = leaves(new)
    for entry in entries:
        entry.paths = {path for path in entry.paths if path in present and path not in changed}
    if changed:
        mine = _own(entries, manager, "Update", new["apiVersion"], subresource)
        mine.paths |= changed
        mine.time = now()
    store_owners(new, entries)


def _without_status(found: dict[Path, Any]) -> dict[Path, Any]:
    """What the main resource writes: neither the status nor a namespace's own finalizer."""
    return {path: value for path, value in found.items() if path[0] != "status" and path != ("spec", "finalizers")}


def _own(entries: list[Owner], manager: str, operation: str, api_version: str, subresource: str) -> Owner:
    wanted = Owner(manager, operation, api_version, subresource, now())
    for entry in entries:
        if entry.key() == wanted.key():
            return entry
    entries.append(wanted)
    return wanted


def apply(live: Json | None, applied: Json, manager: str, force: bool, subresource: str = "") -> Json:
    """Server-side apply: the merged object with its managers, or the conflicts."""
    wanted = leaves(applied)
    merged = copy.deepcopy(live) if live else {"metadata": {}}
    entries = owners(merged)
    mine = _own(entries, manager, "Apply", applied["apiVersion"], subresource)
    others = [entry for entry in entries if entry is not mine]
    _settle_conflicts(leaves(live) if live else {}, wanted, others, force)
    before, mine.paths = mine.paths, set(wanted)
    if before != mine.paths:
        mine.time = now()
    _drop(merged, before - mine.paths, mine, others)
    for path, value in wanted.items():
        _put(merged, path, value)
    for key in _UNOWNED:
        merged[key] = applied[key]
    for entry in others:
        present = leaves(merged)
        entry.paths = {path for path in entry.paths if path in present}
    store_owners(merged, entries)
    return merged


def _settle_conflicts(live: dict[Path, Any], wanted: dict[Path, Any], others: list[Owner], force: bool) -> None:
    found: list[tuple[str, str]] = []
    for owner in sorted(others, key=lambda entry: entry.manager):
        taken = {
            path
            for path in owner.paths
            for mine, value in wanted.items()
            if _overlap(path, mine) and (path != mine or live.get(path) != value)
        }
        if force:
            owner.paths -= taken
        else:
            found += [(owner.shown(), field_path(path)) for path in sorted(taken)]
    if found:
        raise apply_conflict(found)


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _drop(obj: Json, paths: set[Path], mine: Owner, others: list[Owner]) -> None:
    """Remove what this manager no longer applies and nobody else owns, and the maps that this empties."""
    kept = mine.paths.union(*(entry.paths for entry in others))
    for path in sorted(paths):
        if not any(_overlap(path, other) for other in kept):
            _remove(obj, path)


def _remove(obj: Json, path: Path) -> None:
    trail: list[tuple[Json, str]] = []
    node: Any = obj
    for key in path:
        if not isinstance(node, dict) or key not in node:
            return
        trail.append((node, key))
        node = node[key]
    holder, key = trail.pop()
    del holder[key]
    for holder, key in reversed(trail):
        if holder[key] or holder is obj:
            break
        del holder[key]


def _put(obj: Json, path: Path, value: Any) -> None:
    node = obj
    for key in path[:-1]:
        inner = node.get(key)
        if not isinstance(inner, dict):
            inner = node[key] = {}
        node = inner
    if isinstance(value, dict) and isinstance(node.get(path[-1]), dict):
        return  # an applied empty map keeps what others have put into it
    node[path[-1]] = copy.deepcopy(value)
