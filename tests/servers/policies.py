"""Put the admission policies of deploy/ into force in a cluster, or take them out, and know when that has happened."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

from kubernetes import client

from tests.servers.objects import Object, Objects, documents
from tests.servers.waiting import until

POLICIES = ("sluice-gate", "sluice-status", "sluice-fence")
BINDING = "ValidatingAdmissionPolicyBinding"
VERSION = "admissionregistration.k8s.io/v1"


def use(admin: Objects, file: Path, wanted: Iterable[str]) -> None:
    """Make exactly these policies of the file bind, and return when the API server goes by it."""
    wanted = set(wanted)
    if unknown := wanted - set(POLICIES):
        raise ValueError(f"no such policy: {', '.join(sorted(unknown))}")
    for each in documents(file.read_text()):
        if each["kind"] != BINDING or each["metadata"]["name"] in wanted:
            admin.apply(each)
    for name in set(POLICIES) - wanted:
        admin.delete(BINDING, name)
    _wait_until_seen(admin)


def _wait_until_seen(admin: Objects) -> None:
    """Wait for a policy that is made after all others: the API server sees changes in their order."""
    name = f"tests-marker-{uuid.uuid4().hex[:8]}"
    marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    policy: Object = {
        "apiVersion": VERSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": f"object.metadata.name != '{name}'"}],
        },
    }
    binding: Object = {
        "apiVersion": VERSION,
        "kind": BINDING,
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }

    def seen() -> bool:
        try:
            admin.apply(marker, dry_run=True)
        except client.ApiException as error:
            return name in str(error.body)
        return False

    admin.apply(policy)
    admin.apply(binding)
    try:
        until(seen, 30, "the API server goes by the changed policies")
    finally:
        admin.delete(BINDING, name)
        admin.delete("ValidatingAdmissionPolicy", name)
