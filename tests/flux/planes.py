"""Servers that speak the Kubernetes API, the sandbox's and a real one, with what the tests need of both."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from bot.flux.cluster import KubernetesCluster
from bot.flux.connection import Connection, from_dict
from bot.sandbox.cluster import SandboxCluster
from bot.sandbox.server import Loopback
from tests.servers.control_plane import ControlPlane

Object = dict[str, Any]


class Plane(Protocol):
    """A cluster as its operator sees it; `open` connects as Sluice does."""

    def open(self) -> KubernetesCluster: ...
    def get(self, kind: str, namespace: str, name: str) -> Object | None: ...
    def apply(self, manifest: Object, manager: str) -> Object: ...
    def patch(self, kind: str, namespace: str, name: str, patch: Object) -> Object: ...
    def delete(self, kind: str, namespace: str, name: str) -> None: ...
    def stop(self) -> None: ...
    def start(self) -> None: ...


class SandboxPlane:
    """The sandbox, over HTTP; `cluster` has the knobs."""

    def __init__(self) -> None:
        self.cluster = SandboxCluster()
        self.server = Loopback(self.cluster)

    def open(self) -> KubernetesCluster:
        return KubernetesCluster.from_dict("default", self.cluster.kubeconfig(self.server.url))

    def connection(self, timeout: float = 15.0) -> Connection:
        return from_dict(self.cluster.kubeconfig(self.server.url), timeout=timeout)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self.cluster.get(kind, namespace, name)

    def apply(self, manifest: Object, manager: str) -> Object:
        return self.cluster.apply(manifest, manager)

    def patch(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        return self.cluster.patch(kind, namespace, name, patch, "operator")

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.cluster.delete(kind, namespace, name)

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.start()


class RealPlane:
    """A real API server with Flux's own kustomize-controller; the operator is one whom the policies let through."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane

    def open(self) -> KubernetesCluster:
        return KubernetesCluster.from_kubeconfig("default", self.plane.sluice_kubeconfig)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self.plane.operator.get(kind, name, namespace or None)

    def apply(self, manifest: Object, manager: str) -> Object:
        return self.plane.operator.apply(manifest, manager=manager)[0]

    def patch(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        resource = self.plane.operator.resource(kind)
        found = resource.patch(name=name, namespace=namespace, body=patch, content_type="application/merge-patch+json")
        return dict(found.to_dict())

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.plane.operator.delete(kind, name, namespace or None)

    def stop(self) -> None:
        self.plane.stop_api_server()

    def start(self) -> None:
        self.plane.start_api_server()
        self.plane.restart_flux()  # it may have lost its lease, and others use it, too


async def eventually(check: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(seconds):
        while True:
            found = check()
            if (await found) if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


async def is_gone(cluster: KubernetesCluster, kind: str, namespace: str, name: str) -> None:
    """Wait for Flux's finalizer: until then an apply still goes to the object that is being deleted."""

    async def check() -> bool:
        return await cluster.get(kind, namespace, name) is None

    await eventually(check)
