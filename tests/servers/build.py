"""Build the servers of the end-to-end tests from their Go modules into a cache outside the checkout.

Needs nothing but Python and Go: ``python3 -m tests.servers.build``. A second call finds everything and takes a second.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

RECIPE = 1
"""Raise this when the way of building changes, so that what is in people's caches is made anew."""

PROGRESS_SECONDS = 15.0
BUILD_FLAGS = ("-trimpath", "-buildvcs=false")
LINK_FLAGS = "-s -w"


@dataclasses.dataclass(frozen=True)
class Server:
    """One program, and the module that it is built from."""

    name: str
    module: str
    version: str
    package: str
    staging: str = ""
    """The version that stands in for every module which the go.mod replaces by a folder below ``staging/``."""
    replaces: tuple[tuple[str, str], ...] = ()
    """Modules taken at another version than the go.mod asks for."""
    stamp: tuple[tuple[str, str], ...] = ()
    """The variables that say which version it is, where the program reports that to others."""
    tags: str = ""
    cgo: bool = False
    static: tuple[str, ...] = ()
    """Folders of the module that the program reads while it runs."""


class BuildError(Exception):
    """A server could not be had; the text says which one and why."""


class ToolMissing(BuildError):
    """Something that has to be installed first is not there."""


def _kubernetes(name: str) -> Server:
    about = "k8s.io/component-base/version"
    return Server(
        name,
        "k8s.io/kubernetes",
        "v1.36.3",
        f"k8s.io/kubernetes/cmd/{name}",
        staging="v0.36.3",
        stamp=((f"{about}.gitVersion", "v1.36.3"), (f"{about}.gitMajor", "1"), (f"{about}.gitMinor", "36")),
    )


