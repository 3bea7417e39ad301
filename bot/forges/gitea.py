"""Gitea, and Forgejo, which speaks the same API: their webhooks, and their REST API."""

import base64
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from bot.core.deployments import Phase
from bot.core.errors import BranchMoved, ConfigError, TemporaryError, UserError
from bot.core.events import Checked, Commented, Event, PullRequestChanged, Pushed, Repository, Reviewed
from bot.core.ports import (
    Access,
    Account,
    Check,
    CommitAuthor,
    CommitStatus,
    DeployKey,
    Hook,
    PullRequest,
    Review,
    ShownStatus,
    Tree,
    TreeEntry,
)
from bot.core.roles import Role
from bot.forges import (
    RECENT,
    Commit,
    FullName,
    Id,
    Number,
    account_id,
    any_branch_path,
    branch_path,
    checked,
    clean,
    commit_or_none,
    decode,
    file_path,
    fitting,
    full_name_path,
    has_line,
    is_login,
    is_prefix,
    kept_path,
    key,
    mode_of,
    one_line,
    payload,
    sha_path,
    status_context,
    team_of,
    unpacked,
    worst,
)
from bot.forges.accounts import AccountAnswer, KeyAnswer, token_expiry
from bot.forges.remembered import remembered
from bot.forges.signatures import signed
from bot.http import MOST_PAGES, Client
from bot.registry import forge

T = TypeVar("T")

# `delete` because Gitea sends no push for a removed branch; the finer names because `pull_request` alone would also
# bring every label, assignment and review.
EVENTS = (
    "push",
    "delete",
    "pull_request_only",
    "pull_request_sync",
    "pull_request_comment",
    "pull_request_review",
    "status",
)
PAGE = 50
GHOST = "Ghost"
BRIEF = {"stat": "false", "verification": "false", "files": "false"}  # what we never read of a commit

ACTIONS = {"opened": "opened", "synchronized": "synchronized", "reopened": "reopened", "closed": "closed"}
STATES = {
    Phase.QUEUED: "pending",
    Phase.WAITING: "pending",
    Phase.APPLYING: "pending",
    Phase.RECONCILING: "pending",
    Phase.SUCCEEDED: "success",
    Phase.FAILED: "failure",
    Phase.TIMED_OUT: "failure",
    Phase.SUPERSEDED: "skipped",
    Phase.REJECTED: "skipped",
    Phase.CANCELLED: "skipped",
}
VERDICTS = {"APPROVED": "approved", "REQUEST_CHANGES": "changes_requested"}
REVIEWS = {"pull_request_review_approved": "approved", "pull_request_review_rejected": "changes_requested"}
CHECKS = {"success": "success", "skipped": "success", "pending": "pending"}
DRAFTS = ("wip:", "[wip]")  # how the titles of drafts begin, unless the server's admin chose other words
ROLES = {
    "owner": Role.ADMIN,
    "admin": Role.ADMIN,
    "write": Role.DEPLOYER,
    "read": Role.VIEWER,
    "none": Role.NONE,
}


class _User(msgspec.Struct):
    login: str
    id: int = 0


class _Repo(msgspec.Struct):
    """Its addresses are not read: Gitea makes them from the Host header of whoever caused the event."""

    id: Id
    full_name: FullName
    default_branch: str
    private: bool = False


class _From(msgspec.Struct):
    old: str = msgspec.field(name="from", default="")


class _Changes(msgspec.Struct, frozen=True):
    title: _From | None = None
    ref: _From | None = None  # the base branch


class _Action(msgspec.Struct):
    action: str = ""


class _Edit(msgspec.Struct):
    changes: _Changes = _Changes()


class _RefOnly(msgspec.Struct):
    ref: str
    ref_type: str = ""


class _Push(msgspec.Struct):
    ref: str
    before: Commit
    after: Commit
    repository: _Repo
    sender: _User


class _Delete(msgspec.Struct):
    ref: str
    repository: _Repo
    sender: _User


class _Identified(msgspec.Struct):
    id: Id


class _End(msgspec.Struct):
    ref: str
    sha: Commit
    repo: _Identified | None = None


class _Pull(msgspec.Struct):
    number: Number
    state: str
    head: _End
    base: _End
    user: _User | None = None
    title: str = ""
    merged: bool = False
    merge_commit_sha: str | None = None
    draft: bool = False


class _PullEvent(msgspec.Struct):
    pull_request: _Pull
    repository: _Repo
    sender: _User


class _ReviewType(msgspec.Struct):
    type: str = ""


class _ReviewEvent(_PullEvent, kw_only=True):
    review: _ReviewType


