"""What Flux has applied for an object, by its `status.inventory`."""

from typing import Any

import msgspec

_RBAC = "rbac.authorization.k8s.io"


class Entry(msgspec.Struct, frozen=True, order=True):
    """One object that Flux applied."""

    namespace: str
    kind: str
    name: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.kind} " + (f"{self.namespace}/{self.name}" if self.namespace else self.name)


def entries(found: dict[str, Any]) -> list[Entry]:
    """The objects that an object of Flux's says it applied, sorted."""
    inventory = (found.get("status") or {}).get("inventory") or {}
    return sorted(_entry(str(each["id"])) for each in inventory.get("entries") or [])


def _entry(id: str) -> Entry:
    """An id is NAMESPACE_NAME_GROUP_KIND; names of RBAC have `__` for their colons."""
    namespace, _, rest = id.partition("_")
    name, group, kind = rest.rsplit("_", 2)
    return Entry(namespace, kind, name.replace("__", ":") if group == _RBAC else name, group)
