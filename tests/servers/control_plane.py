"""A Kubernetes cluster with Flux for one test run: a real API server, its controllers, Flux's kustomize-controller."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import os
import shutil
import signal
import ssl
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from tests.servers import build, foreign, policies
from tests.servers.certificates import Authority, write_kubeconfig
from tests.servers.objects import Object, Objects, condition
from tests.servers.processes import GO, Process, StartError, free_port, stop_all
from tests.servers.waiting import until

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kustomize-controller")
FLUX = "system:serviceaccounts:flux-system"
GROUPS = {"source-controller": (FLUX,), "kustomize-controller": (FLUX,), "admin": ("system:masters",)}
"""The groups that a user of this name is in when none are given."""
OPERATOR = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: tests-operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: tests-operator}]
"""
NO_ADDRESSES = ("--metrics-addr=0", "--health-addr=0", "--events-addr=")
"""Nobody asks a Flux controller in the tests for its metrics, and it tells nobody its events."""
CONTROLLERS = (
    "namespace-controller,garbage-collector-controller,clusterrole-aggregation-controller,serviceaccount-controller,"
    "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,job-controller,"
    "certificatesigningrequest-signing-controller"
)


class ControlPlane:
    """One cluster, started and stopped as a whole; with ``E2E_KUBECONFIG=1`` the one that KUBECONFIG names."""

    def __init__(
        self, *, cancel_health_check: bool = True, default_service_account: str = "default", with_policies: bool = True
    ) -> None:
        self.cancel_health_check = cancel_health_check
        self.default_service_account = default_service_account
        self.with_policies = with_policies
        self.foreign = foreign.kubeconfig()
        self.folder = Path()
        self.url = ""
        self.admin_kubeconfig = Path()
        self.sluice_kubeconfig = Path()
        self._authority = Authority(Path())
        self._processes: dict[str, Process] = {}
        self._opened: dict[Path, Objects] = {}
        self._opening = threading.RLock()

    # Start and stop

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it all; when this returns, objects are reconciled and the policies are in force."""
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-cluster-"))
        try:
            if self.foreign:
                self._adopt(self.foreign)
            else:
                self._start()
        except BaseException as error:
            self._stop_processes()
            if isinstance(error, StartError | TimeoutError):
                tails = "\n".join(process.tail(15) for process in self._processes.values())
                raise StartError(f"{error}\n{tails}\n(the logs stay in {self.folder})") from error
            raise

    def stop(self) -> None:
        """Stop everything and remove the folder (E2E_SERVERS_KEEP=1 keeps it, with the logs)."""
        self._stop_processes()
        if not os.environ.get("E2E_SERVERS_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stop_processes(self) -> None:
        stop_all(list(self._processes.values()))
        for each in self._opened.values():
            each.close()
        self._opened.clear()
        for name in ("admin", "operator"):
            self.__dict__.pop(name, None)

    def _start(self) -> None:
        programs = build.ensure((*PROGRAMS, build.CRDS), lambda text: print(text, file=sys.stderr))
        self._authority = Authority(self.folder)
        self._authority.create()
        self.url = f"https://127.0.0.1:{free_port()}"
        self._start_api_server(programs)
        self.admin_kubeconfig = self.kubeconfig_for("admin")
        self.sluice_kubeconfig = self.kubeconfig_for("sluice")
        self._prepare_controllers(programs)
        self._wait_for_api_server(30)
        for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self._processes[name].start()
        self._install(programs[build.CRDS])
        self._processes["kustomize-controller"].start()
        self._processes["source-controller"].start()
        self._wait_until_usable()

    def _adopt(self, kubeconfig: Path) -> None:
        """Use a cluster that is there; only what is in deploy/ is applied to it."""
        self.admin_kubeconfig = self.folder / "admin.kubeconfig"
        shutil.copy(kubeconfig, self.admin_kubeconfig)
        self.url = str(self.admin.api.configuration.host)
        foreign.check(self.admin)
        self.admin.apply((CHECKOUT / "deploy" / "rbac.yaml").read_text())
        if self.with_policies:
            self.use_policies()
        self.sluice_kubeconfig = foreign.account_kubeconfig(self.admin, self.folder, "sluice-system", "sluice")

    # The API server

    def stop_api_server(self) -> None:
        """Stop the API server; all connections to it end."""
        self._own("kube-apiserver").stop(grace=1)

    def start_api_server(self, seconds: float = 30) -> None:
        """Start the API server again, at the same address."""
        process = self._own("kube-apiserver")
        if not process.running:
            process.start()
        self._wait_for_api_server(seconds)

    def pause_api_server(self) -> None:
        """Let the API server hang: connections stay, answers do not come."""
        self._own("kube-apiserver").signal(signal.SIGSTOP)

    def resume_api_server(self) -> None:
        """Let a paused API server go on."""
        self._own("kube-apiserver").signal(signal.SIGCONT)

    # Flux and the policies

    def restart_flux(
        self, *, cancel_health_check: bool | None = None, default_service_account: str | None = None
    ) -> None:
        """Restart kustomize-controller, with other flags where they are given."""
        if cancel_health_check is not None:
            self.cancel_health_check = cancel_health_check
        if default_service_account is not None:
            self.default_service_account = default_service_account
        old = self._own("kustomize-controller")
        old.stop(grace=2)
        self._prepare_kustomize_controller(Path(old.command[0]))
        self.admin.apply(self._flux_objects())
        self._processes["kustomize-controller"].start()

    def stop_source_controller(self) -> None:
        """Stop the stand-in for source-controller; artifacts are not served any more."""
        self._own("source-controller").stop()

    def start_source_controller(self) -> None:
        """Start the stand-in again, at the same address."""
        self._own("source-controller").start()

    def use_policies(self, *names: str) -> None:
        """Put exactly these policies of deploy/ into force; all of them when none is named."""
        policies.use(self.admin, CHECKOUT / "deploy" / "policies.yaml", names or policies.POLICIES)

    @contextlib.contextmanager
    def without_policies(self) -> Iterator[None]:
        """No policy is in force inside this block, all are after it."""
        policies.use(self.admin, CHECKOUT / "deploy" / "policies.yaml", ())
        try:
            yield
        finally:
            self.use_policies()

    # Users and objects

    def kubeconfig_for(self, user: str, groups: Sequence[str] | None = None) -> Path:
        """A kubeconfig of any user in any groups; made once for each."""
        groups = GROUPS.get(user, ()) if groups is None else tuple(groups)
        name = "+".join((user, *groups)).replace(":", ".").replace("/", ".")
        path = self.folder / f"{name}.kubeconfig"
        with self._opening:
            if path.exists():
                return path
            if self.foreign:
                config = foreign.user_config(self.admin, self.folder, user, groups)
            else:
                config = self._authority.kubeconfig(self.url, user, groups)
            return write_kubeconfig(path, config)

    def objects_as(self, user: str, groups: Sequence[str] | None = None) -> Objects:
        """The cluster's objects as this user may read and write them."""
        return self._open(self.kubeconfig_for(user, groups))

    @functools.cached_property
    def admin(self) -> Objects:
        """The cluster's objects as its administrator (system:masters, not one of sluice-operators)."""
        return self._open(self.admin_kubeconfig)

    @functools.cached_property
    def operator(self) -> Objects:
        """The cluster's objects as an administrator whom the policies let through."""
        self.admin.apply(OPERATOR)
        return self.objects_as("tests-operator", ["sluice-operators"])

    def apply(self, what: str | Object, **options: Any) -> list[Object]:
        """As administrator: see ``Objects.apply``."""
        return self.admin.apply(what, **options)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """As administrator: see ``Objects.get``."""
        return self.admin.get(kind, name, namespace)

    def delete(self, kind: str, name: str, namespace: str | None = None) -> None:
        """As administrator: see ``Objects.delete``."""
        self.admin.delete(kind, name, namespace)

    def log(self, name: str) -> str:
        """All that one of the servers has printed."""
        return self._processes[name].log.read_text(errors="replace")

    def _open(self, kubeconfig: Path) -> Objects:
        with self._opening:
            if kubeconfig not in self._opened:
                self._opened[kubeconfig] = Objects(kubeconfig)
            return self._opened[kubeconfig]

    # The programs and their flags

    def _own(self, name: str) -> Process:
        if self.foreign:
            raise StartError(f"{name} runs in a cluster that was handed in; it is not ours to stop")
        return self._processes[name]

    def _add(self, name: str, program: Path | str, *words: str, env: dict[str, str] | None = None) -> Process:
        process = Process(name, [program, *words], self.folder, {**GO, "TMPDIR": str(self.folder), **(env or {})})
        self._processes[name] = process
        return process

    def _start_api_server(self, programs: dict[str, Path]) -> None:
        ours = self._authority
        store, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        etcd = [f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"]
        etcd += [f"--{kind}-client-urls={store}" for kind in ("listen", "advertise")]
        etcd += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
        self._add("etcd", programs["etcd"], *etcd, f"--initial-cluster=default={peers}").start()
        self._add(
            "kube-apiserver",
            programs["kube-apiserver"],
            f"--etcd-servers={store}",
            f"--secure-port={self.url.rpartition(':')[2]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={ours.server_certificate}",
            f"--tls-private-key-file={ours.server_key}",
            f"--client-ca-file={ours.certificate}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={ours.accounts_key}",
            f"--service-account-key-file={ours.accounts_public_key}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
            "--profiling=false",
        ).start()

    def _prepare_controllers(self, programs: dict[str, Path]) -> None:
        ours = self._authority
        manager = self.kubeconfig_for("system:kube-controller-manager")
        self._add(
            "kube-controller-manager",
            programs["kube-controller-manager"],
            f"--kubeconfig={manager}",
            f"--service-account-private-key-file={ours.accounts_key}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--secure-port=0",
            f"--cluster-signing-cert-file={ours.certificate}",
            f"--cluster-signing-key-file={ours.key}",
            f"--controllers={CONTROLLERS}",
        )
        scheduler = [f"--kubeconfig={self.kubeconfig_for('system:kube-scheduler')}", "--leader-elect=false"]
        self._add("kube-scheduler", programs["kube-scheduler"], *scheduler, "--secure-port=0")
        kwok = [f"--kubeconfig={self.admin_kubeconfig}", "--manage-all-nodes=true"]
        self._add("kwok", programs["kwok"], *kwok, f"--server-address=127.0.0.1:{free_port()}", env=self._home())
        self._prepare_kustomize_controller(programs["kustomize-controller"])
        stand_in = [f"--kubeconfig={self.kubeconfig_for('source-controller')}", f"--port={free_port()}"]
        self._add(
            "source-controller",
            sys.executable,
            *("-m", "tests.servers.source_controller", *stand_in, f"--storage={self.folder / 'artifacts'}"),
            env={"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", **self._home()},
        )

    def _prepare_kustomize_controller(self, program: Path) -> None:
        env = {"KUBECONFIG": str(self.kubeconfig_for("kustomize-controller")), "RUNTIME_NAMESPACE": "flux-system"}
        self._add("kustomize-controller", program, *self._flux_arguments(), *NO_ADDRESSES, env=env)

    def _flux_arguments(self) -> list[str]:
        arguments = ["--watch-all-namespaces=true", "--log-level=info", "--requeue-dependency=2s", "--concurrent=16"]
        if self.cancel_health_check:
            arguments.append("--feature-gates=CancelHealthCheckOnNewRevision=true")
        if self.default_service_account:
            arguments.append(f"--default-service-account={self.default_service_account}")
        return arguments

    def _home(self) -> dict[str, str]:
        return {"HOME": str(self.folder)}

    # What is in the cluster from the start

    def _flux_objects(self) -> str:
        text = (Path(__file__).parent / "flux.yaml").read_text()
        return text.replace("{arguments}", json.dumps(self._flux_arguments()))

    def _install(self, schemas: Path) -> None:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            texts = [path.read_text() for path in sorted(schemas.glob("*.yaml"))]
            texts += [self._flux_objects(), (CHECKOUT / "deploy" / "rbac.yaml").read_text()]
            list(pool.map(self.admin.apply, texts))
        for path in sorted(schemas.glob("*.yaml")):
            name = yaml.safe_load(path.read_text())["metadata"]["name"]
            self.admin.wait(
                "CustomResourceDefinition", name, None, lambda crd: condition(crd, "Established")["status"] == "True"
            )
        self.admin.patch("Node", "fake", {"spec": {"taints": None}})

    def _wait_for_api_server(self, seconds: float) -> None:
        trust = ssl.create_default_context(cafile=str(self._authority.certificate))

        def ready() -> bool:
            self._processes["kube-apiserver"].expect_running()
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2, context=trust) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        until(ready, seconds, "the API server is ready")

    def _wait_until_usable(self) -> None:
        def all_there() -> bool:
            for process in self._processes.values():
                process.expect_running()
            ready = condition(self.admin.get("Node", "fake")).get("status") == "True"
            roles = self.admin.get("ClusterRole", "edit") or {}
            return bool(ready and roles.get("rules") and "Starting workers" in self.log("kustomize-controller"))

        if self.with_policies:
            self.use_policies()
        until(all_there, 30, "the node is ready, roles are aggregated and kustomize-controller works")


def main() -> None:
    """Start a cluster and stop it, to see how long that takes."""
    started = time.monotonic()
    with ControlPlane() as plane:
        print(f"{time.monotonic() - started:.1f} s to start {plane.url}")


if __name__ == "__main__":
    main()