class _StatusEvent(msgspec.Struct):
    sha: Commit
    context: str
    state: str
    repository: _Repo
    sender: _User


class _Review(msgspec.Struct):
    id: Id
    state: str
    commit_id: str = ""
    dismissed: bool = False
    user: _User | None = None


class _Team(msgspec.Struct):
    id: Id
    name: str


class _Teams(msgspec.Struct):
    data: list[_Team] | None = None


class _Issue(msgspec.Struct):
    number: Number


class _Comment(msgspec.Struct):
    id: Id
    body: str = ""
    user: _User | None = None


class _CommentEvent(msgspec.Struct):
    issue: _Issue
    comment: _Comment
    repository: _Repo
    sender: _User
    is_pull: bool = False


class _Permission(msgspec.Struct):
    permission: str = "none"


class _Sha(msgspec.Struct):
    sha: Commit


class _Message(msgspec.Struct):
    message: str


class _Listed(msgspec.Struct):
    sha: Commit
    commit: _Message


class _Authored(msgspec.Struct):
    sha: Commit
    author: _User | None = None
    committer: _User | None = None
    parents: list[_Sha] | None = None


class _Changed(msgspec.Struct):
    commit: _Sha


class _Numbered(msgspec.Struct):
    number: Number


class _BranchCommit(msgspec.Struct):
    id: Commit


class _Branch(msgspec.Struct):
    commit: _BranchCommit


class _File(msgspec.Struct):
    filename: str


class _CommitFiles(msgspec.Struct):
    files: list[_File] | None = None


class _Entry(msgspec.Struct):
    path: str
    mode: str
    type: str
    sha: Commit


class _Tree(msgspec.Struct):
    tree: list[_Entry] | None = None
    truncated: bool = False


class _Blob(msgspec.Struct):
    content: str | None = None
    encoding: str | None = None


class _Status(msgspec.Struct):
    id: Id
    context: str
    status: str
    description: str = ""


class _HookConfig(msgspec.Struct):
    url: str = ""


class _Hook(msgspec.Struct):
    id: Id
    active: bool
    events: list[str]
    config: _HookConfig


