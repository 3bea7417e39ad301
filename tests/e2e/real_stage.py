"""The real servers as a place where the demo's story can be played."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TypeVar

from bot.core.deployments import Phase
from bot.forges.gitea import STATES
from bot.sandbox.stage import Files, Object, Remark, Role, Said
from tests.e2e.harness import Sluice
from tests.servers.gitea_account import Account
from tests.servers.waiting import until

T = TypeVar("T")

SLOWER = 3.0
"""How much longer than in the sandbox things may take: Flux looks at a Deployment's health every five seconds."""


class RealStage:
    """Fulfils `bot.sandbox.stage.Stage`: Gitea, a cluster with Flux, and a Sluice that was started from outside."""

    def __init__(self, sluice: Sluice) -> None:
        self.sluice, self.plane, self.gitea = sluice, sluice.plane, sluice.gitea
        self.bot = self.gitea.bot.name

    # People act.

    def login(self, role: Role) -> str:
        """Who plays a role."""
        return self._account(role).name

    def create_repository(self, name: str, files: Files) -> str:
        """A repository of the owner; the name gets an end that no other test has."""
        full = self.gitea.create_repository(f"{name}-{uuid.uuid4().hex[:6]}", files)
        self.sluice.connect(full)
        return full

    def push(self, repository: str, branch: str, files: Files, *, by: Role, message: str) -> str:
        """One commit, by Gitea's API."""
        account = self._account(by)
        if account.head(repository, branch) is None:
            return account.commit(repository, files, message=message, branch="main", new_branch=branch)
        return account.commit(repository, files, message=message, branch=branch)

    def push_twice(self, repository: str, branch: str, first: Files, second: Files, *, by: Role) -> tuple[str, str]:
        """Sluice is held still for both: Flux, too, does nothing before Sluice asks it to."""
        self.sluice.pause()
        try:
            one = self.push(repository, branch, first, by=by, message="One")
            return one, self.push(repository, branch, second, by=by, message="Two")
        finally:
            self.sluice.resume()

    def open_pull_request(self, repository: str, branch: str, title: str, *, by: Role) -> int:
        """To `main`."""
        return self._account(by).open_pull(repository, branch, title=title)

    def close_pull_request(self, repository: str, number: int, *, by: Role) -> None:
        """Without merging."""
        self._account(by).close_pull(repository, number)

    def merge_pull_request(self, repository: str, number: int, *, by: Role) -> str:
        """By a merge commit."""
        return self._account(by).merge_pull(repository, number)

    def comment(self, repository: str, number: int, text: str, *, by: Role) -> None:
        """On a pull request."""
        if text.startswith("/deploy"):
            head = self.gitea.owner.pull(repository, number)["head"]["sha"]
            self.sluice.hears_of(repository, number, head)
        self._account(by).comment(repository, number, text)

    def delete_branch(self, repository: str, branch: str, *, by: Role) -> None:
        """A branch of the repository."""
        self._account(by).delete_branch(repository, branch)

    # What is to be seen.

    def head(self, repository: str, branch: str = "main") -> str | None:
        """The commit that a branch is at."""
        return self.gitea.owner.head(repository, branch)

    def statuses(self, repository: str, commit: str, context: str) -> list[Said]:
        """Oldest first."""
        found = self.gitea.owner.statuses(repository, commit, context)
        return [Said(each["status"], each["description"]) for each in found]

    def comments(self, repository: str, number: int) -> list[Remark]:
        """Oldest first."""
        found = self.gitea.owner.comments(repository, number)
        return [Remark(each["user"]["login"], each["body"]) for each in found]

    def word(self, phase: Phase) -> str:
        """Gitea's."""
        return STATES[phase]

    def object(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """Read as administrator."""
        return self.plane.get(kind, name, namespace)

    def objects(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Object]:
        """Read as administrator."""
        return self.plane.admin.list(kind, namespace, labels)

    # Waiting.

    def wait_for(self, condition: Callable[[], T | None], what: str, seconds: float) -> T:
        """As in the sandbox, with more patience."""
        return until(condition, seconds * SLOWER, what)

    def _account(self, role: Role) -> Account:
        accounts = {"owner": self.gitea.owner, "writer": self.gitea.writer, "stranger": self.gitea.reader}
        return accounts[role]
