"""Apply and prune as kustomize-controller does: under the rights of an account, with an inventory."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from bot.sandbox.cluster import ApiError, SandboxCluster
from bot.sandbox.cluster_errors import Json, qualified
from bot.sandbox.cluster_kinds import BY_KIND, RBAC, Kind, for_object
from bot.sandbox.flux_text import named

MANAGER = "kustomize-controller"
OWNER = "kustomize.toolkit.fluxcd.io"
_FIRST = ("CustomResourceDefinition", "Namespace", "ClusterRole")
_ORDER = (*_FIRST, "ServiceAccount", "Role", "RoleBinding", "ClusterRoleBinding", "ConfigMap", "Secret", "Service")
_GLOBAL_SUBJECTS = {"system:serviceaccounts", "system:authenticated"}


class ApplyError(Exception):
    """What Flux says when it cannot apply or prune."""


class Account:
    """Whom Flux acts as: a service account by name, or itself with all rights."""

    def __init__(self, cluster: SandboxCluster, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self._namespace}:{self._name}"

    def exists(self) -> bool:
        """Whether pruning at the end is tried; impersonation itself goes by name and asks for nothing."""
        return not self._name or self._cluster.get("ServiceAccount", self._namespace, self._name) is not None

    def refusal(self, verb: str, kind: Kind, namespace: str, name: str) -> str | None:
        """The API server's text when the account may not do this."""
        if not self._name or self._may(verb, kind, namespace, name):
            return None
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        resource = f'resource "{kind.plural}" in API group "{kind.group}"'
        what = f'{qualified(kind.plural, kind.group)} "{name}" is forbidden'
        return f'{what}: User "{self.user}" cannot {verb} {resource} {where}'

    def _may(self, verb: str, kind: Kind, namespace: str, name: str) -> bool:
        bindings = [(binding, "") for binding in self._cluster.list("ClusterRoleBinding")]
        if namespace:
            bindings += [(binding, namespace) for binding in self._cluster.list("RoleBinding", namespace)]
        return any(
            self._is_subject(binding, scope) and self._allows(binding.get("roleRef") or {}, scope, verb, kind, name)
            for binding, scope in bindings
        )

    def _is_subject(self, binding: Json, scope: str) -> bool:
        groups = {f"system:serviceaccounts:{self._namespace}", *_GLOBAL_SUBJECTS}
        for subject in binding.get("subjects") or []:
            kind, name = subject.get("kind"), subject.get("name")
            if kind == "ServiceAccount" and (subject.get("namespace", scope), name) == (self._namespace, self._name):
                return True
            if (kind == "User" and name == self.user) or (kind == "Group" and name in groups):
                return True
        return False

    def _allows(self, ref: Json, scope: str, verb: str, kind: Kind, name: str) -> bool:
        if ref.get("kind") == "ClusterRole":
            role = self._cluster.get("ClusterRole", "", str(ref.get("name")))
        else:
            role = self._cluster.get("Role", scope, str(ref.get("name")))
        return any(
            _has(rule.get("verbs"), verb)
            and _has(rule.get("apiGroups"), kind.group)
            and _has(rule.get("resources"), kind.plural)
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
            for rule in (role or {}).get("rules") or []
        )


def _has(values: Iterable[str] | None, wanted: str) -> bool:
    found = set(values or ())
    return wanted in found or "*" in found


