"""The gate on the real servers: what development's manifests, and people, try to do to production."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException

from bot.core.fluxobjects import clean
from tests.e2e.harness import Shop, Sluice, at_once, kustomization, settings_of
from tests.e2e.test_pushes import ask_flux, one_end, settle, value
from tests.servers.control_plane import ControlPlane
from tests.servers.gitea_account import Files
from tests.servers.objects import Object, Objects

pytestmark = pytest.mark.e2e

PIN = "pin-production"
SOURCES, KUSTOMIZATIONS = "source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io"
START: Files = {
    "README.md": "# Shop\n",
    ".sluice.yaml": yaml.safe_dump(
        {"version": 1, "environments": {name: {"path": f"deploy/{name}"} for name in ("development", "production")}}
    ),
    "deploy/development/kustomization.yaml": kustomization("settings.yaml"),
    "deploy/development/settings.yaml": settings_of("development"),
    "deploy/production/kustomization.yaml": kustomization("settings.yaml"),
    "deploy/production/settings.yaml": settings_of("production", n="approved"),
}


class Fortress:
    """A shop whose production is pinned, and whose development may write wherever its account may."""

    def __init__(self, sluice: Sluice) -> None:
        self.shop = shop = Shop(sluice, START)
        self.plane = shop.plane
        shop.enable(["development", "production"])
        number = shop.pull({"deploy/production/settings.yaml": settings_of("production", n="pinned")}, branch="topic")
        shop.say(number, "/deploy production")
        assert shop.ended(shop.head("topic"), "production")[0] == "success"
        self.namespace = shop.namespace
        self.inventory: list[Object] = []
        self.target = f"{self.namespace}-development"
        assert shop.ended(self.push("0"), "development")[0] == "success"

    def push(self, n: str, attack: Object | None = None) -> str:
        """Development's settings, and the attack beside them; the commit."""
        settings = yaml.safe_load(settings_of("development", n=n))
        settings["metadata"]["namespace"] = self.target
        changes = {
            "deploy/development/settings.yaml": yaml.safe_dump(settings),
            "deploy/development/attack.yaml": yaml.safe_dump(attack or {}),
            "deploy/development/kustomization.yaml": kustomization("settings.yaml", *["attack.yaml"] * bool(attack)),
        }
        return self.shop.push(changes, message=n)

    def state(self) -> dict[str, Any]:
        """All that an attack could change; not what Flux says of it."""
        plane, found = self.plane, {}
        for kind in ("GitRepository", "Kustomization"):
            for each in plane.admin.list(kind, self.namespace):
                metadata = each["metadata"]
                kept = {name: metadata.get(name) for name in ("uid", "generation", "labels", "ownerReferences")}
                pinned = (metadata.get("annotations") or {}).get("sluice/deployment")
                found[f"{kind} {metadata['name']}"] = {**kept, "spec": each["spec"], "pinned": pinned}
        assert self.shop.live("production"), "production is not ready"
        return {**found, "live": self.shop.live("production"), "n": value(self.shop, "production")}


def opened(sluice: Sluice) -> Fortress:
    """As Sluice made it, except that development's manifests are not moved into its target namespace any more.

    Production's objects carry the labels by which Flux takes them for development's, so that it would prune them.
    """
    found = Fortress(sluice)
    operator = found.plane.operator
    operator.patch("Kustomization", "development", {"spec": {"targetNamespace": None}}, found.namespace)
    labels = {f"{KUSTOMIZATIONS}/name": "development", f"{KUSTOMIZATIONS}/namespace": found.namespace}
    for kind, name in (("GitRepository", PIN), ("Kustomization", "production")):
        operator.patch(kind, name, {"metadata": {"labels": labels}}, found.namespace)
    ask_flux(found.shop, "Kustomization", "development")
    found.inventory = found.shop.kustomization("development")["status"]["inventory"]["entries"]
    return found


Lock = Callable[[ControlPlane, list[Fortress]], AbstractContextManager[str]]
Attack = Callable[[Fortress], Object | None]


# The locks.


@contextmanager
def accounts(plane: ControlPlane, _fortresses: list[Fortress]) -> Iterator[str]:
    """Service accounts and RBAC alone; what they say."""
    with plane.without_policies():
        yield 'User "system:serviceaccount:'


@contextmanager
def policies(plane: ControlPlane, fortresses: list[Fortress]) -> Iterator[str]:
    """Admission policies alone: development's account may do everything; what they say."""
    with all_powerful(plane, fortresses):
        yield "this object belongs to Sluice"


@contextmanager
def both(_plane: ControlPlane, _fortresses: list[Fortress]) -> Iterator[str]:
    """As deploy/ has it; RBAC speaks first."""
    yield 'User "system:serviceaccount:'


@contextmanager
def all_powerful(plane: ControlPlane, fortresses: list[Fortress]) -> Iterator[None]:
    """Development's account is a cluster-admin."""
    name = f"tests-{uuid.uuid4().hex[:8]}"
    accounts = [
        {"kind": "ServiceAccount", "name": "sluice-development", "namespace": each.namespace} for each in fortresses
    ]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": accounts,
    }
    plane.apply(binding)
    try:
        yield
    finally:
        plane.delete("ClusterRoleBinding", name)


