"""A whole Sluice for tests: sandbox forge, sandbox cluster, real HTTP, real worker, real database; and its people."""

import asyncio
import hashlib
import hmac
import io
import itertools
import json
import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import httpx2
import msgspec
import sqlalchemy as sa
import structlog

from bot import log, settings
from bot.asgi import make_app
from bot.connecting import connect
from bot.core.deployments import UNSETTLED, Phase
from bot.core.ports import Bell
from bot.forges.github import EVENTS
from bot.sandbox.forge import Effect, Status
from bot.sandbox.server import App, Loopback
from bot.sandbox.town import BOT, Town
from bot.store.database import Database, migrate
from bot.store.transactions import Store, Transaction
from bot.sweeping import Sweeper
from bot.wiring import Backend, make_credentials, make_desks
from bot.worker import Worker
from models import (
    Delivery,
    Deployment,
    GitopsResource,
    Notification,
    Pin,
    Project,
    ProjectInitializationStep,
    Repository,
    Run,
    UnifiedEvent,
)

CHECKS = ("status", "check_run")  # events that come back for everything that Sluice says itself
QUIET = tuple(event for event in EVENTS if event not in CHECKS)
API_TOKEN = "made-up-token-of-the-tests-for-the-api"
DEADLINE = 60.0  # on a machine with much else to do; else it is a second or two
LOOK_EVERY = 0.02
CUT_OFF = "ASGI callable returned without completing response."  # the sandbox, when it is told to cut
WORK = frozenset({"push", "config", "config-arrived", "stirred", "checked"})  # what nobody asked for in words
TERMINAL = ("success", "failure", "error")
ENVIRONMENTS = ("development", "staging", "production")
PEOPLE = {"alice": "admin", "maia": "maintain", "dave": "write", "vera": "read"}  # and eve, whom nobody invited
QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where a write need not wait for a disk
PAST = datetime(2020, 1, 1, tzinfo=UTC)
T = TypeVar("T")
Files = Mapping[str, bytes | str | None]


# What a repository holds at first.


def config_map(text: str) -> str:
    """A ConfigMap that says something."""
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config}}\ndata: {{said: '{text}'}}\n"


def deployment(image: str = "web:1") -> str:
    """A workload."""
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n"
        "  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
        f"    spec: {{containers: [{{name: web, image: '{image}'}}]}}\n"
    )


def files(*environments: str) -> dict[str, bytes | str | None]:
    """Folders for environments that share a base, and a README."""
    found: dict[str, bytes | str | None] = {
        "README.md": "Hello\n",
        "deploy/base/kustomization.yaml": "resources: [deployment.yaml]\n",
        "deploy/base/deployment.yaml": deployment(),
    }
    for name in environments or ENVIRONMENTS:
        found[f"deploy/{name}/kustomization.yaml"] = "resources: [../base, config.yaml]\n"
        found[f"deploy/{name}/config.yaml"] = config_map(name)
    return found


def says(text: str, environment: str = "development") -> dict[str, bytes | str | None]:
    """A change to one environment."""
    return {f"deploy/{environment}/config.yaml": config_map(text)}


def _bytes(changes: Files) -> dict[str, bytes | None]:
    return {path: text.encode() if isinstance(text, str) else text for path, text in changes.items()}


# A process that can die.


class Killed(BaseException):
    """The process is dead: nothing that it would have done happens any more."""


class Life:
    """Counts the steps of a process (what it commits, what it asks of the forge and the cluster) and ends it at one."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.dead = False
        self._last: int | None = None
        self._never = ""

    def dies_at(self, step: int | None) -> None:
        """Die at that step, counted from now and from 0; None: live on."""
        self.steps.clear()
        self._last = step

    def dies_before(self, call: str) -> None:
        """Die before a call of that name."""
        self._never = f"before {call}"

    def step(self, name: str) -> None:
        """One instruction further."""
        if self.dead:
            raise Killed(name)
        self.steps.append(name)
        if name == self._never or (self._last is not None and len(self.steps) > self._last):
            self.dead = True
            raise Killed(name)


class MortalPort:
    """A port whose calls are steps of a life: one before the effect, one after it."""

    def __init__(self, inner: Any, life: Life, name: str) -> None:
        self._inner, self._life, self._name = inner, life, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found) or name == "close":
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._life.step(f"before {self._name}.{name}")
            answer = await found(*args, **kwargs)
            self._life.step(f"after {self._name}.{name}")
            return answer

        return call


class MortalStore(Store):
    """A store whose commits are steps of a life."""

    def __init__(self, inner: Store, life: Life) -> None:
        super().__init__(inner.database, inner.bell, inner.clock)
        self._life = life

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction; whoever dies before its commit has written nothing, whoever dies after it rings nobody."""
        async with self.database.write() as session:
            transaction = Transaction(session, self.clock())
            yield transaction
            self._life.step("before commit")
        self._life.step("after commit")
        for queue, id, after in transaction.rings:
            self.bell.ring(queue, id, after=after)


