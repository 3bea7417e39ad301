"""What the sandbox forge knows: people, repositories, pull requests, comments, statuses and what was written."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bot.sandbox.git import GitStore

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
ZERO = "0" * 40


class Refusal(Exception):
    """The forge says no, with the status and body that GitHub would answer."""

    def __init__(self, status: int, message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = list(errors)


def invalid(resource: str, field_name: str, code: str, message: str = "") -> Refusal:
    """The 422 of GitHub's validation."""
    error = {"resource": resource, "field": field_name, "code": code}
    if message:
        error["message"] = message
    return Refusal(422, "Validation Failed", [error])


@dataclass(eq=False, slots=True)
class User:
    id: int
    login: str
    type: str
    token: str = field(repr=False)

    @property
    def signature(self) -> str:
        return f"{self.login} <{self.id}+{self.login}@users.noreply.example.test>"


@dataclass(eq=False, slots=True)
class Pull:
    """What makes an issue a pull request."""

    id: int
    head_repository: Repository
    head_branch: str
    head_sha: str
    base_branch: str
    base_sha: str
    draft: bool = False
    merged_at: float | None = None
    merged_by: User | None = None
    merge_sha: str | None = None


@dataclass(eq=False, slots=True)
class Issue:
    id: int
    number: int
    title: str
    body: str | None
    user: User
    created_at: float
    updated_at: float
    closed_at: float | None = None
    pull: Pull | None = None

    @property
    def state(self) -> str:
        return "open" if self.closed_at is None else "closed"