LOCKS: tuple[Lock, ...] = (accounts, policies, both)


# What development's path tries.


def rewrite_the_source(fortress: Fortress) -> Object:
    """Production is to go by main's head."""
    shop = fortress.shop
    spec = {"url": shop.gitea.clone_url(shop.repository), "interval": "1m", "secretRef": {"name": "git-credentials"}}
    spec["ref"] = {"branch": "main", "commit": shop.head()}
    return _object(f"{SOURCES}/v1", "GitRepository", PIN, fortress.namespace, spec)


def rewrite_the_kustomization(fortress: Fortress) -> Object:
    """Production is to go by the source that everybody may push to."""
    return _object(
        f"{KUSTOMIZATIONS}/v1", "Kustomization", "production", fortress.namespace, _spec("./deploy/production")
    )


def hop(fortress: Fortress) -> Object:
    """A Kustomization without account, which Flux would apply with all its rights."""
    return _object(f"{KUSTOMIZATIONS}/v1", "Kustomization", "hop", fortress.namespace, _spec("./deploy/hop"))


def _spec(path: str) -> Object:
    return {
        "path": path,
        "interval": "1m",
        "prune": True,
        "sourceRef": {"kind": "GitRepository", "name": "branch-main"},
    }


def _object(version: str, kind: str, name: str, namespace: str, spec: Object) -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def prune_the_source(fortress: Fortress) -> None:
    """Development's inventory names production's source, which its path does not hold."""
    _claim(fortress, f"{fortress.namespace}_{PIN}_{SOURCES}_GitRepository")


def prune_the_kustomization(fortress: Fortress) -> None:
    """The same with production's Kustomization."""
    _claim(fortress, f"{fortress.namespace}_production_{KUSTOMIZATIONS}_Kustomization")


def _claim(fortress: Fortress, id: str) -> None:
    _set_inventory(fortress, [*fortress.inventory, {"id": id, "v": "v1"}])


CLAIMS: tuple[Attack, ...] = (prune_the_source, prune_the_kustomization)
ATTACKS: tuple[Attack, ...] = (rewrite_the_source, rewrite_the_kustomization, hop, *CLAIMS)


class Siege:
    """A fortress for each attack, and what came of it at each lock; all attacks are made at the same time."""

    def __init__(self, sluice: Sluice) -> None:
        self._plane = sluice.plane
        made = at_once(*[lambda: opened(sluice)] * len(ATTACKS))
        self.fortresses = dict(zip(ATTACKS, made, strict=True))
        self._ends: dict[Lock, dict[Attack, Exception | None]] = {}

    def end(self, lock: Lock, attack: Attack) -> None:
        """Raise if the attack got anywhere, or was not told of."""
        if lock not in self._ends:
            with lock(self._plane, list(self.fortresses.values())) as words:
                works = [functools.partial(_withstand, *each, words) for each in self.fortresses.items()]
                self._ends[lock] = dict(zip(ATTACKS, at_once(*works), strict=True))
        error = self._ends[lock][attack]
        if error is not None:
            raise error


def _withstand(attack: Attack, fortress: Fortress, words: str) -> Exception | None:
    """Make the attack, and look at what it did; the next one takes its place."""
    try:
        before = fortress.state()
        commit = fortress.push(uuid.uuid4().hex, attack(fortress))
        _fails(fortress, commit, "" if attack in CLAIMS else "(Forbidden)", words)
        assert fortress.state() == before
    except Exception as error:
        return error
    finally:
        _set_inventory(fortress, fortress.inventory)
    return None


@pytest.fixture(scope="module")
def siege(sluice: Sluice) -> Siege:
    """All attacks."""
    return Siege(sluice)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_development_cannot_touch_production(siege: Siege, lock: Lock, attack: Attack) -> None:
    """Nothing changes, and development's status says why, in Flux's words."""
    siege.end(lock, attack)


def _a_second_later(shop: Shop) -> None:
    """Flux tells the time of a failure in whole seconds: within one, two failures look like the same."""
    failed = datetime.fromisoformat(shop.ready("development")["lastTransitionTime"])
    shop.until(lambda: datetime.now(UTC) >= failed + timedelta(seconds=1.1), "the second of the failure is over")


def _set_inventory(fortress: Fortress, entries: list[Object]) -> None:
    flux = fortress.plane.objects_as("kustomize-controller")
    status = {"status": {"inventory": {"entries": entries}}}
    flux.patch("Kustomization", "development", status, fortress.namespace, subresource="status")


def _fails(fortress: Fortress, commit: str, reason: str, words: str) -> None:
    """Flux is refused twice; Sluice passes on what it said."""
    shop = fortress.shop
    shop.pending(commit, "development", "failing, Flux retries")
    _flux_says(shop, words)
    _a_second_later(shop)
    ask_flux(shop, "Kustomization", "development")
    state, text = shop.ended(commit, "development")
    assert state == "failure"
    told = text.removeprefix("Failed: ").rstrip("…")
    _flux_says(shop, told)
    assert reason in told
    settle(shop)
    assert one_end(shop, commit, "development") == (state, text)


