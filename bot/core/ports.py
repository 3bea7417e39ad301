"""What the rest of Sluice asks of a forge, of a cluster and of the queue; the adapters fulfil it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from bot.core.events import Event, Repository
from bot.core.roles import Role


class PullRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request as the forge's API tells it now. `state` is open, closed or merged.

    `author_id` is "" where the account is gone. `merge_commit` is what the merge made on the base branch.
    """

    number: int
    state: str
    head: str
    head_branch: str
    head_repository_id: str | None
    base_branch: str
    author: str
    title: str = ""
    draft: bool = False
    author_id: str = ""
    merge_commit: str | None = None

    def comes_from(self, repository_id: str) -> bool:
        """Whether its head lies in that repository. A private fork's, and one that is gone, nobody tells: elsewhere."""
        return self.head_repository_id == repository_id


class CommitAuthor(msgspec.Struct, frozen=True, kw_only=True):
    """Whose account the forge maps a commit's author (or committer) to; both None when it knows none."""

    commit: str
    account_id: str | None
    login: str | None


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody's review of a pull request says now, of the commit that they looked at."""

    id: str
    commit: str
    verdict: str  # approved | changes_requested | dismissed
    author: str
    author_id: str


class TreeEntry(msgspec.Struct, frozen=True):
    """One file or folder at a commit. `kind` is blob, tree or commit (a submodule); `oid` is Git's object id.

    `mode` is Git's, where it is not that of an ordinary file or folder: of a program, of a symbolic link.
    """

    kind: str
    oid: str
    mode: str = ""

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == "120000"


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in a repository at a commit, by path without a leading slash; "" is the root."""

    entries: Mapping[str, TreeEntry]
    truncated: bool = False  # the forge did not list everything


class CommitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A status to show on a commit. `phase` is a core.deployments.Phase; the adapter maps it (design section 7)."""

    context: str
    phase: str
    text: str
    url: str | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A status with more to it, for forges that have such. `asks`: it waits for somebody's yes or no.

    `key` names what is said; the forge gives it back with what people answer. `report` is Markdown of ours.
    """

    context: str
    phase: str
    text: str
    key: str
    asks: bool = False
    report: str = ""


class ShownStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A status as the forge shows it, in its own words."""

    context: str
    state: str
    text: str


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook as registered on a forge."""

    id: str
    url: str
    events: tuple[str, ...]
    active: bool


class DeployKey(msgspec.Struct, frozen=True, kw_only=True):
    """An SSH key that may fetch one repository. `key` is its type and body, without a comment."""

    id: str
    key: str
    read_only: bool


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What the adapter's own token sees of a repository, and until when the token works, where the forge says so."""

    seen: bool
    expires_at: datetime | None = None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Whose token the adapter has."""

    id: str
    login: str
    name: str | None = None
    email: str | None = None
    avatar_url: str | None = None


class Forge(Protocol):
    """One Git hosting service. `repository` is always its full name. Temporary trouble raises TemporaryError.

    A missing thing is None, a refusal of the forge (401, 403, 404 where a thing must exist, 422) raises UserError with
    code forge_refused and the forge's own words.
    """

    name: str

    # The intake half: pure, on raw bytes and lower-case header names.
    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes]) -> bool: ...
    def delivery_key(self, headers: Mapping[str, str]) -> str | None: ...
    def event_name(self, headers: Mapping[str, str]) -> str | None: ...
    def parse(self, event_name: str, headers: Mapping[str, str], body: bytes) -> Event | None: ...

    # The asking half.
    async def own_login(self) -> str: ...
    async def repository(self, repository: str) -> Repository | None: ...
    async def role(self, repository: str, login: str) -> Role: ...
    async def id_of(self, login: str) -> str | None: ...  # of an account, whatever it may do
    async def in_team(self, repository: str, team: str, login: str) -> bool: ...  # a team is ORGANIZATION/TEAM
    async def pull_request(self, repository: str, number: int) -> PullRequest | None: ...
    async def open_pull_requests(self, repository: str) -> list[PullRequest]: ...
    async def merged_pull_request(self, repository: str, commit: str) -> int | None: ...  # which brought this commit
    async def reviews(self, repository: str, number: int) -> list[Review]: ...  # oldest first; no mere comments
    async def branch_head(self, repository: str, branch: str) -> str | None: ...
    async def commit(self, repository: str, prefix: str) -> str | None: ...
    async def is_ancestor(self, repository: str, ancestor: str, descendant: str) -> bool: ...
    async def merge_base(self, repository: str, one: str, other: str) -> str | None: ...
    async def commit_authors(self, repository: str, base: str, head: str) -> list[CommitAuthor]: ...  # of base..head
    async def changed_paths(self, repository: str, commit: str) -> frozenset[str] | None: ...  # None: too many to tell
    async def checks(self, repository: str, commit: str) -> Mapping[str, str]: ...  # name: success | pending | failure
    async def tree(self, repository: str, commit: str) -> Tree: ...
    async def blob(self, repository: str, oid: str) -> bytes: ...
    async def statuses(self, repository: str, commit: str, context: str) -> list[ShownStatus]: ...  # newest first

    # The telling half.
    async def set_status(self, repository: str, commit: str, status: CommitStatus) -> None: ...
    async def set_check(self, repository: str, commit: str, check: Check) -> bool: ...  # once; False: set a status
    def shown(self, status: CommitStatus) -> ShownStatus: ...  # what set_status makes of it
    async def find_comment(self, repository: str, number: int, marker: str) -> str | None: ...
    async def create_comment(self, repository: str, number: int, body: str) -> str: ...
    async def edit_comment(self, repository: str, comment_id: str, body: str) -> bool: ...  # False: it is gone
    async def find_commit_comment(self, repository: str, commit: str, marker: str) -> str | None: ...
    async def create_commit_comment(self, repository: str, commit: str, body: str) -> str: ...  # where there are such
    async def react(self, repository: str, comment_id: str, *, on_commit: bool = False) -> None: ...  # eyes: "seen"
    async def set_branch(self, repository: str, branch: str, commit: str) -> None: ...  # makes or moves it
    async def delete_branch(self, repository: str, branch: str) -> None: ...  # gone already is fine
    async def register_hook(self, repository: str, url: str, secret: str) -> Hook: ...  # same URL: updated

    # Commits of our own, on branches that are anybody's: compared and swapped, never forced.
    async def commit_files(
        self, repository: str, branch: str, base: str, files: Mapping[str, bytes | None], message: str
    ) -> str: ...  # None: removed. The branch is made at `base` where it is missing; BranchMoved where it is elsewhere
    def mail_of(self, login: str, account_id: str) -> str: ...  # by which the forge knows whose commit it is
    async def find_commit(self, repository: str, branch: str, line: str) -> str | None: ...  # by a line of its message
    async def create_pull_request(self, repository: str, head: str, base: str, title: str, body: str) -> int: ...
    async def find_pull_request(self, repository: str, head: str) -> int | None: ...  # the open one from a branch here

    # What Flux fetches with.
    async def access(self, repository: str) -> Access: ...
    async def account(self) -> Account: ...
    async def deploy_keys(self, repository: str) -> list[DeployKey]: ...
    async def add_deploy_key(self, repository: str, title: str, key: str) -> DeployKey: ...  # read-only
    async def remove_deploy_key(self, repository: str, id: str) -> None: ...  # gone already is fine
    async def host_keys(self) -> tuple[str, ...]: ...  # of its SSH server; none where the forge does not tell
    async def close(self) -> None: ...

    comment_limit: int
    description_limit: int


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """An object as the API server returned it after a write."""

    uid: str
    resource_version: str
    generation: int
    object: dict[str, Any]


class Cluster(Protocol):
    """One Kubernetes cluster that runs Flux; by the apply rules of design section 3.

    A field conflict raises UserError `field_conflict` with manager and field; a stale resourceVersion or uid raises
    StaleObject; a refusal (403, 422) UserError `cluster_refused` with the server's words; trouble TemporaryError.
    """

    name: str

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None: ...
    async def apply(
        self,
        manifest: dict[str, Any],
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        force: bool = False,  # take over what another manager owns
    ) -> Written: ...
    async def delete(self, kind: str, namespace: str | None, name: str, *, uid: str | None = None) -> None: ...
    async def claim(self, kind: str, namespace: str, name: str, spec: dict[str, Any], *, uid: str) -> None: ...
    async def version(self) -> str: ...  # of Kubernetes
    async def has_kind(self, kind: str) -> bool: ...
    async def may(self, verb: str, group: str, resource: str, *, namespace: str = "", name: str = "") -> bool: ...
    async def request_reconcile(self, kind: str, namespace: str, name: str, token: str) -> None: ...
    async def close(self) -> None: ...


class Bell(Protocol):
    """The doorbell: says that there is work for a row. Losing a ring loses nothing; the sweep rings again."""

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None: ...  # queue: open | execute | advance | report


class Clock(Protocol):
    """The time, UTC and aware."""

    def __call__(self) -> datetime: ...