@forge("gitea")
class Gitea:
    """The port `Forge` for one Gitea or Forgejo server, as the account that the token belongs to.

    `url` is the server's address as people open it and Flux clones from it; without one, and without a `client`,
    ConfigError. Asking for people's roles needs a token of a repository admin.
    """

    name = "gitea"
    comment_limit = 65_536  # the forge has none of its own; longer ones are hard to read anywhere
    description_limit = 255  # likewise

    def __init__(self, url: str | None = None, token: str | None = None, *, client: Client | None = None) -> None:
        self._http = client or connect(url, token)
        self._server = self._http.base_url.removesuffix("/api/v1")
        self._login: str | None = None

    def __repr__(self) -> str:
        return f"Gitea({self._http.base_url!r})"

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.close()

    # The intake half.

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes]) -> bool:
        """Whether X-Gitea-Signature or X-Forgejo-Signature signs `body`; where both came, both must."""
        given = [headers[name] for name in ("x-gitea-signature", "x-forgejo-signature") if name in headers]
        return bool(given) and all(signed(body, value, secrets, prefix="") for value in given)

    def delivery_key(self, headers: Mapping[str, str]) -> str | None:
        """X-Gitea-Delivery; it is another one when somebody has Gitea deliver again."""
        return key(headers.get("x-gitea-delivery") or headers.get("x-forgejo-delivery"))

    def event_name(self, headers: Mapping[str, str]) -> str | None:
        """X-Gitea-Event, never the X-GitHub-Event that comes beside it."""
        return key(headers.get("x-gitea-event") or headers.get("x-forgejo-event"))

    def parse(self, event_name: str, headers: Mapping[str, str], body: bytes) -> Event | None:
        """The event of a verified delivery, None when it is not for us; Undecodable when it cannot be read.

        Gitea does not say whether a push was forced: `forced` is always False. For a removed branch it does not say
        where it pointed: `before` is None, too.
        """
        reader = _READERS.get(event_name)
        return None if reader is None else reader(payload(headers, body), self._server)

    # The asking half.

    async def own_login(self) -> str:
        """The login of the token's account; asked once."""
        if self._login is None:
            self._login = (await self._http.request("GET", "/user")).checked().read(_User).login
        return self._login

    async def repository(self, repository: str) -> Repository | None:
        """The repository as it is now, under its present name; None when there is none or we may not see it."""
        found = await self._found(_repo(repository), _Repo)
        return None if found is None else _repository(found, self._server)

    async def role(self, repository: str, login: str) -> Role:
        """What `login` may do. Gitea knows read, write and admin: nobody is an approver without being an admin."""
        if not is_login(login):
            return Role.NONE
        found = await self._found(f"{_repo(repository)}/collaborators/{branch_path(login)}/permission", _Permission)
        return Role.NONE if found is None else ROLES.get(found.permission, Role.NONE)

    async def id_of(self, login: str) -> str | None:
        """The number of an account, as text; None when there is none of that name."""
        found = await self._found(f"/users/{branch_path(login)}", _User) if is_login(login) else None
        return None if found is None else _account_id(found) or None

    async def in_team(self, repository: str, team: str, login: str) -> bool:
        """Whether `login` is in the team `ORGANIZATION/TEAM`; our own account must be in it, too, or own the other.

        Gitea shows a team's members to them and to the organization's owners only; to others it answers 403.
        """
        named = team_of(team)
        if named is None or not is_login(login):
            return False
        path = f"/orgs/{named[0]}/teams/search"
        found = await self._found(path, _Teams, q=named[1], include_desc="false", limit=PAGE)
        ids = [each.id for each in (found.data if found else None) or () if each.name.lower() == named[1].lower()]
        if not ids:
            return False
        return await self._found(f"/teams/{ids[0]}/members/{branch_path(login)}", _User) is not None

    async def pull_request(self, repository: str, number: int) -> PullRequest | None:
        """The pull request as it is now."""
        found = await self._found(f"{_repo(repository)}/pulls/{number:d}", _Pull)
        return None if found is None else _pull_request(found)

    async def open_pull_requests(self, repository: str) -> list[PullRequest]:
        """All open pull requests."""
        listed = self._listed(f"{_repo(repository)}/pulls", _Pull, state="open")
        return [_pull_request(pull) async for pull in listed]

    async def merged_pull_request(self, repository: str, commit: str) -> int | None:
        """The pull request whose merge made this commit."""
        found = await self._found(f"{_repo(repository)}/commits/{sha_path(commit)}/pull", _Numbered)
        return None if found is None else found.number

    async def reviews(self, repository: str, number: int) -> list[Review]:
        """What reviews of a pull request say now, oldest first; mere comments are left out."""
        listed = self._listed(f"{_repo(repository)}/pulls/{number:d}/reviews", _Review)
        found = [review async for review in listed if review.state in VERDICTS and review.commit_id]
        return [
            Review(
                id=str(review.id),
                commit=review.commit_id,
                verdict="dismissed" if review.dismissed else VERDICTS[review.state],
                author=clean(review.user.login) if review.user else GHOST,
                author_id=_account_id(review.user),
            )
            for review in sorted(found, key=lambda review: review.id)
        ]

    async def branch_head(self, repository: str, branch: str) -> str | None:
        """The commit that a branch points to; None when there is no such branch."""
        path = branch_path(branch)
        if path is None:
            return None
        found = await self._found(f"{_repo(repository)}/branches/{path}", _Branch)
        return None if found is None else found.commit.id

    async def commit(self, repository: str, prefix: str) -> str | None:
        """The full id of the one commit that begins with `prefix`; None when there is none, or more than one."""
        if not is_prefix(prefix):
            return None
        path = f"{_repo(repository)}/git/commits/{prefix}"
        found = await self._found(path, _Sha, missing=(404, 409, 422), **BRIEF)
        return found.sha if found is not None and found.sha.startswith(prefix) else None

    async def is_ancestor(self, repository: str, ancestor: str, descendant: str) -> bool:
        """Whether `descendant` contains `ancestor` (or is it); False where one is missing or nothing is in common.

        Asked as the list of commits that `ancestor` has and `descendant` has not: it is empty exactly then. Gitea's
        comparison names no merge base, and fails where histories have nothing in common.
        """
        if ancestor == descendant:
            return True
        path = f"{_repo(repository)}/commits"
        lacking: dict[str, str | int] = {"sha": sha_path(ancestor), "not": sha_path(descendant), "limit": 1, **BRIEF}
        try:
            answer = await self._http.request("GET", path, params=lacking, repeatable=False)
        except TemporaryError:
            if await self.commit(repository, descendant) is None:
                return False  # Gitea answers 500 for it
            raise
        if answer.status in (404, 409):
            return False
        return not answer.checked().read(list[_Sha])

    async def merge_base(self, repository: str, one: str, other: str) -> str | None:
        """The best common ancestor; None where a commit is missing, or nothing is in common.

        Gitea does not name it. It is where the commits that only `other` has begin.
        """
        own = await self._only_in(repository, other, one)
        if own is None:
            return None
        if not own:
            return other
        ids = {commit.sha for commit in own}
        begins = dict.fromkeys(parent.sha for commit in own for parent in commit.parents or () if parent.sha not in ids)
        best = [each for each in begins if not await self._below(repository, each, begins)]
        return min(best, default=None)

    async def _below(self, repository: str, commit: str, others: Iterable[str]) -> bool:
        """Whether one of the others contains this commit."""
        for other in others:
            if other != commit and await self.is_ancestor(repository, commit, other):
                return True
        return False

    async def commit_authors(self, repository: str, base: str, head: str) -> list[CommitAuthor]:
        """Whose accounts the commits of `base..head` are: of each its author, and its committer if that is another."""
        own = await self._only_in(repository, head, base)
        if own is None:
            raise UserError("forge_refused", f"{self._http.host} does not have both {base} and {head} in {repository}")
        return [author for commit in own for author in _authors(commit)]

    async def _only_in(self, repository: str, commit: str, other: str) -> list[_Authored] | None:
        """The commits that one has and the other has not; None where one of the two is missing."""
        params: dict[str, str | int] = {"sha": sha_path(commit), "not": sha_path(other), **BRIEF}
        for each in (commit, other):
            if await self.commit(repository, each) is None:
                return None
        return [each async for each in self._listed(f"{_repo(repository)}/commits", _Authored, **params)]

    @remembered(500)
    async def changed_paths(self, repository: str, commit: str) -> frozenset[str] | None:
        """The files in which a commit differs from its first parent."""
        path = f"{_repo(repository)}/git/commits/{sha_path(commit)}"
        params: dict[str, str | int] = {**BRIEF, "files": "true"}
        answer = (await self._http.request("GET", path, params=params)).checked()
        return frozenset(file.filename for file in answer.read(_CommitFiles).files or ())

    async def checks(self, repository: str, commit: str) -> Mapping[str, str]:
        """What others said of a commit: the newest status of each context."""
        listed = self._listed(f"{_repo(repository)}/statuses/{sha_path(commit)}", _Status, sort="leastindex")
        found = sorted([status async for status in listed], key=lambda status: status.id)
        newest = {status.context: CHECKS.get(status.status, "failure") for status in found}
        return worst(newest.items())

    @remembered(8)
    async def tree(self, repository: str, commit: str) -> Tree:
        """Every file and folder at a commit, asked for in pages."""
        path = f"{_repo(repository)}/git/trees/{sha_path(commit)}"
        entries: list[_Entry] = []
        for page in range(1, MOST_PAGES + 1):
            params: dict[str, str | int] = {"recursive": "true", "page": page}
            listed = (await self._http.request("GET", path, params=params)).checked().read(_Tree)
            entries += listed.tree or ()
            if not listed.truncated:
                break
        found = {entry.path: TreeEntry(entry.type, entry.sha, mode_of(entry.mode)) for entry in entries}
        root = _root_oid([entry for entry in entries if "/" not in entry.path], len(commit))
        return Tree(entries={"": TreeEntry("tree", root), **found}, truncated=listed.truncated)

    @remembered(512)
    async def blob(self, repository: str, oid: str) -> bytes:
        """A file's bytes; UserError when it is over the server's limit (10 MiB unless its admin says otherwise)."""
        answer = await self._http.request("GET", f"{_repo(repository)}/git/blobs/{sha_path(oid)}")
        found = answer.checked().read(_Blob)
        content = unpacked(found.content) if found.content is not None and found.encoding == "base64" else None
        if content is None:
            raise UserError("forge_refused", f"{self._http.host} gives no content for the file {oid}; is it too large?")
        return content

    async def statuses(self, repository: str, commit: str, context: str) -> list[ShownStatus]:
        """The statuses of one context on a commit, newest first."""
        wanted = status_context(context)
        # `leastindex` is Gitea's name for newest first; by time alone, statuses of one second come in any order.
        listed = self._listed(f"{_repo(repository)}/statuses/{sha_path(commit)}", _Status, sort="leastindex")
        found = [status async for status in listed if status.context == wanted]
        found.sort(key=lambda status: status.id, reverse=True)
        return [ShownStatus(context=each.context, state=each.status, text=each.description) for each in found]

    # The telling half.

    async def set_status(self, repository: str, commit: str, status: CommitStatus) -> None:
        """Put a status on a commit; adds one each time, so look at `statuses` before repeating it."""
        shown = self.shown(status)
        body = {"state": shown.state, "context": shown.context, "description": shown.text}
        if status.url:
            body["target_url"] = status.url
        try:
            answer = await self._http.request("POST", f"{_repo(repository)}/statuses/{sha_path(commit)}", body=body)
        except TemporaryError:
            await self._must_exist(repository, commit)  # Gitea answers 500 for a commit that it does not have
            raise
        answer.checked()

    async def set_check(self, repository: str, commit: str, check: Check) -> bool:
        """Gitea has no check runs: a status says it."""
        return False

    def shown(self, status: CommitStatus) -> ShownStatus:
        """What `set_status` makes of a status: one of Gitea's states, and texts cut to our limits."""
        text = one_line(status.text, self.description_limit)
        return ShownStatus(context=status_context(status.context), state=STATES[Phase(status.phase)], text=text)

    async def find_comment(self, repository: str, number: int, marker: str) -> str | None:
        """The id of our own oldest comment that holds `marker`; other people's comments are never it."""
        own = (await self.own_login()).lower()
        async for comment in self._listed(f"{_repo(repository)}/issues/{number:d}/comments", _Comment):
            if comment.user is not None and comment.user.login.lower() == own and marker in comment.body:
                return str(comment.id)
        return None

    async def create_comment(self, repository: str, number: int, body: str) -> str:
        """A new comment's id; ValueError when `body` is over `comment_limit` characters. Find before repeating."""
        path = f"{_repo(repository)}/issues/{number:d}/comments"
        answer = await self._http.request("POST", path, body={"body": fitting(body, self.comment_limit)})
        return str(answer.checked().read(_Identified).id)

    async def edit_comment(self, repository: str, comment_id: str, body: str) -> bool:
        """Whether the comment was there to be changed; ValueError as in `create_comment`."""
        path = f"{_repo(repository)}/issues/comments/{int(comment_id)}"
        change = {"body": fitting(body, self.comment_limit)}
        answer = await self._http.request("PATCH", path, body=change, repeatable=True)
        if answer.status in (204, 404):  # 204: there is something of that number, but it has no text
            return False
        answer.checked()
        return True

    async def find_commit_comment(self, repository: str, commit: str, marker: str) -> str | None:
        """None: Gitea has no comments on commits."""
        return None

    async def create_commit_comment(self, repository: str, commit: str, body: str) -> str:
        """UserError: Gitea has no comments on commits."""
        raise UserError("forge_refused", f"{self._http.host} has no comments on commits")

    async def react(self, repository: str, comment_id: str, *, on_commit: bool = False) -> None:
        """Show eyes on a comment, once; that the comment is gone is fine. Gitea has no comments on commits."""
        if on_commit:
            return
        path = f"{_repo(repository)}/issues/comments/{int(comment_id)}/reactions"
        answer = await self._http.request("POST", path, body={"content": "eyes"}, repeatable=True)
        if answer.status != 404:
            answer.checked()

    async def set_branch(self, repository: str, branch: str, commit: str) -> None:
        """Make or move one of Sluice's own branches; ValueError for any that is not below `sluice/keep/`.

        Gitea takes names of up to 100 characters. It moves branches since 1.26; an older server, and Forgejo, has the
        branch removed and made again.
        """
        path, branches = kept_path(branch), f"{_repo(repository)}/branches"
        head = await self.branch_head(repository, branch)
        if head == sha_path(commit):
            return
        await self._must_exist(repository, commit)  # Gitea answers 500 where it does not
        make = {"new_branch_name": branch, "old_ref_name": commit}
        if head is None:
            made = await self._http.request("POST", branches, body=make)
            if made.status != 409 or await self.branch_head(repository, branch) is None:
                made.checked()
                return
        move = {"new_commit_id": commit, "force": True}
        moved = await self._http.request("PUT", f"{branches}/{path}", body=move)
        if moved.status in (404, 405):
            await self.delete_branch(repository, branch)
            moved = await self._http.request("POST", branches, body=make)
        moved.checked()

    async def delete_branch(self, repository: str, branch: str) -> None:
        """Remove one of Sluice's own branches; that it is gone already is fine."""
        answer = await self._http.request("DELETE", f"{_repo(repository)}/branches/{kept_path(branch)}")
        if answer.status == 404 and await self.branch_head(repository, branch) is None:
            return
        answer.checked()

    async def register_hook(self, repository: str, url: str, secret: str) -> Hook:
        """The repository's one webhook to `url`, made anew each time: Gitea cannot change the secret of an old one.

        The new one is made before the old ones go, so that nothing is missed in between; for a moment both deliver.
        """
        path = f"{_repo(repository)}/hooks"
        old = [hook.id async for hook in self._listed(path, _Hook) if hook.config.url == url]
        config = {"url": url, "content_type": "json", "secret": secret}
        wish: dict[str, Any] = {"type": "gitea", "active": True, "events": list(EVENTS), "config": config}
        made = (await self._http.request("POST", path, body=wish)).checked().read(_Hook)
        for number in old:
            gone = await self._http.request("DELETE", f"{path}/{number}")
            if gone.status != 404:
                gone.checked()
        return Hook(id=str(made.id), url=made.config.url, events=tuple(made.events), active=made.active)

    # Commits of our own.

    async def commit_files(
        self, repository: str, branch: str, base: str, files: Mapping[str, bytes | None], message: str
    ) -> str:
        """One commit of these files on the branch, which is made at `base` where it is missing.

        BranchMoved where the branch is not at `base`, or where a file is no longer as it is there. Gitea compares
        files, not heads: what somebody else pushed in the same instant to other files stays, below our commit.
        """
        repo, at = _repo(repository), any_branch_path(branch)
        files = {file_path(path): content for path, content in files.items()}
        old = (await self.tree(repository, sha_path(base))).entries
        head = await self.branch_head(repository, branch)
        if head is None:
            await self._make_branch(repository, branch, base)
        elif head != base:
            raise BranchMoved(f"{at} is at {head}, not at {base}")
        operations = [_operation(path, content, old.get(path)) for path, content in files.items()]
        change = {"branch": branch, "message": message, "files": operations}
        try:
            answer = await self._http.request("POST", f"{repo}/contents", body=change)
        except TemporaryError:  # also Gitea's answer to two who push in one instant
            if await self._overtaken(repository, branch, base, message):
                raise BranchMoved(f"{at} was moved meanwhile") from None
            raise
        if not answer.ok and await self.branch_head(repository, branch) != base:
            raise BranchMoved(f"{at} was moved meanwhile")
        return answer.checked().read(_Changed).commit.sha

    def mail_of(self, login: str, account_id: str) -> str:
        """The address that Gitea gives to everybody who hides theirs, unless its admin chose another domain."""
        return f"{login}@noreply.{urlsplit(self._server).hostname}"

    async def _overtaken(self, repository: str, branch: str, base: str, message: str) -> bool:
        """Whether the branch moved, and not by our commit."""
        if await self.branch_head(repository, branch) == base:
            return False
        return await self.find_commit(repository, branch, message.strip().splitlines()[-1]) is None

    async def _make_branch(self, repository: str, branch: str, base: str) -> None:
        make = {"new_branch_name": branch, "old_ref_name": base}
        made = await self._http.request("POST", f"{_repo(repository)}/branches", body=make)
        if made.status == 409:
            raise BranchMoved(f"{branch} was made meanwhile")
        made.checked()

    async def find_commit(self, repository: str, branch: str, line: str) -> str | None:
        """The newest of the branch's latest commits that has this line in its message."""
        query: dict[str, str | int] = {"sha": branch, "limit": RECENT, **BRIEF}
        found = await self._found(f"{_repo(repository)}/commits", list[_Listed], missing=(404, 409), **query)
        return next((each.sha for each in found or () if has_line(each.commit.message, line)), None)

    async def create_pull_request(self, repository: str, head: str, base: str, title: str, body: str) -> int:
        """A new pull request's number, from one branch of the repository to another. Find before repeating."""
        wish = {"head": head, "base": base, "title": title, "body": fitting(body, self.comment_limit)}
        answer = await self._http.request("POST", f"{_repo(repository)}/pulls", body=wish)
        return answer.checked().read(_Numbered).number

    async def find_pull_request(self, repository: str, head: str) -> int | None:
        """The number of the open pull request that comes from this branch of the repository itself."""
        async for pull in self._listed(f"{_repo(repository)}/pulls", _Pull, state="open"):
            own = pull.head.repo is not None and pull.base.repo is not None and pull.head.repo.id == pull.base.repo.id
            if own and pull.head.ref == head:
                return pull.number
        return None

    # What Flux fetches with.

    async def access(self, repository: str) -> Access:
        """Whether our token sees the repository; a refused token raises UserError."""
        answer = await self._http.request("GET", _repo(repository))
        if answer.status == 404:
            return Access(seen=False)
        return Access(seen=True, expires_at=token_expiry(answer.checked().headers))

    async def account(self) -> Account:
        """Whose token we have."""
        found = (await self._http.request("GET", "/user")).checked().read(AccountAnswer)
        return found.account()

    async def deploy_keys(self, repository: str) -> list[DeployKey]:
        """All deploy keys; asking for them needs the rights of an admin."""
        return [key.deploy_key() async for key in self._listed(f"{_repo(repository)}/keys", KeyAnswer)]

    async def add_deploy_key(self, repository: str, title: str, key: str) -> DeployKey:
        """Register a read-only key; one that is registered anywhere already is refused."""
        body = {"title": title, "key": key, "read_only": True}
        answer = await self._http.request("POST", f"{_repo(repository)}/keys", body=body)
        return answer.checked().read(KeyAnswer).deploy_key()

    async def remove_deploy_key(self, repository: str, id: str) -> None:
        """Remove a key; that it is gone already is fine."""
        answer = await self._http.request("DELETE", f"{_repo(repository)}/keys/{int(id)}")
        if answer.status != 404:
            answer.checked()

    async def host_keys(self) -> tuple[str, ...]:
        """None: Gitea does not tell them."""
        return ()

    async def _must_exist(self, repository: str, commit: str) -> None:
        if await self.commit(repository, commit) is None:
            raise UserError("forge_refused", f"{self._http.host} has no commit {commit} in {repository}")

    async def _found(
        self, path: str, type: type[T], *, missing: Sequence[int] = (404,), **params: str | int
    ) -> T | None:
        """What GET answers; None for the statuses that mean there is no such thing."""
        answer = await self._http.request("GET", path, params=params or None)
        return None if answer.status in missing else answer.checked().read(type)

    async def _listed(self, path: str, type: type[T], **params: str | int) -> AsyncIterator[T]:
        """The items of a list, over all its pages, by number: Gitea's links have the host of its ROOT_URL."""
        seen = 0
        for page in range(1, MOST_PAGES + 1):
            answer = await self._http.request("GET", path, params={"limit": PAGE, "page": page, **params})
            items = answer.checked().read(list[type] | None) or []  # type: ignore[valid-type,arg-type]
            for item in items:
                yield item
            seen += len(items)
            total = answer.headers.get("x-total-count", "")
            more = answer.next_page is not None or (total.isdigit() and int(total) > seen)
            if not items or not more:
                return
        raise TemporaryError(f"{self._http.host} listed more than {MOST_PAGES} pages")


