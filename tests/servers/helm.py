"""Flux's helm-controller beside a control plane, and what it needs of source-controller: charts of GitRepositories.

helm-controller is the original. What packages charts is a stand-in of the tests: HelmCharts by GitRepository with the
strategy Revision, and files of values; it keeps no finalizer and looks again and again instead of watching.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import posixpath
import tarfile
import threading
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

from tests.servers import build
from tests.servers.control_plane import NO_ADDRESSES, ControlPlane
from tests.servers.objects import Object, Objects
from tests.servers.processes import GO, Process

NAME = "helm-controller"
FLUX = "system:serviceaccounts:flux-system"
EVERY = 0.2
RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: cluster-reconciler-helm}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: helm-controller}]
"""
Files = dict[str, bytes]


class HelmFlux:
    """helm-controller and the packager, from entering to leaving."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._folder = plane.folder / "charts"
        self._folder.mkdir(exist_ok=True)
        self._stopping = threading.Event()
        self._source = Objects(plane.kubeconfig_for("source-controller", [FLUX]))
        self._packager = threading.Thread(target=self._package, daemon=True)
        handler = functools.partial(_Quiet, directory=str(self._folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        program = build.ensure((NAME,))[NAME]
        arguments = ["--watch-all-namespaces=true", "--requeue-dependency=2s", "--concurrent=4", *NO_ADDRESSES]
        env = {"KUBECONFIG": str(plane.kubeconfig_for(NAME, [FLUX])), "RUNTIME_NAMESPACE": "flux-system"}
        self._process = Process(NAME, [program, *arguments], plane.folder, {**GO, **env, "HOME": str(plane.folder)})

    def __enter__(self) -> Self:
        self._plane.admin.apply(RIGHTS)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._packager.start()
        self._process.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.stop()
        self._stopping.set()
        self._packager.join()
        self._server.shutdown()
        self._server.server_close()
        self._source.close()

    def tail(self) -> str:
        """The end of helm-controller's log."""
        return self._process.tail(40)

    def _package(self) -> None:
        done: dict[str, tuple[object, ...]] = {}
        while not self._stopping.wait(EVERY):
            for chart in self._source.list("HelmChart"):
                place = f"{chart['metadata']['namespace']}/{chart['metadata']['name']}"
                artifact = self._artifact(chart)
                state = (chart["metadata"]["uid"], chart["metadata"]["generation"], artifact.get("revision"))
                if artifact and done.get(place) != state:
                    self._status(chart, artifact)
                    done[place] = state

    def _artifact(self, chart: Object) -> Object:
        """The artifact of the GitRepository that a chart is made of, once it has one."""
        source = self._source.get("GitRepository", chart["spec"]["sourceRef"]["name"], chart["metadata"]["namespace"])
        return dict(((source or {}).get("status") or {}).get("artifact") or {})

    def _status(self, chart: Object, artifact: Object) -> None:
        status: Object = {"observedSourceArtifactRevision": artifact["revision"]}
        try:
            status |= self._packed(chart, artifact)
            ready = ("True", "ChartPackageSucceeded", "packaged the chart")
            status["observedGeneration"] = chart["metadata"]["generation"]
        except KeyError as missing:
            ready = ("False", "ChartPackageError", f"no such file in the artifact: {missing}")
        condition = dict(zip(("status", "reason", "message"), ready, strict=True))
        condition |= {"type": "Ready", "lastTransitionTime": artifact["lastUpdateTime"]}
        status["conditions"] = [condition | {"observedGeneration": chart["metadata"]["generation"]}]
        metadata = chart["metadata"]
        self._source.patch(
            "HelmChart", metadata["name"], {"status": status}, metadata["namespace"], subresource="status"
        )

    def _packed(self, chart: Object, artifact: Object) -> Object:
        """Package a chart under a version that ends in its commit, as the strategy Revision has it."""
        spec, files = chart["spec"], _unpacked(artifact["url"])
        folder = posixpath.normpath(spec["chart"])
        found = {path.removeprefix(f"{folder}/"): data for path, data in files.items() if path.startswith(f"{folder}/")}
        about = yaml.safe_load(found["Chart.yaml"])
        about["version"] = f"{about['version']}+{artifact['revision'].rpartition(':')[2][:12]}"
        found["Chart.yaml"] = yaml.safe_dump(about).encode()
        if spec.get("valuesFiles"):
            given = [yaml.safe_load(files[posixpath.normpath(path)]) for path in spec["valuesFiles"]]
            merged: dict[str, Any] = functools.reduce(lambda below, above: {**below, **above}, given, {})
            found["values.yaml"] = yaml.safe_dump(merged).encode()
        content = _tar(about["name"], found)
        digest = hashlib.sha256(content).hexdigest()
        path = f"{chart['metadata']['uid']}-{digest[:16]}.tgz"
        Path(self._folder / path).write_bytes(content)
        url = f"http://127.0.0.1:{self._server.server_port}/{path}"
        kept = {"path": path, "url": url, "revision": about["version"], "digest": f"sha256:{digest}"}
        kept |= {"size": len(content), "lastUpdateTime": artifact["lastUpdateTime"]}
        return {"artifact": kept, "url": url, "observedChartName": about["name"]}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _unpacked(url: str) -> Files:
    with urllib.request.urlopen(url, timeout=10) as answer, tarfile.open(fileobj=io.BytesIO(answer.read())) as packed:
        members = [(each, packed.extractfile(each)) for each in packed.getmembers() if each.isfile()]
        return {posixpath.normpath(each.name): content.read() for each, content in members if content is not None}


def _tar(name: str, files: Files) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as packed:
        for path, content in sorted(files.items()):
            about = tarfile.TarInfo(f"{name}/{path}")
            about.size = len(content)
            packed.addfile(about, io.BytesIO(content))
    return target.getvalue()
