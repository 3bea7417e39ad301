"""Sluice as its operator runs it: a process of its own, told everything by its environment, seen only from outside."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import asyncpg
import httpx2
import yaml

from tests.servers.control_plane import CHECKOUT, ControlPlane
from tests.servers.gitea import Gitea
from tests.servers.gitea_account import Account, Files
from tests.servers.objects import Object, condition, is_ready
from tests.servers.processes import Process, StartError, free_port
from tests.servers.waiting import until

T = TypeVar("T")

ENVIRONMENTS = ("development", "staging", "production")
TERMINAL = ("success", "failure", "error", "skipped")
SECONDS = 150.0
"""How long the tests wait for what is there within two seconds on an idle machine."""

running: list[Sluice] = []
"""Every Sluice that was started and not closed, for the report of a test that fails."""


# Sluice.


class Sluice:
    """One Sluice with its own database. What it prints is added to its log, over all its starts."""

    def __init__(self, plane: ControlPlane, gitea: Gitea, settings: Mapping[str, str] | None = None) -> None:
        """`settings` (with full names) are added to the usual ones or replace them; empty ones are left out."""
        self.plane, self.gitea = plane, gitea
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
        self.webhook_secret = secrets.token_urlsafe(24)
        self.port = free_port(gitea.host)
        self.url = f"http://{gitea.host}:{self.port}"
        self.settings = {name: value for name, value in (self._usual() | dict(settings or {})).items() if value}
        self._process = self._prepared()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _usual(self) -> dict[str, str]:
        return {
            "SLUICE_DATABASE_URL": f"sqlite:///{self.database}",
            "SLUICE_HOST": self.gitea.host,
            "SLUICE_PORT": str(self.port),
            "SLUICE_PUBLIC_URL": self.url,
            "SLUICE_SECRET_KEYS": secrets.token_hex(32),
            "SLUICE_KUBECONFIG": str(self.plane.sluice_kubeconfig),
            "SLUICE_GITEA_URL": self.gitea.url,
            "SLUICE_GITEA_TOKEN": self.gitea.bot.token,
            "SLUICE_GITEA_GIT_USERNAME": self.gitea.bot.name,
            "SLUICE_GITEA_GIT_TOKEN": self.gitea.git_token,
            "SLUICE_GITEA_WEBHOOK_SECRET": self.webhook_secret,
        }

    def _prepared(self) -> Process:
        command = [*_without(self.settings), *_PYTHON, "serve"]
        return Process("sluice", command, self.folder, self._environment())

    def _environment(self) -> dict[str, str]:
        return {**self.settings, **_SOURCES}

    # Start and stop.

    @property
    def database(self) -> Path:
        """The SQLite file, absolute."""
        return self.folder / "sluice.db"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.running

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def start(self, seconds: float = SECONDS) -> None:
        """Start it, and return when /readyz says that it can do its work."""
        if self not in running:
            running.append(self)
        if not self._process.running:
            self._give_database()
            self._process = self._prepared()  # the settings may have been changed since
            self._process.start()
        until(self._is_ready, seconds, "Sluice answers /readyz")

    def _give_database(self) -> None:
        """Before its first start: an empty SQLite database with all tables. In PostgreSQL it makes them itself."""
        if self.settings["SLUICE_DATABASE_URL"] == f"sqlite:///{self.database}" and not self.database.exists():
            self.database.write_bytes(_migrated())

    def _is_ready(self) -> bool:
        self._process.expect_running()
        with contextlib.suppress(httpx2.TransportError):  # to read all certificates takes longer than to ask
            return httpx2.get(f"{self.url}/readyz", timeout=2, verify=False).status_code == 200
        return False

    def stop(self, seconds: float = 25) -> None:
        """End it with SIGTERM, as an operator does; StartError when it does not end."""
        self._process.signal(signal.SIGTERM)
        try:
            until(lambda: not self._process.running, seconds, "Sluice ends after SIGTERM")
        except TimeoutError as error:
            raise StartError(f"{error}\n{self.tail()}") from None
        finally:
            self._process.stop()

    def kill(self) -> None:
        """End it with SIGKILL: nothing of it does anything after this."""
        self._process.stop()

    def pause(self) -> None:
        """Let it hang (SIGSTOP)."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._process.signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it if it runs, and remove its folder (E2E_SERVERS_KEEP=1 keeps it)."""
        self._process.stop()
        with contextlib.suppress(ValueError):
            running.remove(self)
        if not os.environ.get("E2E_SERVERS_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # What an operator does with it.

    def run(self, *words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `sluice …` beside it, with the same settings."""
        return _ran(words, self._environment(), self.folder, seconds)

    def connect(self, repository: str) -> str:
        """Register a webhook by `sluice connect gitea`; what that printed."""
        done = self.run("connect", "gitea", repository)
        if done.returncode:
            raise AssertionError(f"connect ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def hook(self, repository: str) -> int:
        """Register the webhook with the forge-wide secret, as an owner does by hand: faster than `connect`."""
        return self.gitea.owner.create_hook(repository, f"{self.url}/webhooks/gitea", self.webhook_secret)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from its database; the tests write nothing there."""
        url = self.settings["SLUICE_DATABASE_URL"]
        if url.startswith("postgresql"):
            return asyncio.run(_asked(url, statement))
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(statement, values).fetchall()

    def hears_of(self, repository: str, number: int, head: str) -> None:
        """Wait until it knows a pull request's head: Gitea tells of a push late, and of a comment maybe before."""
        statement = """SELECT 1 FROM heads JOIN repositories ON repositories.id = heads.repository_id
            WHERE full_name = ? AND kind = 'pull_request' AND heads.name = ? AND commit_hash = ?"""
        what = f"Sluice knows {head[:7]} of #{number}"
        until(lambda: self.query(statement, repository, str(number), head), SECONDS, what)

    def log(self) -> str:
        """All that it has printed."""
        return self._process.log.read_text(errors="replace") if self._process.log.exists() else ""

    def tail(self, lines: int = 60) -> str:
        """The last lines of its log."""
        return self._process.tail(lines)


async def _asked(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


_PYTHON = (sys.executable, "-m", "bot")
_SOURCES = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
_migrating = threading.Lock()


def _ran(
    words: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `sluice …` to its end, with these settings and no others."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return subprocess.run(
        [*_PYTHON, *words],
        env=others | dict(environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def _migrated() -> bytes:
    """A SQLite database after `sluice migrate`; several Sluices may be started at once, and one makes it."""
    with _migrating:
        return _new_database()


@functools.cache
def _new_database() -> bytes:
    with tempfile.TemporaryDirectory(prefix="sluice-migrated-") as folder:
        file = Path(folder) / "sluice.db"
        done = _ran(("migrate",), {**_SOURCES, "SLUICE_DATABASE_URL": f"sqlite:///{file}"}, Path(folder))
        if done.returncode:
            raise StartError(f"migrate ended with {done.returncode}: {done.stdout}{done.stderr}")
        return file.read_bytes()


def _without(kept: Mapping[str, str]) -> list[str]:
    """`env -u …`: what somebody has set for a Sluice of their own is not for this one."""
    program = shutil.which("env") or "/usr/bin/env"
    others = [name for name in os.environ if name.startswith("SLUICE_") and name not in kept]
    return [program, *(word for name in others for word in ("-u", name))]


# A repository with its people, and what Sluice made of it.


def web(image: str = "web:1", *, impossible: bool = False) -> str:
    """A Deployment that kwok makes Ready within a second, or one that no node can take."""
    pod: dict[str, Any] = {"containers": [{"name": "web", "image": image}]}
    if impossible:
        pod["nodeSelector"] = {"no-such": "node"}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})


def settings_of(environment: str, **data: str) -> str:
    """The ConfigMap `settings` of an environment."""
    values = {"environment": environment, **data}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": values})


def kustomization(*resources: str) -> str:
    """A kustomization.yaml."""
    return yaml.safe_dump({"resources": list(resources)})


def files(environments: Sequence[str] = ENVIRONMENTS) -> dict[str, str]:
    """What every repository starts with: a base with a Deployment, and a folder for each environment."""
    found = {"README.md": "# Shop\n", "deploy/base/kustomization.yaml": kustomization("web.yaml")}
    found["deploy/base/web.yaml"] = web()
    for name in environments:
        found[f"deploy/{name}/kustomization.yaml"] = kustomization("../base", "settings.yaml")
        found[f"deploy/{name}/settings.yaml"] = settings_of(name)
    return found


def config(environment: str, **fields: str) -> str:
    """A `.sluice.yaml` with one environment at `deploy/<name>`."""
    inner = {"path": f"deploy/{environment}", **fields}
    return yaml.safe_dump({"version": 1, "environments": {environment: inner}})


class Shop:
    """One repository of the owner in Gitea, with a webhook to Sluice, and what is in the cluster for it."""

    def __init__(self, sluice: Sluice, start: Files | None = None, *, name: str = "", hook: bool = True) -> None:
        self.sluice, self.plane, self.gitea = sluice, sluice.plane, sluice.gitea
        name = f"{name or 'shop'}-{uuid.uuid4().hex[:8]}"
        self.repository = self.gitea.create_repository(name, files() if start is None else start)
        self.name = name
        if hook:
            sluice.hook(self.repository)

    @property
    def owner(self) -> Account:
        """May do everything."""
        return self.gitea.owner

    @property
    def writer(self) -> Account:
        """May push and deploy."""
        return self.gitea.writer

    @property
    def reader(self) -> Account:
        """May read."""
        return self.gitea.reader

    @property
    def forker(self) -> Account:
        """Comes from outside."""
        return self.gitea.forker

    # In Gitea.

    def head(self, branch: str = "main") -> str:
        """The SHA of a branch's head."""
        return str(self.owner.head(self.repository, branch))

    def push(self, changes: Files, *, branch: str = "main", message: str = "Change", new_branch: str = "") -> str:
        """One commit by the writer; its SHA."""
        return self.writer.commit(self.repository, changes, branch=branch, message=message, new_branch=new_branch)

    def pull(self, changes: Files | None = None, *, branch: str = "", title: str = "A change") -> int:
        """Open a pull request of the writer to main; its number."""
        branch = branch or f"topic-{uuid.uuid4().hex[:6]}"
        self.push(changes or {f"notes/{branch}.md": "A note.\n"}, new_branch=branch)
        return self.writer.open_pull(self.repository, branch, title=title)

    def say(self, number: int, text: str, by: Account | None = None) -> int:
        """Comment on a pull request, as the owner unless told otherwise; the comment's id."""
        if text.startswith("/deploy"):
            self.sluice.hears_of(self.repository, number, self.owner.pull(self.repository, number)["head"]["sha"])
        return (by or self.owner).comment(self.repository, number, text)

    def answers(self, number: int) -> list[str]:
        """What Sluice's comments on a pull request say; there is to be one at most."""
        return [each["body"] for each in self.owner.comments(self.repository, number, by=self.gitea.bot.name)]

    def statuses(self, commit: str, environment: str) -> list[tuple[str, str]]:
        """State and text of all statuses of an environment on a commit, in the order in which they were made."""
        found = self.owner.statuses(self.repository, commit, f"sluice/{environment}")
        return [(each["status"], each["description"]) for each in found]

    def contexts(self, commit: str) -> set[str]:
        """The contexts of all statuses on a commit."""
        return {each["context"] for each in self.owner.statuses(self.repository, commit)}

    # Waiting for Sluice.

    def until(self, check: Callable[[], T | None], what: str, seconds: float = SECONDS) -> T:
        """What the check answers as soon as that is anything but None, False or empty."""
        return until(check, seconds, what)

    def answered(self, number: int, text: str, seconds: float = SECONDS) -> str:
        """Sluice's comment as soon as it holds this text."""

        def look() -> str | None:
            return next((body for body in self.answers(number) if text in body), None)

        news = _when_new(lambda: self.gitea.written(self.repository, number), look)
        return self._shown(news, seconds, f"a comment with {text!r}", lambda: self.answers(number))

    def ended(self, commit: str, environment: str, seconds: float = SECONDS) -> tuple[str, str]:
        """State and text of the newest status of an environment on a commit, as soon as that is a terminal one."""

        def look() -> tuple[str, str] | None:
            found = self.statuses(commit, environment)
            return found[-1] if found and found[-1][0] in TERMINAL else None

        what = f"a terminal status of {environment} on {commit[:7]}"
        return self._shown(
            _when_new(lambda: self.gitea.said(commit), look), seconds, what, lambda: self.statuses(commit, environment)
        )

    def pending(self, commit: str, environment: str, text: str = "", seconds: float = SECONDS) -> tuple[str, str]:
        """The first status of an environment on a commit that holds this text."""

        def look() -> tuple[str, str] | None:
            return next((each for each in self.statuses(commit, environment) if text in each[1]), None)

        what = f"a status {text!r} of {environment} on {commit[:7]}"
        return self._shown(
            _when_new(lambda: self.gitea.said(commit), look), seconds, what, lambda: self.statuses(commit, environment)
        )

    def enable(self, environments: Sequence[str] = ENVIRONMENTS, number: int = 0) -> int:
        """Have GitOps set up by the owner's `/enable`, and wait until it is live; the pull request's number."""
        number = number or self.pull(title="Set it up")
        head = self.head()
        self.say(number, "/enable")
        for name in environments:
            state, text = self.ended(head, name)
            assert state == "success", f"{name}: {state}: {text}"
        self.answered(number, "GitOps is set up")
        return number

    def _shown(self, look: Callable[[], T | None], seconds: float, what: str, last: Callable[[], object]) -> T:
        try:
            return until(look, seconds, what)
        except TimeoutError as error:
            parts = [f"{error}; there is {last()!r}", *self._delivered(), *self._runs()]
            parts += [*self.gitea.errors(), self.sluice.tail(25)]
            raise TimeoutError("\n".join(parts)) from None

    def _delivered(self) -> list[str]:
        """What Gitea told Sluice of the repository: else nobody can say on which side a push was lost."""
        found = [each for hook in self.owner.hooks(self.repository) for each in self.gitea.deliveries(hook["id"])]
        return [
            f"Gitea: {each['event']} of {(each['payload'] or {}).get('after', '')[:7]} "
            f"{each['uuid']} delivered {each['delivered']}, taken {each['succeeded']}"
            for each in found
        ]

    def _runs(self) -> list[str]:
        """What came of it in Sluice."""
        rows = self.sluice.query(
            "SELECT name, runs.key, status, text FROM runs JOIN repositories ON repositories.id = runs.repository_id"
            " WHERE full_name = ? ORDER BY runs.created_at",
            self.repository,
        )
        return [f"run: {' '.join(map(str, row))}" for row in rows]

    # In the cluster.

    @functools.cached_property
    def namespace(self) -> str:
        """The project's namespace, known by the address of its source; a project keeps it, so it is asked for once."""
        url = self.gitea.clone_url(self.repository)
        sources = self.plane.admin.list("GitRepository", selector="app.kubernetes.io/managed-by=sluice")
        found = {each["metadata"]["namespace"] for each in sources if each["spec"]["url"] == url}
        assert len(found) == 1, f"{self.repository} has namespaces {sorted(found)}"
        return str(found.pop())

    def target(self, environment: str) -> str:
        """Where an environment's workloads are, unless the configuration says otherwise."""
        return f"{self.namespace}-{environment}"

    def kustomization(self, environment: str) -> Object:
        """An environment's Kustomization."""
        return self._object("Kustomization", environment)

    def source(self, name: str = "branch-main") -> Object:
        """A GitRepository: `branch-<name>`, or `pin-<environment>`."""
        return self._object("GitRepository", name)

    def live(self, environment: str) -> str | None:
        """The commit that Flux says it has applied and found healthy."""
        found = self.kustomization(environment)
        revision = (found.get("status") or {}).get("lastAppliedRevision")
        return str(revision).rpartition(":")[2] if revision and is_ready(found) else None

    def ready(self, environment: str) -> Object:
        """The condition Ready of an environment's Kustomization."""
        return condition(self.kustomization(environment))

    def in_target(self, environment: str, kind: str, name: str) -> Object | None:
        """What an environment's workloads came to."""
        return self.plane.get(kind, name, self.target(environment))

    def suspend(self, environment: str, on: bool = True) -> None:
        """`flux suspend kustomization`, as an operator."""
        self.plane.operator.patch("Kustomization", environment, {"spec": {"suspend": on}}, self.namespace)

    def _object(self, kind: str, name: str) -> Object:
        found = self.plane.get(kind, name, self.namespace)
        assert found is not None, f"there is no {kind} {self.namespace}/{name}"
        return found


def _when_new(glance: Callable[[], object], look: Callable[[], T | None]) -> Callable[[], T | None]:
    """Look, which is work for the server, only when a glance shows something else than at the last time."""
    seen: list[object] = []

    def news() -> T | None:
        found = glance()
        if seen and seen[-1] == found:
            return None
        seen[:] = [found]
        return look()

    return news


def at_once(*works: Callable[[], T]) -> list[T]:
    """Do all of them at the same time: waiting costs nothing, and the servers have time."""
    with concurrent.futures.ThreadPoolExecutor(max(1, len(works))) as pool:
        return [each.result() for each in [pool.submit(work) for work in works]]