def _operation(path: str, content: bytes | None, old: TreeEntry | None) -> dict[str, str]:
    """What Gitea is to do with a file; with the old one's id it refuses when the file was changed meanwhile."""
    if content is None:
        return {"operation": "delete", "path": path, "sha": old.oid if old is not None else ""}
    change = {"path": path, "content": base64.b64encode(content).decode()}
    if old is None:
        return {"operation": "create", **change}
    return {"operation": "update", "sha": old.oid, **change}


def connect(url: str | None, token: str | None) -> Client:
    """A client for the API of the server at `url`."""
    if url is None:
        raise ConfigError("Gitea needs the address of its server: set SLUICE_GITEA_URL")
    base = url.rstrip("/").removesuffix("/api/v1") + "/api/v1"
    return Client(base, authorization=f"token {token}" if token else None, headers={"accept": "application/json"})


def _repo(repository: str) -> str:
    return f"/repos/{full_name_path(repository)}"


def _root_oid(entries: Sequence[_Entry], length: int) -> str:
    """The id of the folder that holds `entries`, computed as Git does: Gitea names the commit in its place."""
    ordered = sorted(entries, key=lambda entry: entry.path.encode() + (b"/" if entry.type == "tree" else b""))
    rows = [f"{entry.mode.lstrip('0')} {entry.path}\0".encode() + bytes.fromhex(entry.sha) for entry in ordered]
    content = b"".join(rows)
    hashed = hashlib.sha256 if length == 64 else hashlib.sha1
    return hashed(b"tree %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _repository(found: _Repo, server: str) -> Repository:
    return Repository(
        forge=Gitea.name,
        id=str(found.id),
        full_name=found.full_name,
        default_branch=clean(found.default_branch),
        clone_url=f"{server}/{found.full_name}.git",
        html_url=f"{server}/{found.full_name}",
        private=found.private,
    )


def _pull_request(found: _Pull) -> PullRequest:
    return PullRequest(
        number=found.number,
        state="merged" if found.merged else found.state,
        head=found.head.sha,
        head_branch=clean(found.head.ref),
        head_repository_id=str(found.head.repo.id) if found.head.repo else None,
        base_branch=clean(found.base.ref),
        author=clean(found.user.login) if found.user else GHOST,
        author_id=_account_id(found.user),
        title=clean(found.title),
        draft=found.draft,
        merge_commit=found.merge_commit_sha if found.merged else None,
    )


def _account_id(user: _User | None) -> str:
    return account_id(user.id) if user is not None else ""


def _is_bot(user: _User) -> bool:
    return user.id < 0 or user.login.endswith("[bot]")  # Gitea's own accounts have numbers below zero


def _authors(commit: _Authored) -> list[CommitAuthor]:
    author = _account_id(commit.author) or None
    login = clean(commit.author.login) if commit.author and author else None
    first = CommitAuthor(commit=commit.sha, account_id=author, login=login)
    committer = _account_id(commit.committer) or None
    if commit.committer is None or committer in (None, author):
        return [first]
    return [first, CommitAuthor(commit=commit.sha, account_id=committer, login=clean(commit.committer.login))]


def _pushed(raw: bytes, server: str) -> Pushed | None:
    if not decode(raw, _RefOnly).ref.startswith("refs/heads/"):
        return None
    push = decode(raw, _Push)
    return Pushed(
        repository=_repository(push.repository, server),
        branch=clean(push.ref.removeprefix("refs/heads/")),
        before=commit_or_none(push.before),
        after=commit_or_none(push.after),
        forced=False,
        actor=clean(push.sender.login),
        actor_id=_account_id(push.sender),
    )


def _deleted(raw: bytes, server: str) -> Pushed | None:
    if decode(raw, _RefOnly).ref_type != "branch":
        return None
    event = decode(raw, _Delete)
    return Pushed(
        repository=_repository(event.repository, server),
        branch=clean(event.ref),
        before=None,
        after=None,
        forced=False,
        actor=clean(event.sender.login),
        actor_id=_account_id(event.sender),
    )


def _changed(raw: bytes, server: str) -> PullRequestChanged | None:
    told = decode(raw, _Action).action
    if told not in (*ACTIONS, "edited"):
        return None
    event = decode(raw, _PullEvent)
    now = _pull_request(event.pull_request)
    action = _edited(decode(raw, _Edit).changes, now) if told == "edited" else ACTIONS[told]
    if action is None:
        return None
    return PullRequestChanged(
        repository=_repository(event.repository, server),
        action=action,
        number=now.number,
        head=now.head,
        head_branch=now.head_branch,
        head_repository_id=now.head_repository_id,
        base_branch=now.base_branch,
        author=now.author,
        merged=now.state == "merged",
        actor=clean(event.sender.login),
        actor_id=_account_id(event.sender),
        author_id=now.author_id,
        draft=now.draft,
    )


def _edited(changes: _Changes, now: PullRequest) -> str | None:
    """What an edit made of a pull request: a new base, or a draft or none by its title, which is all a draft is."""
    if changes.ref is not None:
        return "retargeted"
    was = changes.title.old.lower().startswith(DRAFTS) if changes.title is not None else now.draft
    return None if was == now.draft else "drafted" if now.draft else "ready"


def _reviewed(raw: bytes, server: str) -> Reviewed | None:
    """Gitea names an approval and a rejection in the header and in the body; it tells of no review's id or commit."""
    if decode(raw, _Action).action != "reviewed":
        return None
    event = decode(raw, _ReviewEvent)
    verdict = REVIEWS.get(event.review.type)
    if verdict is None:
        return None
    return Reviewed(
        repository=_repository(event.repository, server),
        number=event.pull_request.number,
        review_id=None,
        commit=None,
        verdict=verdict,
        actor=clean(event.sender.login),
        actor_id=_account_id(event.sender),
        actor_is_bot=_is_bot(event.sender),
    )


def _commented(raw: bytes, server: str) -> Commented | None:
    if decode(raw, _Action).action != "created":
        return None
    event = decode(raw, _CommentEvent)
    if not event.is_pull:
        return None
    user = event.comment.user or event.sender
    return Commented(
        repository=_repository(event.repository, server),
        number=event.issue.number,
        comment_id=str(event.comment.id),
        body=clean(event.comment.body),
        actor=clean(user.login),
        actor_id=_account_id(user),
        actor_is_bot=_is_bot(user),
    )


# The second names are those of X-Gitea-Event-Type, which some versions and proxies put into X-Gitea-Event.
def _status_set(raw: bytes, server: str) -> Checked | None:
    event = decode(raw, _StatusEvent)
    repository = _repository(event.repository, server)
    return checked(repository, event.sha, event.context, event.state, CHECKS, event.sender.login)


_READERS = {
    "push": _pushed,
    "delete": _deleted,
    "pull_request": _changed,
    "pull_request_sync": _changed,
    "issue_comment": _commented,
    "pull_request_comment": _commented,
    "pull_request_approved": _reviewed,
    "pull_request_rejected": _reviewed,
    "pull_request_review_approved": _reviewed,
    "pull_request_review_rejected": _reviewed,
    "status": _status_set,
}
