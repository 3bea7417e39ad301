"""`sluice flux install` on the sandbox and on a real API server, where kwok makes the controllers available."""

import uuid
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from bot.core.errors import TemporaryError, UserError
from bot.core.fluxinstall import Limits
from bot.flux import installing
from bot.flux.cluster import KubernetesCluster
from bot.flux.installing import Installer
from bot.sandbox.cluster_kinds import KINDS, KNOWN_SPEC_FIELDS
from bot.sandbox.cluster_seed import definition
from bot.sandbox.flux import SandboxFlux
from bot.sandbox.git import GitStore
from tests.flux.planes import Plane, RealPlane, SandboxPlane
from tests.servers import build

MANIFEST = (Path(__file__).parent / "install.yaml").read_text()
NO_LIMITS = Limits()


def manifests(plane: Plane, namespace: str) -> bytes:
    """The tests' install.yaml with definitions, for another namespace than the one where Flux is."""
    if isinstance(plane, RealPlane):
        folder = build.ensure((build.CRDS,), print)[build.CRDS]
        definitions = [path.read_text() for path in sorted(folder.glob("*.yaml"))]
    else:
        kinds = [kind for kind in KINDS if kind.custom]
        definitions = [yaml.safe_dump(definition(kind, KNOWN_SPEC_FIELDS[kind.kind])) for kind in kinds]
    parts = [MANIFEST.replace("flux-system", namespace), *definitions]
    return "\n---\n".join(parts).encode()


def as_administrator(plane: Plane) -> KubernetesCluster:
    if isinstance(plane, RealPlane):
        return KubernetesCluster.from_kubeconfig("default", plane.plane.admin_kubeconfig)
    return plane.open()


def manager(plane: Plane, namespace: str, name: str) -> dict[str, Any]:
    found = plane.get("Deployment", namespace, name)
    assert found is not None
    [container] = found["spec"]["template"]["spec"]["containers"]
    return dict(container)


async def test_installed_and_repeated(plane: Plane, tmp_path: Path) -> None:
    """Everything is there with limits and flags, its controllers are available; again, nothing differs."""
    namespace = f"flux-{uuid.uuid4().hex[:8]}"
    cluster, said = as_administrator(plane), list[str]()
    flux = SandboxFlux(plane.cluster, GitStore(tmp_path).fetch) if isinstance(plane, SandboxPlane) else None
    data, limits = manifests(plane, namespace), Limits(cpu="2", memory="2Gi")
    try:
        if flux is not None:
            flux.start()
        await Installer(cluster, said.append).install(data, limits, with_gate=True, force=True)
        assert f"made Namespace {namespace}" in said
        assert said.index(f"made Namespace {namespace}") < said.index("made Deployment kustomize-controller")
        assert said[-1].endswith("objects were changed")

        container = manager(plane, namespace, "kustomize-controller")
        assert container["resources"]["limits"] == {"cpu": "2", "memory": "2Gi"}
        assert container["args"][-2:] == [
            "--default-service-account=default",
            "--feature-gates=CancelHealthCheckOnNewRevision=true",
        ]
        assert container["args"][-2:] == manager(plane, namespace, "helm-controller")["args"][-2:]
        assert not [word for word in manager(plane, namespace, "source-controller")["args"] if "default" in word]

        said.clear()
        await Installer(cluster, said.append).install(data, limits, with_gate=True, force=True)
        assert said == ["nothing differs"]
        await Installer(cluster, said.append).install(data, Limits(memory="3Gi"), with_gate=True, force=True)
        assert said[-1] == "3 objects were changed"
    finally:
        if flux is not None:
            flux.stop()
        plane.delete("Namespace", "", namespace)
        await cluster.close()


async def test_controllers_that_do_not_become_available(sandbox: SandboxPlane) -> None:
    """Nobody runs them here: what is not there in time is named."""
    cluster, said, waited = sandbox.open(), list[str](), list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    installer = Installer(cluster, said.append, patience=20, sleep=sleep)
    with pytest.raises(UserError, match="not ready in time") as caught:
        await installer.install(manifests(sandbox, "flux-slow"), NO_LIMITS, with_gate=False, force=True)
    await cluster.close()
    assert caught.value.code == "flux_not_ready"
    assert "kustomize-controller: it was not looked at yet" in caught.value.message
    assert sum(waited) == 20


async def test_fields_of_others(sandbox: SandboxPlane) -> None:
    """What another manager holds is taken over only where that was asked for."""
    cluster = sandbox.open()
    data = manifests(sandbox, "flux-theirs")
    sandbox.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-theirs"}}, "x")
    account = {"name": "source-controller", "namespace": "flux-theirs"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": account, "spec": {"type": "NodePort"}}
    sandbox.cluster.apply(service, "somebody")
    with pytest.raises(UserError, match="somebody") as caught:
        await Installer(cluster, print).install(data, NO_LIMITS, with_gate=False)
    await cluster.close()
    assert caught.value.code == "field_conflict"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", "no YAML"),
        ("just text", "document 1 of the manifests is no Kubernetes object"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}", "source-controller, kustomize-controller is not in"),
    ],
)
async def test_what_is_no_manifest_of_flux(sandbox: SandboxPlane, text: str, words: str) -> None:
    """Nothing is applied of it."""
    cluster = sandbox.open()
    before = len(sandbox.cluster.writes)
    with pytest.raises(UserError, match=words) as caught:
        await Installer(cluster, print).install(text.encode(), NO_LIMITS, with_gate=True)
    await cluster.close()
    assert caught.value.code == "manifest_invalid"
    assert len(sandbox.cluster.writes) == before


async def test_the_published_manifests() -> None:
    """By version, following redirects; what is not there is said."""
    asked = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        if request.url.host == "github.com":
            return httpx2.Response(302, headers={"location": "https://objects.example/install.yaml"})
        return httpx2.Response(200, content=b"kind: x")

    assert await installing.fetch("v2.9.3", httpx2.MockTransport(answer)) == b"kind: x"
    assert asked[0] == "https://github.com/fluxcd/flux2/releases/download/v2.9.3/install.yaml"
    missing = httpx2.MockTransport(lambda _: httpx2.Response(404))
    with pytest.raises(UserError, match="is there such a version"):
        await installing.fetch("2.9.99", missing)

    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route")

    with pytest.raises(TemporaryError, match="or use --from FILE"):
        await installing.fetch("2.9.3", httpx2.MockTransport(broken))
    with pytest.raises(UserError, match="no version of Flux"):
        await installing.fetch("latest")
