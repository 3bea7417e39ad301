"""What a story needs of a place to be played at, and the sandbox as such a place."""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TextIO, TypeVar, cast

import msgspec

from bot import log, settings
from bot.asgi import make_app
from bot.connecting import connect
from bot.core.deployments import Phase
from bot.forges.github import STATES
from bot.sandbox.server import App, Loopback
from bot.sandbox.town import BOT, Town
from bot.store.database import migrate
from bot.worker import Worker

Role = Literal["owner", "writer", "stranger"]
Files = Mapping[str, str | None]  # path and new text; None deletes the file
Object = dict[str, Any]  # a Kubernetes object as the API tells it
T = TypeVar("T")

LOOK_EVERY = 0.02
PEOPLE: Mapping[Role, tuple[str, str]] = {
    "owner": ("olivia", "admin"),
    "writer": ("wendy", "write"),
    "stranger": ("mallory", "read"),
}


class Said(msgspec.Struct, frozen=True):
    """One commit status: the forge's own word for the state, and the description."""

    state: str
    text: str


class Remark(msgspec.Struct, frozen=True):
    """One comment of a pull request."""

    author: str
    text: str


class Stage(Protocol):
    """A forge with people, a cluster with Flux, and a running Sluice that both know.

    Repositories are called by the full name that `create_repository` returns. An act returns when the forge has carried
    it out; what Sluice makes of it is waited for with `wait_for`. Acts of one person arrive in their order.
    """

    bot: str  # the login of Sluice's own account on the forge

    # People act.

    def login(self, role: Role) -> str:
        """Who plays a role: the owner administers the repository, the writer may push, the stranger only reads."""

    def create_repository(self, name: str, files: Files) -> str:
        """A new repository of one commit on `main`, with the people's roles and Sluice's webhook; its full name."""

    def push(self, repository: str, branch: str, files: Files, *, by: Role, message: str) -> str:
        """Push one commit, and its SHA; a branch that is missing starts at `main`."""

    def push_twice(self, repository: str, branch: str, first: Files, second: Files, *, by: Role) -> tuple[str, str]:
        """Two pushes to an existing branch, the second before anybody can have dealt with the first; their SHAs."""

    def open_pull_request(self, repository: str, branch: str, title: str, *, by: Role) -> int:
        """Ask for a branch to be merged into `main`; the request's number."""

    def close_pull_request(self, repository: str, number: int, *, by: Role) -> None:
        """Close it without merging."""

    def merge_pull_request(self, repository: str, number: int, *, by: Role) -> str:
        """Merge it by a merge commit, and the SHA that `main` is at then."""

    def comment(self, repository: str, number: int, text: str, *, by: Role) -> None:
        """Comment on a pull request."""

    def delete_branch(self, repository: str, branch: str, *, by: Role) -> None:
        """Delete a branch."""

    # What is to be seen.

    def head(self, repository: str, branch: str = "main") -> str | None:
        """The commit that a branch is at; None without the branch."""

    def statuses(self, repository: str, commit: str, context: str) -> list[Said]:
        """What was said of a commit in one context, oldest first."""

    def comments(self, repository: str, number: int) -> list[Remark]:
        """The comments of a pull request, oldest first."""

    def word(self, phase: Phase) -> str:
        """The state by which this forge shows a phase (for superseded: GitHub error, Gitea skipped)."""

    def object(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """An object of the cluster as it is now, read with an administrator's rights."""

    def objects(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Object]:
        """The objects of a kind, of all namespaces for None, that a label selector matches."""

    # Waiting.

    def wait_for(self, condition: Callable[[], T | None], what: str, seconds: float) -> T:
        """What the condition answers as soon as that is true in Python's sense; TimeoutError naming `what` else."""


class SandboxStage:
    """The sandbox with Sluice in the same process: webhooks over HTTP, a worker, a database in a file."""

    bot = BOT

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-sandbox-"))
        self.log = self.folder / "sluice.log"
        self.town = Town(self.folder)
        self.url = ""
        self._log: TextIO = self.log.open("w")
        root = logging.getLogger()
        self._logged_before = (list(root.handlers), root.level)
        self._worker: Worker | None = None
        self._web: Loopback | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the town, then Sluice in it."""
        self.town.start()
        for login, _ in PEOPLE.values():
            self.town.forge.add_user(login)
        found = settings.load(self.town.environ())
        log.configure(found.secrets(), stream=self._log, colour=False)
        migrate(found.database_url)
        self._worker = Worker(found)
        self._worker.start()
        self._web = Loopback(cast(App, make_app(found, self._worker.bell)))
        self.url = self._web.start()
        self.settings = msgspec.structs.replace(found, public_url=self.url)

    def stop(self) -> None:
        """Stop everything and remove the folder."""
        if self._web is not None:
            self._web.stop()
        if self._worker is not None:
            self._worker.stop()
        self.town.stop()
        root = logging.getLogger()
        root.handlers[:], root.level = self._logged_before
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # People act.

    def login(self, role: Role) -> str:
        return PEOPLE[role][0]

    def create_repository(self, name: str, files: Files) -> str:
        forge = self.town.forge
        contents = {path: text.encode() for path, text in files.items() if text is not None}
        repository = forge.create_repository("acme", name, contents)
        for login, permission in (*PEOPLE.values(), (BOT, "admin")):
            forge.set_permission(repository, login, permission)
        asyncio.run(connect(self.settings, "github", repository))
        return repository

    def push(self, repository: str, branch: str, files: Files, *, by: Role, message: str) -> str:
        return self.town.forge.push(repository, branch, _encoded(files), self.login(by), message)

    def push_twice(self, repository: str, branch: str, first: Files, second: Files, *, by: Role) -> tuple[str, str]:
        one = self.push(repository, branch, first, by=by, message="One")
        return one, self.push(repository, branch, second, by=by, message="Two")

    def open_pull_request(self, repository: str, branch: str, title: str, *, by: Role) -> int:
        return self.town.forge.open_pull_request(repository, branch, "main", title, self.login(by))

    def close_pull_request(self, repository: str, number: int, *, by: Role) -> None:
        self.town.forge.close_pull_request(repository, number, self.login(by))

    def merge_pull_request(self, repository: str, number: int, *, by: Role) -> str:
        return self.town.forge.merge_pull_request(repository, number, self.login(by))

    def comment(self, repository: str, number: int, text: str, *, by: Role) -> None:
        self.town.forge.comment(repository, number, text, self.login(by))

    def delete_branch(self, repository: str, branch: str, *, by: Role) -> None:
        self.town.forge.delete_branch(repository, branch, self.login(by))

    # What is to be seen.

    def head(self, repository: str, branch: str = "main") -> str | None:
        return self.town.forge.head(repository, branch)

    def statuses(self, repository: str, commit: str, context: str) -> list[Said]:
        found = self.town.forge.statuses(repository, commit, context)
        return [Said(status.state, status.description or "") for status in found]

    def comments(self, repository: str, number: int) -> list[Remark]:
        return [Remark(each.user.login, each.body) for each in self.town.forge.comments(repository, number)]

    def word(self, phase: Phase) -> str:
        return STATES[phase]

    def object(self, kind: str, namespace: str | None, name: str) -> Object | None:
        return self.town.cluster.get(kind, namespace or "", name)

    def objects(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Object]:
        return self.town.cluster.list(kind, namespace, labels)

    # Waiting.

    def wait_for(self, condition: Callable[[], T | None], what: str, seconds: float) -> T:
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {what}")
            time.sleep(LOOK_EVERY)
        return answer


def _encoded(files: Files) -> dict[str, bytes | None]:
    return {path: None if text is None else text.encode() for path, text in files.items()}