def _flux_says(shop: Shop, words: str) -> None:
    """As soon as it says how a try ended: while it tries again, it says that."""
    shop.until(lambda: words in clean(shop.ready("development")["message"]), f"Flux says {words!r}")


@pytest.mark.timeout(180)
def test_without_both_locks_the_attack_works(fortress: Fortress) -> None:
    """Else these tests would show nothing."""
    shop, plane = fortress.shop, fortress.plane
    with plane.without_policies(), all_powerful(plane, [fortress]):
        fortress.push("neither", hop(fortress))
        shop.until(lambda: plane.get("Kustomization", "hop", fortress.namespace), "the Kustomization without account")
        assert shop.ended(fortress.push("after neither"), "development")[0] == "success"
        plane.admin.wait_gone("Kustomization", "hop", fortress.namespace)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("attack", [rewrite_the_source, hop])
def test_as_sluice_makes_it_the_attack_lands_elsewhere(fortress: Fortress, attack: Attack) -> None:
    """Flux moves development's manifests into its target namespace, where its account has no rights on Flux's kinds."""
    with _as_sluice_makes_it(fortress):
        before = fortress.state()
        commit = fortress.push(f"elsewhere {attack.__name__}", attack(fortress))
        _fails(fortress, commit, "(Forbidden)", 'User "system:serviceaccount:')
        assert f"{fortress.target}/" in fortress.shop.ready("development")["message"]
        assert fortress.state() == before
        healed = fortress.push(f"after {attack.__name__} elsewhere")
        assert fortress.shop.ended(healed, "development")[0] == "success"


@contextmanager
def _as_sluice_makes_it(fortress: Fortress) -> Iterator[None]:
    """With the target namespace."""
    operator = fortress.plane.operator
    for target in (fortress.target, None):
        patch = {"spec": {"targetNamespace": target}}
        operator.patch("Kustomization", "development", patch, fortress.namespace)
        ask_flux(fortress.shop, "Kustomization", "development")
        if target:
            yield


# What people try.


@pytest.fixture(scope="module")
def fortress(sluice: Sluice) -> Fortress:
    """One that nobody else attacks."""
    return opened(sluice)


@pytest.fixture
def dave(fortress: Fortress) -> Objects:
    """He may edit in the project's namespace."""
    fortress.plane.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "tests-dave", "namespace": fortress.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dave"}],
        }
    )
    return fortress.plane.objects_as("dave", ["developers"])


@pytest.mark.parametrize(("kind", "name"), [("GitRepository", PIN), ("Kustomization", "production")])
def test_a_person_with_edit_cannot_move_the_gate(fortress: Fortress, dave: Objects, kind: str, name: str) -> None:
    """Neither spec nor labels, owners, the deployment's number or the status; nor can he delete it."""
    before = fortress.state()
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "0b1f0c7e-0000-4000-8000-000000000000"}
    for body in (
        {"spec": {"suspend": True}},
        {"spec": {"interval": "1m"}},
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
        {"metadata": {"labels": {"mine": "yes"}}},
        {"metadata": {"ownerReferences": [owner]}},
        {"metadata": {"annotations": {"sluice/deployment": "99"}}},
        {"metadata": {"annotations": {"sluice/deployment": None}}} if name == PIN else {"spec": {"prune": False}},
    ):
        with pytest.raises(ApiException, match="belongs to Sluice"):
            dave.patch(kind, name, body, fortress.namespace)
    with pytest.raises(ApiException, match="belongs to Sluice"):
        dave.delete(kind, name, fortress.namespace)
    forged: tuple[Object, ...] = ({"conditions": []}, {"lastHandledReconcileAt": "never"})
    for status in forged:
        with pytest.raises(ApiException, match="only Flux writes the status"):
            dave.patch(kind, name, {"status": status}, fortress.namespace, subresource="status")
    assert fortress.state() == before


def test_a_person_with_edit_may_ask_flux(fortress: Fortress, dave: Objects) -> None:
    """`flux reconcile` works for him; a Kustomization of his own beside Sluice's does not."""
    before = fortress.state()
    for kind, name in (("GitRepository", PIN), ("Kustomization", "production")):
        ask_flux(fortress.shop, kind, name, by=dave)
    with pytest.raises(ApiException, match="belongs to Sluice"):
        dave.create(hop(fortress))
    fortress.shop.until(lambda: fortress.shop.live("production"), "production is ready after that")
    assert fortress.state() == before


def test_the_projects_namespace_stays(fortress: Fortress) -> None:
    """An administrator who is no operator of Sluice's cannot delete it, nor a target namespace, nor unlabel them."""
    before = fortress.state()
    admin = fortress.plane.admin
    for name in (fortress.namespace, fortress.target, f"{fortress.namespace}-production"):
        with pytest.raises(ApiException, match="this namespace belongs to Sluice"):
            admin.delete("Namespace", name)
        with pytest.raises(ApiException, match="this namespace belongs to Sluice"):
            admin.patch("Namespace", name, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    assert fortress.state() == before