SERVERS: tuple[Server, ...] = (
    Server("etcd", "go.etcd.io/etcd/server/v3", "v3.6.5", "go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    Server("kwok", "sigs.k8s.io/kwok", "v0.7.0", "sigs.k8s.io/kwok/cmd/kwok"),
    Server(
        "kustomize-controller",
        "github.com/fluxcd/kustomize-controller",
        "v1.9.3",
        "github.com/fluxcd/kustomize-controller",
        replaces=(("github.com/fluxcd/pkg/kustomize", "v1.35.6"),),
    ),
    Server(
        "helm-controller",
        "github.com/fluxcd/helm-controller",
        "v1.6.0",
        "github.com/fluxcd/helm-controller",
        replaces=(("github.com/fluxcd/pkg/chartutil", "v1.28.0"),),
    ),
    Server(
        "gitea",
        "code.gitea.io/gitea",
        "v1.26.0",
        "code.gitea.io/gitea",
        tags="sqlite sqlite_unlock_notify",
        cgo=True,
        stamp=(("main.Version", "1.26.0"),),
        static=("options", "templates", "public"),
    ),
)

SCHEMAS = (
    ("github.com/fluxcd/source-controller", "v1.9.6"),
    ("github.com/fluxcd/kustomize-controller", "v1.9.3"),
    ("github.com/fluxcd/helm-controller", "v1.6.0"),
)
"""The modules whose CustomResourceDefinitions the API server checks Flux's objects with."""

CRDS = "crds"
NAMES = (*(server.name for server in SERVERS), CRDS)


# Where things are


def cache_folder() -> Path:
    """The folder that built servers are kept in."""
    if own := os.environ.get("E2E_SERVERS_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().resolve() / "sluice" / "servers"


def _ready_made(name: str) -> Path | None:
    """What the folder in KUBEBUILDER_ASSETS has under this name."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return None
    found = Path(folder).expanduser() / name
    return found.resolve() if found.exists() else None


def _key(recipe: object) -> str:
    return hashlib.sha256(repr((RECIPE, BUILD_FLAGS, LINK_FLAGS, recipe)).encode()).hexdigest()[:12]


def _home(name: str) -> Path:
    """The cache folder of one server (or of the CRDs), whether it is there yet or not."""
    if name == CRDS:
        return cache_folder() / f"{CRDS}-{_key(SCHEMAS)}"
    server = _server(name)
    return cache_folder() / f"{name}-{server.version}-{_key(server)}"


def _server(name: str) -> Server:
    for server in SERVERS:
        if server.name == name:
            return server
    raise BuildError(f"there is no server named {name}; there are {', '.join(NAMES)}")


def path_of(name: str) -> Path | None:
    """The program (or, for ``crds``, the folder of schemas) if it is there."""
    if ready := _ready_made(name):
        return ready
    home = _home(name)
    if not home.is_dir():
        return None
    return home if name == CRDS else home / name


def static_root(name: str) -> Path | None:
    """The folder that a built server reads its templates from; None for a ready-made one, which carries its own."""
    if _ready_made(name):
        return None
    return _home(name) / "static"


def ensure(names: Sequence[str] = NAMES, say: Callable[[str], None] = lambda _text: None) -> dict[str, Path]:
    """The path of every one of these; what is missing is built first."""
    missing = [name for name in names if path_of(name) is None]
    if missing:
        say(f"{len(missing)} of {len(names)} to build: {', '.join(missing)} (the first time takes 10 to 20 minutes)")
        go_program()
        with _only_one_build(say):
            _remove_drafts()
            for number, name in enumerate(missing, 1):
                _make(name, f"[{number}/{len(missing)}] {name}", say)
    return {name: path for name in names if (path := path_of(name)) is not None}


# How one is made


def _make(name: str, title: str, say: Callable[[str], None]) -> None:
    if path_of(name) is not None:
        say(f"{title}: built meanwhile")
        return
    home = _home(name)
    draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=home.parent))
    try:
        started = time.monotonic()
        if name == CRDS:
            _collect_schemas(draft)
        else:
            _compile(_server(name), draft, title, say)
        draft.chmod(0o755)
        draft.rename(home)
        say(f"{title}: done in {_clock(time.monotonic() - started)}")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_drafts() -> None:
    """Remove what a killed build has left; nobody else builds while the lock is ours."""
    for name in NAMES:
        for draft in cache_folder().glob(f".{name}-*"):
            shutil.rmtree(draft, ignore_errors=True)


def _collect_schemas(target: Path) -> None:
    for module, version in SCHEMAS:
        for source in (Path(_download(module, version)["Dir"]) / "config" / "crd" / "bases").glob("*.yaml"):
            (target / source.name).write_bytes(source.read_bytes())


def _compile(server: Server, target: Path, title: str, say: Callable[[str], None]) -> None:
    say(f"{title}: {server.module} {server.version}")
    downloaded = _download(server.module, server.version)
    with tempfile.TemporaryDirectory(prefix="sluice-build-") as folder:
        workspace = Path(folder)
        (workspace / "go.mod").write_text(_go_mod(server, Path(downloaded["GoMod"])))
        watch = functools.partial(_watched, cwd=workspace, env=_go_environment(server), title=title, say=say)
        watch([go_program(), "get", "-tool", f"{server.package}@{server.version}"])
        watch([go_program(), "build", *BUILD_FLAGS, *_flags(server), "-o", str(target / server.name), server.package])
    for name in server.static:
        shutil.copytree(Path(downloaded["Dir"]) / name, target / "static" / name)
    _writable(target)


def _flags(server: Server) -> list[str]:
    stamp = "".join(f" -X {variable}={value}" for variable, value in server.stamp)
    return ["-ldflags", LINK_FLAGS + stamp, *(["-tags", server.tags] if server.tags else [])]


def _go_mod(server: Server, original: Path) -> str:
    """A go.mod that takes over the module's own replacements, as a build inside of it would have them."""
    described = json.loads(_output([go_program(), "mod", "edit", "-json", str(original)]))
    lines = ["module sluice.test/build", "", f"go {described['Go']}", ""]
    special = dict(server.replaces)
    for replace in described.get("Replace") or []:
        old, new = replace["Old"]["Path"], replace["New"]
        if old in special:
            continue
        if new.get("Version"):
            lines.append(f"replace {old} => {new['Path']} {new['Version']}")
        elif server.staging and new["Path"].startswith("./staging/"):
            lines.append(f"replace {old} => {old} {server.staging}")
    lines += [f"replace {path} => {path} {version}" for path, version in server.replaces]
    return "\n".join(lines) + "\n"


def _writable(folder: Path) -> None:
    """Undo the read-only modes of Go's module cache, so that the cache can be removed by hand."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o644 | (0o111 if path.is_dir() else 0))


# Go


def go_program() -> str:
    """The Go program, or an error that says how to go on without it."""
    if found := shutil.which("go"):
        return found
    raise ToolMissing(
        "Go is missing: no `go` on PATH. The servers are built from source with Go 1.26 or newer.\n"
        "Either install Go (a distribution package or the archive from the Go project, then put its bin folder on\n"
        "PATH) and repeat, or set KUBEBUILDER_ASSETS to a folder that already has the programs\n"
        f"({', '.join(server.name for server in SERVERS)}) and a folder {CRDS} with Flux's CRDs."
    )


def _go_environment(server: Server) -> dict[str, str]:
    env = dict(os.environ, GO111MODULE="on", GOWORK="off", GOFLAGS="-mod=mod", CGO_ENABLED="1" if server.cgo else "0")
    if server.cgo and not (shutil.which("gcc") or shutil.which("cc")):
        raise ToolMissing(f"A C compiler is missing: {server.name} needs gcc (Debian: apt-get install gcc libc6-dev)")
    return env


def _download(module: str, version: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="sluice-build-") as folder:
        answer: dict[str, Any] = json.loads(
            _output([go_program(), "mod", "download", "-json", f"{module}@{version}"], cwd=folder)
        )
    if error := answer.get("Error"):
        raise BuildError(f"{module}@{version}: {error}")
    return answer


def _output(command: Sequence[str], cwd: str | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=dict(os.environ, GOWORK="off"))
    if done.returncode and not done.stdout.strip():
        raise BuildError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def _watched(command: Sequence[str], *, cwd: Path, env: dict[str, str], title: str, say: Callable[[str], None]) -> None:
    """Run a command, saying from time to time that it still runs; what it printed is shown when it fails."""
    started = time.monotonic()
    what = " ".join(Path(word).name if word == command[0] else word for word in command[:2])
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(PROGRESS_SECONDS)
                    break
                say(f"{title}: {what}, {_clock(time.monotonic() - started)}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            log.seek(0)
            raise BuildError(f"{title}: {what} failed\n" + "".join(log.readlines()[-40:]))


# Locks, words, the command line


@contextlib.contextmanager
def _only_one_build(say: Callable[[str], None]) -> Iterator[None]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running in this cache; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _list() -> None:
    for name in NAMES:
        version = "" if name == CRDS else _server(name).version
        print(f"{name:24} {version:10} {path_of(name) or 'not built'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is missing; 0 when all is there, 1 when a build failed, 2 when a tool is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.build", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", choices=NAMES, help="only this one (repeatable)")
    parser.add_argument("--list", action="store_true", help="show what there is, and where; build nothing")
    options = parser.parse_args(arguments)
    if options.list:
        _list()
        return 0
    started = time.monotonic()
    try:
        found = ensure(options.only or NAMES, lambda text: print(text, flush=True))
    except ToolMissing as error:
        print(error, file=sys.stderr)
        return 2
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(found)} of {len(found)} servers are in {cache_folder()} ({_clock(time.monotonic() - started)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