class MortalBackend(Backend):
    """A backend whose work goes through mortal ports and a mortal store; the observer's eyes see on."""

    def __init__(self, found: settings.Settings, bell: Bell, life: Life) -> None:
        super().__init__(found, bell, sweep_seconds=2.0, reconcile_seconds=3600)
        self.life = life

    async def start(self) -> None:
        """Start, then put the mortal ones in place."""
        await super().start()
        forges = {name: cast(Any, MortalPort(each, self.life, "forge")) for name, each in self.forges.items()}
        clusters = {name: cast(Any, MortalPort(each, self.life, "cluster")) for name, each in self.clusters.items()}
        store = MortalStore(self.store, self.life)
        self._mortal = credentials = make_credentials(self._settings, store, forges, clusters)
        self._desks = make_desks(store, forges, clusters, credentials, self._settings.policy)
        self.sweeper = Sweeper(self.store, forges, self._desks)

    async def stop(self) -> None:
        """Stop, and give back what was put in place."""
        await super().stop()
        await self._mortal.close()

    async def serve(self, queue: str, id: UUID) -> None:
        """Work on one row, unless the process is dead."""
        if not self.life.dead:
            await super().serve(queue, id)


# The place.


@cache
def _migrated() -> bytes:
    """A new SQLite database: migrated once, copied for every place."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-template-"))
    try:
        migrate(f"sqlite+aiosqlite:///{folder / 'new.db'}")
        return (folder / "new.db").read_bytes()
    finally:
        shutil.rmtree(folder)


class Place:
    """A town with a Sluice in it, from `start` to `stop`; worlds share it, each with a repository of its own."""

    def __init__(self, **environ: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-world-", dir=QUICK))
        self.town = Town(self.folder)
        self.logged = io.StringIO()
        self.life = Life()
        self.http = httpx2.Client(trust_env=False, verify=False)
        self._environ = environ
        self._worker: Worker | None = None
        self._web: Loopback | None = None
        self._port = 0
        self._repositories = 0
        self.glance: sa.Engine | None = None
        root = logging.getLogger()
        self._logged_before = (list(root.handlers), root.level)

    def start(self) -> None:
        """Start the town, then Sluice."""
        self.town.start()
        self.town.forge.rate_limit = 1_000_000  # all worlds here are one account's: an hour's 5,000 would not do
        for login in (*PEOPLE, "eve"):
            self.town.forge.add_user(login)
        self.settings = settings.load(self.town.environ() | {"SLUICE_API_TOKEN": API_TOKEN} | self._environ)
        self.configure_log()
        if self.settings.database_url.startswith("sqlite"):
            (self.folder / "sluice.db").write_bytes(_migrated())
        else:
            migrate(self.settings.database_url)
        self.start_sluice()
        if self.settings.database_url.startswith("sqlite"):
            self.glance = sa.create_engine(f"sqlite:///{self.folder / 'sluice.db'}")

    def configure_log(self) -> None:
        """Have everything logged go to `logged`; other tests may have sent it elsewhere."""
        log.configure(self.settings.secrets(), stream=self.logged, colour=False)

    def stop(self) -> None:
        """Stop everything and remove the folder."""
        self.stop_sluice()
        self.town.stop()
        self.http.close()
        if self.glance is not None:
            self.glance.dispose()
        root = logging.getLogger()
        root.handlers[:], level = self._logged_before
        root.setLevel(level)
        structlog.reset_defaults()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_sluice(self) -> None:
        """Start Sluice on the database as it is, at the address that it had."""
        self.life = Life()
        self._worker = Worker(self.settings)
        self._worker.backend = MortalBackend(self.settings, self._worker.bell, self.life)
        self._worker.start()
        self._web = Loopback(cast(App, make_app(self.settings, self._worker.bell)), port=self._port)
        self.url = self._web.start()
        self._port = int(self.url.rpartition(":")[2])

    def stop_sluice(self) -> None:
        """Stop Sluice; what is under way is finished, unless it is dead."""
        if self._web is not None:
            self._web.stop()
        if self._worker is not None:
            self._worker.stop()
        self._web = self._worker = None

    @property
    def backend(self) -> Backend:
        """What works behind the intake."""
        assert self._worker is not None
        return self._worker.backend

    @property
    def worker(self) -> Worker:
        """The worker in this process."""
        assert self._worker is not None
        return self._worker

    def new_repository(self, content: Files, *, private: bool = False, hooked: bool = True) -> str:
        """A repository where everybody has a role and that sends its webhooks to Sluice."""
        self._repositories += 1
        forge = self.town.forge
        given = {path: text for path, text in _bytes(content).items() if text is not None}
        name = forge.create_repository("acme", f"web{self._repositories}", given, private=private)
        for login, role in (*PEOPLE.items(), (BOT, "admin")):
            forge.set_permission(name, login, role)
        if hooked:
            self.add_hook(name)
        return name

    def add_hook(
        self,
        repository: str,
        url: str = "",
        secret: str = "",
        content_type: str = "json",
        events: Sequence[str] = QUIET,
    ) -> None:
        """Have a repository send its webhooks, by default with the forge-wide secret."""
        config = {
            "url": url or f"{self.url}/webhooks/github",
            "secret": secret or self.town.webhook_secret,
            "content_type": content_type,
        }
        body = {"name": "web", "active": True, "events": list(events), "config": config}
        headers = {"Authorization": f"Bearer {self.town.token}"}
        url = f"{self.town.forge.url}/repos/{repository}/hooks"
        self.http.post(url, json=body, headers=headers).raise_for_status()


class World:
    """One test's own repository in a place, and what its people do and see there."""

    def __init__(self, place: Place, content: Files | None = None, *, private: bool = False, hooked: bool = True):
        self.place = place
        self.forge, self.cluster = place.town.forge, place.town.cluster
        self.database = Database(place.settings.database_url)
        self._glance = place.glance
        self.repository = place.new_repository(files() if content is None else content, private=private, hooked=hooked)
        self.number = 0  # of the pull request that comments go to
        self.first_commit = self.head()
        self._effects = len(self.forge.effects)
        self._logged = place.logged.tell()
        self._namespace = ""
        self.may_log_errors = False
        self.may_end_twice = False  # a gate that was broken is told after the end of the deployment

    # People act.

    def push(self, changes: Files, by: str = "dave", *, branch: str = "main", force_parent: str | None = None) -> str:
        """Push one commit; its SHA."""
        return self.forge.push(self.repository, branch, _bytes(changes), by, force_parent=force_parent)

    def open_pull_request(self, changes: Files, by: str = "dave", *, branch: str = "topic") -> str:
        """Push a branch and ask for it to be merged; comments go there from now on. The head."""
        head = self.push(changes, by, branch=branch)
        self.number = self.forge.open_pull_request(self.repository, branch, "main", f"Merge {branch}", by)
        return head

    def write(self, text: str, by: str = "dave", *, on: int | None = None) -> int:
        """Comment on the pull request; the comment's id."""
        return self.forge.comment(self.repository, on or self.number, text, by)

    async def comment(self, text: str, by: str = "dave", *, on: int | None = None, hurry: bool = False) -> int:
        """Comment on the pull request and wait for all that comes of it."""
        id = self.write(text, by, on=on)
        await self.settled(hurry=hurry)
        return id

    async def enabled(self, *environments: str) -> str:
        """Have an admin set GitOps up, on a pull request of its own; the commit that is live then."""
        at, self.number = self.number, 0
        self.open_pull_request({"enable.txt": "please"}, "alice", branch="enable")
        await self.comment(" ".join(("/enable", *(environments or ("development",)))), by="alice")
        assert [run.code for run in await self.runs("enable")] == [None], self.comment_text()
        self.number = at or self.number
        [project] = await self.rows(Project, Project.repository_id == await self.repository_id())
        self._namespace = project.namespace
        return self.head()

    async def register_hook(self) -> str:
        """Have Sluice register a hook of its own for the repository; its path."""
        found = msgspec.structs.replace(self.place.settings, public_url=self.place.url)
        hook = await connect(found, "github", self.repository)
        return hook.url.removeprefix(self.place.url)

    def send(
        self, event: str, body: bytes, *, path: str = "/webhooks/github", secret: bytes = b"", **headers: str
    ) -> httpx2.Response:
        """A signed delivery with any body; with the forge-wide secret unless another is given."""
        mac = hmac.new(secret or self.place.town.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
        sent = {
            "content-type": "application/json",
            "x-github-event": event,
            "x-github-delivery": str(uuid.uuid4()),
            "x-hub-signature-256": f"sha256={mac}",
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.place.http.post(f"{self.place.url}{path}", content=body, headers=sent)

    # What is to be seen.

    def head(self, branch: str = "main") -> str:
        """The commit that a branch is at."""
        found = self.forge.head(self.repository, branch)
        assert found is not None
        return found

    def statuses(self, sha: str, environment: str = "development") -> list[str]:
        """What was said of a commit, oldest first: `state: description`."""
        return [f"{status.state}: {status.description}" for status in self.raw_statuses(sha, environment)]

    def states(self, sha: str, environment: str = "development") -> list[str]:
        """The states alone, without repetitions in a row."""
        found = [status.state for status in self.raw_statuses(sha, environment)]
        return [state for number, state in enumerate(found) if number == 0 or found[number - 1] != state]

    def raw_statuses(self, sha: str, environment: str | None = None) -> list[Status]:
        """The statuses of a commit as the forge has them."""
        return self.forge.statuses(self.repository, sha, None if environment is None else f"sluice/{environment}")

    def comments(self, number: int | None = None) -> list[str]:
        """What Sluice wrote on a pull request, but for what called somebody."""
        return [body for body in self._written(number) if "\n@" not in body]

    def calls(self, number: int | None = None) -> list[str]:
        """The comments that call somebody, without their markers."""
        return [body.partition("\n")[2] for body in self._written(number) if "\n@" in body]

    def _written(self, number: int | None) -> list[str]:
        found = self.forge.comments(self.repository, number or self.number)
        return [comment.body for comment in found if comment.user.login == BOT]

    def comment_text(self, number: int | None = None) -> str:
        """Sluice's one comment; empty when it said nothing."""
        found = self.comments(number)
        assert len(found) <= 1, f"{len(found)} comments of Sluice's"
        return found[0] if found else ""

    def effects(self, by: str = BOT, kind: str = "") -> list[Effect]:
        """What somebody wrote on the forge since the test began."""
        found = self.forge.effects[self._effects :]
        return [one for one in found if one.actor == by and one.repository == self.repository and kind in one.kind]

    def object(self, kind: str, name: str) -> dict[str, Any] | None:
        """A Flux object of this repository's project."""
        return self.cluster.get(kind, self.namespace(), name)

    def namespace(self) -> str:
        """The project's namespace; by its sources, where `enabled` did not make it."""
        if self._namespace:
            return self._namespace
        url = f"{self.forge.url}/{self.repository}.git"
        found = {
            one["metadata"]["namespace"] for one in self.cluster.list("GitRepository") if one["spec"]["url"] == url
        }
        [namespace] = found
        return str(namespace)

    def live(self, environment: str = "development") -> str:
        """What the cluster runs: the text of the environment's ConfigMap."""
        found = self.cluster.get("ConfigMap", f"{self.namespace()}-{environment}", "config")
        return str(found["data"]["said"]) if found else ""

    def follows(self, environment: str = "development") -> str:
        """The GitRepository that an environment goes by."""
        found = self.object("Kustomization", environment)
        return str(found["spec"]["sourceRef"]["name"]) if found else ""

    def errors(self) -> list[dict[str, Any]]:
        """What was logged as an error since the test began."""
        lines = self.place.logged.getvalue()[self._logged :].splitlines()
        found = [line for line in map(json.loads, lines) if line.get("level") in ("error", "critical")]
        return [line for line in found if line["event"] != CUT_OFF]

    # What is in the database.

    async def rows(self, table: type[T], *where: Any) -> list[T]:
        """Rows of a table, oldest first."""
        async with self.database.read() as session:
            query = sa.select(table).where(*where).order_by(table.created_at)  # type: ignore[attr-defined]
            return list((await session.execute(query)).scalars())

    async def runs(self, name: str | None = None) -> list[Run]:
        """The runs of this repository."""
        row = await self.repository_id()
        return await self.rows(Run, Run.repository_id == row, *([Run.name == name] if name else []))

    async def asked(self) -> list[Run]:
        """The runs of what people asked for on the pull request."""
        return [run for run in await self.runs() if run.pull_request == self.number and run.name not in WORK]

    async def results(self, name: str) -> list[tuple[str, str | None]]:
        """What came of the runs of one command: (status, reason code)."""
        return [(run.status, run.code) for run in await self.runs(name)]

    async def deployments(self, sha: str | None = None) -> list[Deployment]:
        """The deployments of this repository, or of one commit."""
        resources = sa.select(GitopsResource.id).where(GitopsResource.repository_id == await self.repository_id())
        where = [Deployment.source_id.in_(resources), *([Deployment.commit_hash == sha] if sha else [])]
        return await self.rows(Deployment, *where)

    async def pins(self) -> list[Pin]:
        """The live pins of this repository."""
        resources = sa.select(GitopsResource.id).where(GitopsResource.repository_id == await self.repository_id())
        return await self.rows(Pin, Pin.source_id.in_(resources), Pin.ended_at.is_(None))

    async def deliveries(self) -> list[tuple[str, str | None]]:
        """What came of all deliveries: (status, reason)."""
        return [(row.status, row.reason) for row in await self.rows(Delivery)]

    async def events(self, action: str) -> list[UnifiedEvent]:
        """Entries of the log."""
        return await self.rows(UnifiedEvent, UnifiedEvent.action == action)

    async def repository_id(self) -> UUID:
        """The row of this repository."""
        async with self.database.read() as session:
            query = sa.select(Repository.id).where(Repository.full_name == self.repository)
            return (await session.execute(query)).scalar_one()

    async def execute(self, statement: Any) -> None:
        """Change the database by hand."""
        async with self.database.write() as session:
            await session.execute(statement)

    # Waiting.

    async def until(self, condition: Callable[[], T | Awaitable[T]], seconds: float = DEADLINE) -> T:
        """What the condition answers as soon as that is true in Python's sense."""
        deadline = time.monotonic() + seconds
        while True:
            answer = condition()
            found = await answer if isinstance(answer, Awaitable) else answer
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s\n{await self._state()}")
            await asyncio.sleep(LOOK_EVERY)

    async def settled(self, seconds: float = DEADLINE, *, hurry: bool = False) -> None:
        """Everything sent, opened, carried out, settled and said; in a `hurry` nothing waits until it is due."""

        async def quiet() -> bool:
            await self.forge.settled()
            sent = len(self.forge.deliveries)
            if hurry:
                await self.ring()
            return await self.idle() and len(self.forge.deliveries) == sent

        await self.until(quiet, seconds)

    async def ring(self) -> None:
        """Ring for everything that waits until it is due."""
        for queue, desk in self.place.backend._desks.items():
            table = desk.table
            for row in await self.rows(table, table.status.in_(desk.statuses), table.lease_until.is_(None)):
                if row.due_at is not None and row.due_at > datetime.now(UTC):
                    self.place.worker.bell.ring(queue, row.id)

    async def idle(self) -> bool:
        """Whether there is no work left: asked fifty times a second, so in one statement, and of SQLite at once."""
        now = {"now": datetime.now(UTC)}
        if self._glance is None:
            async with self.database.read() as session:
                return not (await session.execute(ANY_WORK, now)).scalar_one()
        with self._glance.connect() as connection:
            return not connection.execute(ANY_WORK, now).scalar_one()

    async def left(self) -> list[str]:
        """The work that is still to be done."""
        found: list[str] = []
        async with self.database.read() as session:
            for table, unfinished in UNFINISHED:
                rows = (await session.execute(sa.select(table).where(unfinished), {"now": datetime.now(UTC)})).scalars()
                found += [_told(row) for row in rows]
        return found

    async def _state(self) -> str:
        lines = await self.left()
        if self.number:
            lines.append(self.comment_text())
        return "\n".join([*lines, *self.place.logged.getvalue()[self._logged :].splitlines()[-30:]])

    # Sluice ends and begins.

    async def restart(self) -> None:
        """Stop Sluice in order and start it on the same database."""
        await asyncio.to_thread(self.place.stop_sluice)
        await asyncio.to_thread(self.place.start_sluice)

    async def restart_around(self, work: Callable[[], Any]) -> None:
        """Stop Sluice, do something, start it again; what is delivered meanwhile meets nobody."""
        await asyncio.to_thread(self.place.stop_sluice)
        work()
        await self.forge.settled()
        await asyncio.to_thread(self.place.start_sluice)

    async def kill(self) -> None:
        """End Sluice in the middle of what it does: nothing is finished, leases are left behind."""
        self.place.life.dead = True
        await asyncio.to_thread(self.place.stop_sluice)

    async def rise(self) -> None:
        """Start Sluice again when the leases of the dead one have run out."""
        await self.expire_leases()
        await asyncio.to_thread(self.place.start_sluice)

    async def expire_leases(self) -> None:
        """Let as much time pass as a lease takes."""
        for table in (Delivery, Run, Deployment, Notification):
            await self.execute(
                sa.update(table).where(table.lease_until.is_not(None)).values(lease_until=PAST, due_at=PAST)
            )

    async def reconcile(self) -> None:
        """What happens every five minutes."""
        sweeper = self.place.backend.sweeper
        await self.on_the_workers_loop(sweeper.reconcile)
        await self.settled()

    async def on_the_workers_loop(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something where the worker's own work runs, whose database and connections it uses."""
        loop = self.place.worker._loop
        return await asyncio.to_thread(lambda: loop.run_coroutine(work()))

    # The end.

    async def end(self) -> None:
        """Nothing is left unsaid, and nothing went wrong that the test does not know of."""
        try:
            await self.settled()
            assert self.may_log_errors or not self.errors(), self.errors()
            self.assert_statuses_in_order()
        finally:
            self.forge.clear_faults()
            self.forge.release()
            await self.database.close()

    def assert_statuses_in_order(self) -> None:
        """Every context of every commit has ended or waits; no end follows an end: a new deployment says so first."""
        said: dict[tuple[str, str], list[str]] = {}
        for effect in self.effects(kind="status.created"):
            about = effect.about
            said.setdefault((about["sha"], about["context"]), []).append(about["state"])
        for place, states in said.items():
            last = self.forge.statuses(self.repository, *place)[-1]
            assert states[-1] in TERMINAL or last.description.startswith("Waiting"), (place, states)
            doubled = [pair for pair in itertools.pairwise(states) if set(pair) <= set(TERMINAL)]
            assert self.may_end_twice or not doubled, (place, states)


def _unfinished() -> Sequence[tuple[Any, sa.ColumnElement[bool]]]:
    """The tables of work, and what is unfinished in each."""
    waits = Deployment.status == Phase.WAITING  # that may take days; but not that somebody looks at it
    looked_at = sa.or_(Deployment.lease_until.is_not(None), Deployment.due_at <= sa.bindparam("now"))
    return (
        (Delivery, Delivery.status == "recorded"),
        (Run, Run.status == "queued"),
        (Deployment, sa.and_(Deployment.status.in_(UNSETTLED), sa.or_(~waits, looked_at))),
        (Notification, Notification.status == "queued"),
        (ProjectInitializationStep, ProjectInitializationStep.status == "running"),
    )


UNFINISHED = _unfinished()
ANY_WORK = sa.select(sa.or_(*(sa.exists().where(each).select_from(table) for table, each in UNFINISHED)))


def _told(row: Any) -> str:
    shown = {name: getattr(row, name, None) for name in ("name", "kind", "target", "context", "phase", "message")}
    facts = ", ".join(f"{name}={value}" for name, value in shown.items() if value)
    tried = f" attempts={row.attempts} due={row.due_at}" if hasattr(row, "due_at") else ""
    return f"{type(row).__name__} {row.status} {facts}{tried}"


def ends(statuses: Sequence[str]) -> list[str]:
    """The terminal ones among `state: description`."""
    return [each for each in statuses if each.split(":")[0] in TERMINAL]


def places() -> Iterator[Place]:
    """One place, for a fixture."""
    place = Place()
    place.start()
    try:
        yield place
    finally:
        place.stop()