class Applier:
    """One application of a set of objects."""

    def __init__(
        self,
        cluster: SandboxCluster,
        account: Account,
        owner: tuple[str, str],
        group: str = OWNER,
        manager: str = MANAGER,
    ) -> None:
        self._cluster = cluster
        self._account = account
        self._group, self._manager = group, manager
        self._labels = {f"{group}/name": owner[1], f"{group}/namespace": owner[0]}
        self._log = ""

    def apply(self, objects: list[Json]) -> list[Json]:
        """Definitions first; nothing of a stage is applied when one of its objects is refused."""
        wanted = [self._labelled(obj) for obj in sorted(objects, key=_rank)]
        for stage in (True, False):
            part = [obj for obj in wanted if (obj["kind"] in _FIRST) is stage]
            try:
                for obj in part:
                    self._dry_run(obj)
                for obj in part:
                    self._apply(obj)
            except ApplyError as problem:
                raise ApplyError(f"{problem}\n{self._log}") from None
        return wanted

    def prune(self, stale: list[Json]) -> list[Json]:
        """Remove what is no longer wanted; raises, with the survivors in its `args`, what could not be."""
        problems, survivors = "", []
        for entry in sorted(stale, key=_rank, reverse=True):
            problem = self._delete(entry)
            if problem:
                problems += f"{problem};"
                survivors.append(entry)
        if problems:
            raise ApplyError(f"delete failed, errors: {problems}", survivors)
        return stale

    def _labelled(self, obj: Json) -> Json:
        wanted = copy.deepcopy(obj)
        meta = wanted["metadata"]
        meta["labels"] = {**(meta.get("labels") or {}), **self._labels}
        return wanted

    def _dry_run(self, obj: Json) -> None:
        kind, text = for_object(obj), named(obj)
        meta = obj["metadata"]
        if kind is None:
            what = f'no matches for kind "{obj["kind"]}" in version "{obj["apiVersion"]}"'
            raise ApplyError(f"{text} dry-run failed: {what}")
        namespace = meta.get("namespace", "") if kind.namespaced else ""
        refused = self._account.refusal("patch", kind, namespace, meta["name"])
        if refused:
            raise ApplyError(f"{text} dry-run failed (Forbidden): {refused}")
        if kind.namespaced and not namespace:
            raise ApplyError(f"{text} namespace not specified: the server could not find the requested resource")
        try:
            self._cluster.apply(obj, self._manager, dry_run=True)
        except ApiError as problem:
            if problem.code == 404:
                raise ApplyError(f"{text} not found: {problem}") from None
            reason = f" ({problem.reason})" if problem.reason else ""
            raise ApplyError(f"{text} dry-run failed{reason}: {problem}") from None

    def _apply(self, obj: Json) -> None:
        meta = obj["metadata"]
        before = self._cluster.get(obj["kind"], meta.get("namespace", ""), meta["name"])
        after = self._cluster.apply(obj, self._manager)
        if before is None:
            self._log += f"{named(obj)} created\n"
        elif before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]:
            self._log += f"{named(obj)} configured\n"

    def _delete(self, entry: Json) -> str | None:
        kind = BY_KIND[entry["kind"]]
        meta = entry["metadata"]
        where = (kind, meta.get("namespace", ""), meta["name"])
        refused = self._account.refusal("get", *where)
        if refused:
            return f"{named(entry)} query failed: {refused}"
        found = self._cluster.get(kind.kind, *where[1:])
        if found is None or not self._prunable(found):
            return None
        refused = self._account.refusal("delete", *where)
        if refused:
            return f"{named(entry)} delete failed: {refused}"
        self._cluster.delete(kind.kind, where[1], where[2], self._manager)
        return None

    def _prunable(self, obj: Json) -> bool:
        labels, notes = obj["metadata"].get("labels") or {}, obj["metadata"].get("annotations") or {}
        kept = "disabled" in (labels.get(f"{self._group}/prune"), notes.get(f"{self._group}/prune"))
        return not kept and all(labels.get(key) == value for key, value in self._labels.items())


def _rank(obj: Json) -> tuple[int, str, str, str]:
    kind, meta = obj["kind"], obj["metadata"]
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), kind, meta.get("namespace", ""), meta["name"])


def inventory(objects: Iterable[Json]) -> Json:
    """`status.inventory` for objects."""
    entries = []
    for obj in objects:
        kind, meta = BY_KIND[obj["kind"]], obj["metadata"]
        name = meta["name"].replace(":", "__") if kind.group == RBAC else meta["name"]
        namespace = meta.get("namespace", "") if kind.namespaced else ""
        entries.append({"id": f"{namespace}_{name}_{kind.group}_{kind.kind}", "v": kind.version})
    return {"entries": entries}


def listed(found: Json | None) -> list[Json]:
    """The objects that an inventory names."""
    objects = []
    for entry in (found or {}).get("entries") or []:
        namespace, _, rest = entry["id"].partition("_")
        name, group, kind = rest.rsplit("_", 2)
        meta = {"name": name.replace("__", ":") if group == RBAC else name}
        if namespace:
            meta["namespace"] = namespace
        version = f"{group}/{entry['v']}" if group else entry["v"]
        objects.append({"apiVersion": version, "kind": kind, "metadata": meta})
    return objects