@dataclass(eq=False, slots=True)
class Comment:
    """A comment on an issue or pull request, or (with `commit`) on a commit; `reactions` are (who, what)."""

    id: int
    issue: Issue | None
    body: str
    user: User
    created_at: float
    updated_at: float
    commit: str | None = None
    reactions: list[tuple[str, str]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Review:
    id: int
    user: User
    body: str
    state: str
    commit: str
    submitted_at: float


@dataclass(eq=False, slots=True)
class Status:
    id: int
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    creator: User
    created_at: float


@dataclass(eq=False, slots=True)
class CheckRun:
    """What an App says of a commit; `conclusion` only once it is completed."""

    id: int
    sha: str
    name: str
    status: str
    conclusion: str | None
    app: str
    started_at: float
    app_id: int = 0
    external_id: str = ""
    output: Mapping[str, Any] = field(default_factory=dict)
    actions: list[Mapping[str, str]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Hook:
    id: int
    url: str
    secret: str = field(repr=False)
    content_type: str
    insecure_ssl: str
    events: list[str]
    active: bool
    created_at: float
    updated_at: float
    last_response: tuple[int | None, str, str | None] = (None, "unused", None)


@dataclass(frozen=True, slots=True)
class Key:
    """An SSH key that may fetch one repository; `key` has no comment."""

    id: int
    title: str
    key: str
    read_only: bool
    created_at: float


@dataclass(eq=False, slots=True)
class App:
    """A GitHub App: its public key, and where it is installed (installation id to repositories)."""

    id: str
    public_key: str
    permissions: Mapping[str, str]
    installations: dict[int, set[str]] = field(default_factory=dict)
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token of an App's installation may do; `token` is in no repr."""

    token: str = field(repr=False)
    repositories: tuple[str, ...]
    permissions: Mapping[str, str]
    app: str = ""


@dataclass(eq=False, slots=True)
class Repository:
    id: int
    owner: User
    name: str
    private: bool
    default_branch: str
    created_at: float
    pushed_at: float
    parent: Repository | None = None
    roles: dict[str, str] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    reviews: dict[int, list[Review]] = field(default_factory=dict)
    statuses: dict[str, list[Status]] = field(default_factory=dict)
    check_runs: dict[str, list[CheckRun]] = field(default_factory=dict)
    hooks: dict[int, Hook] = field(default_factory=dict)
    keys: dict[int, Key] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)  # branches that change by pull requests only

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    @property
    def root(self) -> Repository:
        """The repository that a whole network of forks comes from."""
        return self.parent.root if self.parent else self


@dataclass(frozen=True, slots=True)
class Effect:
    """One successful write: what kind, where, by whom, and what it was about."""

    kind: str
    repository: str
    actor: str
    about: Mapping[str, Any]
    at: float


class State:
    """The forge's memory; everything that reads or writes it holds `lock`."""

    def __init__(self, store: GitStore, *, url: str = "", clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.tokens: dict[str, User] = {}
        self.repositories: dict[str, Repository] = {}
        self.effects: list[Effect] = []
        self.teams: dict[tuple[str, str], dict[str, str]] = {}  # (organization, team): login to active | pending
        self.apps: dict[str, App] = {}
        self.grants: dict[str, Grant] = {}  # by the login of the account that holds it
        self.expiries: dict[str, float] = {}  # of tokens; the others work for ever
        self.url = url
        self._last_id = 1000

    def next_id(self) -> int:
        """A new number, larger than all before."""
        with self.lock:
            self._last_id += 1
            return self._last_id

    def add_user(self, login: str, kind: str) -> User:
        """A new account with its token."""
        with self.lock:
            if login.lower() in self.users:
                raise Refusal(422, f"{login} exists already")
            user = User(self.next_id(), login, kind, f"ghp_{secrets.token_hex(18)}")
            self.users[login.lower()] = self.tokens[user.token] = user
            return user

    def holder(self, token: str) -> User | None:
        """Whose token it is; nobody's when it has expired."""
        expired = token in self.expiries and self.clock() >= self.expiries[token]
        return None if expired else self.tokens.get(token)

    def user(self, login: str) -> User:
        """The account of that name, 404 without one."""
        found = self.users.get(login.lower())
        if found is None:
            raise Refusal(404, "Not Found")
        return found

    def repository(self, full_name: str) -> Repository:
        """The repository of that name, 404 without one."""
        found = self.repositories.get(full_name.lower())
        if found is None:
            raise Refusal(404, "Not Found")
        return found

    def role(self, repository: Repository, user: User | None) -> str:
        """What somebody (None: nobody logged in) may do in a repository."""
        floor = "none" if repository.private else "read"
        if user is None:
            return floor
        if user is repository.owner:
            return "admin"
        grant = self.grants.get(user.login)
        if grant is not None:
            right = grant.permissions.get("contents", "none") if repository.full_name in grant.repositories else "none"
            return max(floor, right, key=ROLES.index)
        return max(floor, repository.roles.get(user.login.lower(), "none"), key=ROLES.index)

    def may(self, repository: Repository, user: User | None, needed: str) -> bool:
        """Whether somebody's role is at least the needed one."""
        return ROLES.index(self.role(repository, user)) >= ROLES.index(needed)

    def require(self, repository: Repository, user: User | None, needed: str) -> None:
        """404 for those who cannot see the repository, 403 for those who may not do this there."""
        if not self.may(repository, user, "read"):
            raise Refusal(404, "Not Found")
        if not self.may(repository, user, needed):
            raise Refusal(403, "Resource not accessible by personal access token")

    def issue(self, repository: Repository, number: int) -> Issue:
        """The issue or pull request of that number, 404 without one."""
        found = repository.issues.get(number)
        if found is None:
            raise Refusal(404, "Not Found")
        return found

    def pull(self, repository: Repository, number: int) -> tuple[Issue, Pull]:
        """The pull request of that number, 404 when there is none or it is an issue."""
        issue = self.issue(repository, number)
        if issue.pull is None:
            raise Refusal(404, "Not Found")
        return issue, issue.pull

    def pulls(self) -> list[tuple[Repository, Issue, Pull]]:
        """Every open pull request of the whole forge."""
        every = [(repo, issue) for repo in self.repositories.values() for issue in repo.issues.values()]
        return [(repo, issue, issue.pull) for repo, issue in every if issue.pull and issue.closed_at is None]

    def record(self, kind: str, repository: Repository, actor: User, **about: Any) -> None:
        """Count one effect."""
        self.effects.append(Effect(kind, repository.full_name, actor.login, about, self.clock()))


def iso(at: float | None) -> str | None:
    """A time as GitHub writes it."""
    return None if at is None else datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
