"""GitHub and GitHub Enterprise Server: their webhooks, and their REST API."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from bot.core.deployments import Phase
from bot.core.errors import BranchMoved, UserError
from bot.core.events import Checked, Commented, Event, Pressed, PullRequestChanged, Pushed, Repository, Reviewed
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
    OWN_CONTEXT,
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
from bot.http import Client
from bot.registry import forge

if TYPE_CHECKING:
    from bot.forges.github_checks import CheckRuns

T = TypeVar("T")

API = "https://api.github.com"
EVENTS = ("push", "pull_request", "issue_comment", "commit_comment", "pull_request_review", "status", "check_run")
PAGE = 100
MOST_FILES = 300  # of a commit, in one answer
GHOST = "ghost"  # whom GitHub names where an account was deleted
WEB_FLOW = "web-flow"  # the committer of what people do on GitHub's pages

ACTIONS = {
    "opened": "opened",
    "synchronize": "synchronized",
    "reopened": "reopened",
    "closed": "closed",
    "converted_to_draft": "drafted",
    "ready_for_review": "ready",
}
BUTTONS = ("approve", "reject")  # on our check runs
AGAIN = "again"  # GitHub's own button
VERDICTS = {"approved": "approved", "changes_requested": "changes_requested", "dismissed": "dismissed"}
CHECKS = {"success": "success", "pending": "pending", "neutral": "success", "skipped": "success"}
STATES = {
    Phase.QUEUED: "pending",
    Phase.WAITING: "pending",
    Phase.APPLYING: "pending",
    Phase.RECONCILING: "pending",
    Phase.SUCCEEDED: "success",
    Phase.FAILED: "failure",
    Phase.TIMED_OUT: "failure",
    Phase.SUPERSEDED: "error",  # there is nothing neutral, and green would be untrue
    Phase.REJECTED: "error",
    Phase.CANCELLED: "error",
}
ROLES = {
    "admin": Role.ADMIN,
    "maintain": Role.APPROVER,
    "write": Role.DEPLOYER,
    "triage": Role.VIEWER,
    "read": Role.VIEWER,
    "none": Role.NONE,
}
CEILINGS = {"admin": Role.ADMIN, "write": Role.APPROVER, "read": Role.VIEWER}  # by the older word beside the role


class _User(msgspec.Struct):
    login: str
    type: str = "User"
    id: Id = 0


class _Pusher(msgspec.Struct):
    name: str


class _Repo(msgspec.Struct):
    id: Id
    full_name: FullName
    default_branch: str
    clone_url: str
    html_url: str
    private: bool = False


class _Action(msgspec.Struct):
    action: str = ""


class _Edit(msgspec.Struct):
    changes: dict[str, Any] = {}


class _RefOnly(msgspec.Struct):
    ref: str


class _Push(msgspec.Struct):
    ref: str
    before: Commit
    after: Commit
    repository: _Repo
    pusher: _Pusher
    forced: bool = False
    sender: _User | None = None


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
    merged_at: str | None = None
    merge_commit_sha: str | None = None
    draft: bool = False


class _PullEvent(msgspec.Struct):
    pull_request: _Pull
    repository: _Repo
    sender: _User


class _Marker(msgspec.Struct):
    pass


class _Issue(msgspec.Struct):
    number: Number
    pull_request: _Marker | None = None


class _Comment(msgspec.Struct):
    id: Id
    body: str | None = None
    user: _User | None = None


class _CommentEvent(msgspec.Struct):
    issue: _Issue
    comment: _Comment
    repository: _Repo


class _CommitComment(_Comment, kw_only=True):
    commit_id: Commit


class _CommitCommentEvent(msgspec.Struct):
    comment: _CommitComment
    repository: _Repo


class _Review(msgspec.Struct):
    id: Id
    state: str
    commit_id: Commit | None = None
    user: _User | None = None


class _ReviewEvent(msgspec.Struct):
    review: _Review
    pull_request: _Pull
    repository: _Repo
    sender: _User


class _StatusEvent(msgspec.Struct):
    sha: Commit
    context: str
    state: str
    repository: _Repo
    sender: _User


class _ToldCheck(msgspec.Struct):
    id: Id
    name: str
    head_sha: Commit
    conclusion: str | None = None
    external_id: str | None = None


class _Requested(msgspec.Struct):
    identifier: str = ""


class _CheckEvent(msgspec.Struct):
    check_run: _ToldCheck
    repository: _Repo
    sender: _User
    requested_action: _Requested = msgspec.field(default_factory=_Requested)


class _Membership(msgspec.Struct):
    state: str


class _Permission(msgspec.Struct):
    permission: str = "none"
    role_name: str | None = None


class _Sha(msgspec.Struct):
    sha: Commit


class _Ref(msgspec.Struct):
    object: _Sha


class _GitCommit(msgspec.Struct):
    tree: _Sha


class _Message(msgspec.Struct):
    message: str


class _Listed(msgspec.Struct):
    sha: Commit
    commit: _Message


class _Person(msgspec.Struct):
    login: str = ""
    id: Id = 0


class _Authored(msgspec.Struct):
    sha: Commit
    author: _Person | None = None
    committer: _Person | None = None


class _Numbered(msgspec.Struct):
    number: Number


class _Comparison(msgspec.Struct):
    status: str
    merge_base_commit: _Sha | None = None
    commits: list[_Authored] = []


class _File(msgspec.Struct):
    filename: str
    previous_filename: str = ""


class _CommitFiles(msgspec.Struct):
    files: list[_File] = []


class _Entry(msgspec.Struct):
    path: str
    type: str
    sha: str
    mode: str = ""


class _Tree(msgspec.Struct):
    sha: str
    tree: list[_Entry]
    truncated: bool = False


class _Blob(msgspec.Struct):
    content: str
    encoding: str


class _Status(msgspec.Struct):
    context: str
    state: str
    description: str | None = None


class _Combined(msgspec.Struct):
    statuses: list[_Status]


class _CheckRun(msgspec.Struct):
    name: str
    status: str
    conclusion: str | None = None


class _CheckRuns(msgspec.Struct):
    check_runs: list[_CheckRun]


class _HookConfig(msgspec.Struct):
    url: str = ""


class _Hook(msgspec.Struct):
    id: Id
    active: bool
    events: list[str]
    config: _HookConfig


class _Meta(msgspec.Struct):
    ssh_keys: list[str] = []


@forge("github")
class GitHub:
    """The port `Forge` for one GitHub server, as the account that the token belongs to.

    `url` is the API's base: none for github.com, `https://HOST/api/v3` for an Enterprise Server. A `client` given
    instead is used as it is. Without a token only the intake half and public things work.
    """

    name = "github"
    comment_limit = 65_536
    description_limit = 140

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        client: Client | None = None,
        checks: CheckRuns | None = None,
    ) -> None:
        self._http = client or connect(url, token)
        self._checks = checks
        self._login: str | None = None

    def __repr__(self) -> str:
        return f"GitHub({self._http.base_url!r})"

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.close()
        if self._checks is not None:
            await self._checks.close()

    # The intake half.

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes]) -> bool:
        """Whether X-Hub-Signature-256 signs `body`; the SHA-1 header beside it counts for nothing."""
        return signed(body, headers.get("x-hub-signature-256"), secrets)

    def delivery_key(self, headers: Mapping[str, str]) -> str | None:
        """X-GitHub-Delivery, which is the same when GitHub delivers again."""
        return key(headers.get("x-github-delivery"))

    def event_name(self, headers: Mapping[str, str]) -> str | None:
        """X-GitHub-Event."""
        return key(headers.get("x-github-event"))

    def parse(self, event_name: str, headers: Mapping[str, str], body: bytes) -> Event | None:
        """The event of a verified delivery, None when it is not for us; Undecodable when it cannot be read."""
        reader = _READERS.get(event_name)
        return None if reader is None else reader(payload(headers, body))

    # The asking half.

    async def own_login(self) -> str:
        """The login of the token's account; asked once."""
        if self._login is None:
            self._login = (await self._http.request("GET", "/user")).checked().read(_User).login
        return self._login

    async def repository(self, repository: str) -> Repository | None:
        """The repository as it is now, under its present name; None when there is none or we may not see it."""
        found = await self._found(_repo(repository), _Repo)
        return None if found is None else _repository(found)

    async def role(self, repository: str, login: str) -> Role:
        """What `login` may do, by the role GitHub names; custom roles count as the older word beside them."""
        if not is_login(login):
            return Role.NONE
        path = f"{_repo(repository)}/collaborators/{branch_path(login)}/permission"
        found = await self._found(path, _Permission)
        return Role.NONE if found is None else _role(found)

    async def id_of(self, login: str) -> str | None:
        """The number of an account, as text; None when there is none of that name."""
        found = await self._found(f"/users/{branch_path(login)}", _User) if is_login(login) else None
        return None if found is None else _account_id(found) or None

    async def in_team(self, repository: str, team: str, login: str) -> bool:
        """Whether `login` is in the team `ORGANIZATION/TEAM`, or in one below it; who was only invited is not."""
        named = team_of(team)
        if named is None or not is_login(login):
            return False
        path = f"/orgs/{named[0]}/teams/{named[1]}/memberships/{branch_path(login)}"
        found = await self._found(path, _Membership)
        return found is not None and found.state == "active"

    async def pull_request(self, repository: str, number: int) -> PullRequest | None:
        """The pull request as it is now."""
        found = await self._found(f"{_repo(repository)}/pulls/{number:d}", _Pull)
        return None if found is None else _pull_request(found)

    async def open_pull_requests(self, repository: str) -> list[PullRequest]:
        """All open pull requests."""
        listed = self._listed(f"{_repo(repository)}/pulls", _Pull, state="open")
        return [_pull_request(pull) async for pull in listed]

    async def merged_pull_request(self, repository: str, commit: str) -> int | None:
        """The merged pull request that brought this commit: by preference the one whose merge made it."""
        path = f"{_repo(repository)}/commits/{sha_path(commit)}/pulls"
        answers = self._http.pages(path, params={"per_page": PAGE})
        pulls: list[_Pull] = []
        async for answer in answers:
            if answer.status in (404, 422):
                return None
            pulls += answer.checked().read(list[_Pull])
        merged = [pull for pull in pulls if pull.merged_at is not None]
        merged.sort(key=lambda pull: (pull.merge_commit_sha != commit, -pull.number))
        return merged[0].number if merged else None

    async def reviews(self, repository: str, number: int) -> list[Review]:
        """What reviews of a pull request say now, oldest first; mere comments are left out."""
        listed = self._listed(f"{_repo(repository)}/pulls/{number:d}/reviews", _Review)
        return [
            Review(
                id=str(review.id),
                commit=review.commit_id,
                verdict=VERDICTS[review.state.lower()],
                author=clean(review.user.login) if review.user else GHOST,
                author_id=_account_id(review.user),
            )
            async for review in listed
            if review.state.lower() in VERDICTS and review.commit_id is not None
        ]

    async def branch_head(self, repository: str, branch: str) -> str | None:
        """The commit that a branch points to; None when there is no such branch."""
        path = branch_path(branch)
        if path is None:
            return None
        found = await self._found(f"{_repo(repository)}/git/ref/heads/{path}", _Ref, missing=(404, 409))
        return None if found is None else found.object.sha

    async def commit(self, repository: str, prefix: str) -> str | None:
        """The full id of the one commit that begins with `prefix`; None when there is none, or more than one.

        GitHub finds commits of forks here, too: that a commit is found does not say that a branch holds it.
        """
        if not is_prefix(prefix):
            return None
        path = f"{_repo(repository)}/commits/{prefix}"
        found = await self._found(path, _Sha, missing=(404, 409, 422), per_page=1)
        return found.sha if found is not None and found.sha.startswith(prefix) else None

    async def is_ancestor(self, repository: str, ancestor: str, descendant: str) -> bool:
        """Whether `descendant` contains `ancestor` (or is it); False where one is missing or nothing is in common."""
        if ancestor == descendant:
            return True
        path = f"{_repo(repository)}/compare/{sha_path(ancestor)}...{sha_path(descendant)}"
        found = await self._found(path, _Comparison, per_page=1)
        return found is not None and found.status in ("ahead", "identical")

    async def merge_base(self, repository: str, one: str, other: str) -> str | None:
        """The best common ancestor; None where a commit is missing, or nothing is in common."""
        path = f"{_repo(repository)}/compare/{sha_path(one)}...{sha_path(other)}"
        found = await self._found(path, _Comparison, per_page=1)
        return found.merge_base_commit.sha if found is not None and found.merge_base_commit is not None else None

    async def commit_authors(self, repository: str, base: str, head: str) -> list[CommitAuthor]:
        """Whose accounts the commits of `base..head` are: of each its author, and its committer if that is another."""
        path = f"{_repo(repository)}/compare/{sha_path(base)}...{sha_path(head)}"
        found: list[CommitAuthor] = []
        async for answer in self._http.pages(path, params={"per_page": PAGE}):
            for commit in answer.checked().read(_Comparison).commits:
                found += _authors(commit)
        return found

    @remembered(500)
    async def changed_paths(self, repository: str, commit: str) -> frozenset[str] | None:
        """The files in which a commit differs from its first parent; None where GitHub does not list all of them."""
        path = f"{_repo(repository)}/commits/{sha_path(commit)}"
        files = (await self._http.request("GET", path)).checked().read(_CommitFiles).files
        if len(files) >= MOST_FILES:
            return None
        return frozenset(name for file in files for name in (file.filename, file.previous_filename) if name)

    async def checks(self, repository: str, commit: str) -> Mapping[str, str]:
        """What others said of a commit: the newest status of each context, the newest run of each check."""
        path = f"{_repo(repository)}/commits/{sha_path(commit)}"
        states: list[tuple[str, str]] = []
        async for answer in self._http.pages(f"{path}/status", params={"per_page": PAGE}):
            listed = answer.checked().read(_Combined).statuses
            states += [(status.context, CHECKS.get(status.state, "failure")) for status in listed]
        async for answer in self._http.pages(f"{path}/check-runs", params={"per_page": PAGE, "filter": "latest"}):
            runs = answer.checked().read(_CheckRuns).check_runs
            states += [(run.name, _check_state(run)) for run in runs]
        return worst(states)

    @remembered(8)
    async def tree(self, repository: str, commit: str) -> Tree:
        """Every file and folder at a commit; `truncated` when GitHub left some out (over 100,000 entries or 7 MB)."""
        repo = _repo(repository)
        root = (await self._http.request("GET", f"{repo}/git/commits/{sha_path(commit)}")).checked().read(_GitCommit)
        path = f"{repo}/git/trees/{root.tree.sha}"
        listed = (await self._http.request("GET", path, params={"recursive": 1})).checked().read(_Tree)
        entries = {entry.path: TreeEntry(entry.type, entry.sha, mode_of(entry.mode)) for entry in listed.tree}
        return Tree(entries={"": TreeEntry("tree", root.tree.sha), **entries}, truncated=listed.truncated)

    @remembered(512)
    async def blob(self, repository: str, oid: str) -> bytes:
        """A file's bytes."""
        answer = await self._http.request("GET", f"{_repo(repository)}/git/blobs/{sha_path(oid)}")
        found = answer.checked().read(_Blob)
        content = unpacked(found.content) if found.encoding == "base64" else None
        if content is None:
            raise UserError("forge_refused", f"{self._http.host} did not give the file {oid} as base64")
        return content

    async def statuses(self, repository: str, commit: str, context: str) -> list[ShownStatus]:
        """The statuses of one context on a commit, newest first."""
        wanted = status_context(context)
        listed = self._listed(f"{_repo(repository)}/commits/{sha_path(commit)}/statuses", _Status)
        return [
            ShownStatus(context=status.context, state=status.state, text=status.description or "")
            async for status in listed
            if status.context == wanted
        ]

    # The telling half.

    async def set_status(self, repository: str, commit: str, status: CommitStatus) -> None:
        """Put a status on a commit; adds one each time, so look at `statuses` before repeating it."""
        shown = self.shown(status)
        body = {"state": shown.state, "context": shown.context, "description": shown.text}
        if status.url:
            body["target_url"] = status.url
        (await self._http.request("POST", f"{_repo(repository)}/statuses/{sha_path(commit)}", body=body)).checked()

    async def set_check(self, repository: str, commit: str, check: Check) -> bool:
        """Say it in a check run, where we have an App that may; only an App can make them."""
        return self._checks is not None and await self._checks.show(repository, commit, check)

    def shown(self, status: CommitStatus) -> ShownStatus:
        """What `set_status` makes of a status: one of GitHub's four states, and texts cut to its limits."""
        text = one_line(status.text, self.description_limit)
        return ShownStatus(context=status_context(status.context), state=STATES[Phase(status.phase)], text=text)

    async def find_comment(self, repository: str, number: int, marker: str) -> str | None:
        """The id of our own oldest comment that holds `marker`; other people's comments are never it."""
        return await self._find(f"{_repo(repository)}/issues/{number:d}/comments", marker)

    async def find_commit_comment(self, repository: str, commit: str, marker: str) -> str | None:
        """The same among the comments on a commit."""
        return await self._find(f"{_repo(repository)}/commits/{sha_path(commit)}/comments", marker)

    async def create_commit_comment(self, repository: str, commit: str, body: str) -> str:
        """A new comment's id; as `create_comment`."""
        path = f"{_repo(repository)}/commits/{sha_path(commit)}/comments"
        answer = await self._http.request("POST", path, body={"body": fitting(body, self.comment_limit)})
        return str(answer.checked().read(_Identified).id)

    async def _find(self, path: str, marker: str) -> str | None:
        own = (await self.own_login()).lower()
        async for comment in self._listed(path, _Comment):
            if comment.user is not None and comment.user.login.lower() == own and marker in (comment.body or ""):
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
        if answer.status in (404, 410):
            return False
        answer.checked()
        return True

    async def react(self, repository: str, comment_id: str, *, on_commit: bool = False) -> None:
        """Show eyes on a comment, once; that the comment is gone is fine."""
        kind = "comments" if on_commit else "issues/comments"
        path = f"{_repo(repository)}/{kind}/{int(comment_id)}/reactions"
        answer = await self._http.request("POST", path, body={"content": "eyes"}, repeatable=True)
        if answer.status not in (404, 410):
            answer.checked()

    async def set_branch(self, repository: str, branch: str, commit: str) -> None:
        """Make or move one of Sluice's own branches; ValueError for any that is not below `sluice/keep/`."""
        path, refs = kept_path(branch), f"{_repo(repository)}/git/refs"
        head = await self.branch_head(repository, branch)
        if head == sha_path(commit):
            return
        if head is None:
            made = await self._http.request("POST", refs, body={"ref": f"refs/heads/{branch}", "sha": commit})
            if made.status != 422 or await self.branch_head(repository, branch) is None:
                made.checked()
                return
        change = {"sha": commit, "force": True}
        (await self._http.request("PATCH", f"{refs}/heads/{path}", body=change, repeatable=True)).checked()

    async def delete_branch(self, repository: str, branch: str) -> None:
        """Remove one of Sluice's own branches; that it is gone already is fine."""
        answer = await self._http.request("DELETE", f"{_repo(repository)}/git/refs/heads/{kept_path(branch)}")
        if answer.status in (404, 422) and await self.branch_head(repository, branch) is None:
            return
        answer.checked()

    async def register_hook(self, repository: str, url: str, secret: str) -> Hook:
        """The repository's one webhook to `url`, made or brought up to date; `secret` is written each time."""
        path = f"{_repo(repository)}/hooks"
        config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
        wish: dict[str, Any] = {"active": True, "events": list(EVENTS), "config": config}
        found = await self._hook(path, url)
        if found is None:
            answer = await self._http.request("POST", path, body={"name": "web", **wish})
            if answer.status != 422 or (found := await self._hook(path, url)) is None:
                return _hook(answer.checked().read(_Hook))
        answer = await self._http.request("PATCH", f"{path}/{found.id}", body=wish, repeatable=True)
        return _hook(answer.checked().read(_Hook))

    # Commits of our own.

    async def commit_files(
        self, repository: str, branch: str, base: str, files: Mapping[str, bytes | None], message: str
    ) -> str:
        """One commit of these files on top of `base`, to which the branch is moved, or at which it is made.

        It is the account's own, and signed by GitHub where GitHub signs: nothing is said of author and committer.

        BranchMoved where the branch is not at `base`. The move is a fast-forward or nothing: a commit that somebody
        pushed meanwhile is never lost. An answer that was lost is looked for with `find_commit`.
        """
        repo, path = _repo(repository), any_branch_path(branch)
        files = {file_path(each): content for each, content in files.items()}
        head = await self.branch_head(repository, branch)
        if head not in (None, base):
            raise BranchMoved(f"{branch} is at {head}, not at {base}")
        old = (await self.tree(repository, base)).entries
        entries = [await self._entry(repo, path, content, old.get(path)) for path, content in files.items()]
        made = await self._commit_on(repo, base, entries, message)
        if head is None:
            ref = {"ref": f"refs/heads/{branch}", "sha": made}
            answer = await self._http.request("POST", f"{repo}/git/refs", body=ref)
        else:
            change = {"sha": made, "force": False}
            answer = await self._http.request("PATCH", f"{repo}/git/refs/heads/{path}", body=change, repeatable=True)
        if answer.status == 422 and await self.branch_head(repository, branch) not in (head, made):
            raise BranchMoved(f"{branch} was moved meanwhile")
        answer.checked()
        return made

    async def _commit_on(self, repo: str, base: str, entries: list[dict[str, Any]], message: str) -> str:
        """A commit that no branch holds yet; GitHub forgets it after a while if none ever does."""
        parent = (await self._http.request("GET", f"{repo}/git/commits/{sha_path(base)}")).checked().read(_GitCommit)
        tree = await self._made(f"{repo}/git/trees", {"base_tree": parent.tree.sha, "tree": entries})
        return await self._made(f"{repo}/git/commits", {"message": message, "tree": tree, "parents": [base]})

    async def _entry(self, repo: str, path: str, content: bytes | None, old: TreeEntry | None) -> dict[str, Any]:
        entry = {"path": path, "mode": "100755" if old and old.mode == "100755" else "100644", "type": "blob"}
        if content is None:
            return {**entry, "sha": None}
        file = {"content": base64.b64encode(content).decode(), "encoding": "base64"}
        return {**entry, "sha": await self._made(f"{repo}/git/blobs", file)}

    def mail_of(self, login: str, account_id: str) -> str:
        """The address that GitHub gives to everybody, so that a co-author is known as who they are."""
        host = urlsplit(self._http.base_url).hostname or ""
        return f"{account_id}+{login}@users.noreply.{'github.com' if host == 'api.github.com' else host}"

    async def _made(self, path: str, body: dict[str, Any]) -> str:
        """The id of a new Git object, which is named by its content: making it twice makes one."""
        return (await self._http.request("POST", path, body=body, repeatable=True)).checked().read(_Sha).sha

    async def find_commit(self, repository: str, branch: str, line: str) -> str | None:
        """The newest of the branch's latest commits that has this line in its message."""
        query: dict[str, str | int] = {"sha": branch, "per_page": RECENT}
        found = await self._found(f"{_repo(repository)}/commits", list[_Listed], missing=(404, 409), **query)
        return next((each.sha for each in found or () if has_line(each.commit.message, line)), None)

    async def create_pull_request(self, repository: str, head: str, base: str, title: str, body: str) -> int:
        """A new pull request's number, from one branch of the repository to another. Find before repeating."""
        wish = {"head": head, "base": base, "title": title, "body": fitting(body, self.comment_limit)}
        answer = await self._http.request("POST", f"{_repo(repository)}/pulls", body=wish)
        return answer.checked().read(_Numbered).number

    async def find_pull_request(self, repository: str, head: str) -> int | None:
        """The number of the open pull request that comes from this branch of the repository itself."""
        owner = repository.partition("/")[0]
        async for pull in self._listed(f"{_repo(repository)}/pulls", _Pull, state="open", head=f"{owner}:{head}"):
            if pull.head.ref == head:
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
        """The keys of GitHub's SSH servers."""
        return tuple((await self._http.request("GET", "/meta")).checked().read(_Meta).ssh_keys)

    async def _hook(self, path: str, url: str) -> _Hook | None:
        async for hook in self._listed(path, _Hook):
            if hook.config.url == url:
                return hook
        return None

    async def _found(
        self, path: str, type: type[T], *, missing: Sequence[int] = (404,), **params: str | int
    ) -> T | None:
        """What GET answers; None for the statuses that mean there is no such thing."""
        answer = await self._http.request("GET", path, params=params or None)
        return None if answer.status in missing else answer.checked().read(type)

    async def _listed(self, path: str, type: type[T], **params: str | int) -> AsyncIterator[T]:
        """The items of a list, over all its pages."""
        async for answer in self._http.pages(path, params={"per_page": PAGE, **params}):
            for item in answer.checked().read(list[type]):  # type: ignore[valid-type]
                yield item


def connect(url: str | None, token: str | None) -> Client:
    """A client for GitHub's API; `https://github.com` is understood to mean its API."""
    base = API if url is None or url.rstrip("/") == "https://github.com" else url
    headers = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
    return Client(base, authorization=f"Bearer {token}" if token else None, headers=headers)


def _repo(repository: str) -> str:
    return f"/repos/{full_name_path(repository)}"


def _role(found: _Permission) -> Role:
    """The role, never above what the older word allows; an unknown role (custom ones) counts as the older word."""
    named = ROLES.get(found.role_name or found.permission, ROLES.get(found.permission, Role.NONE))
    return min(named, CEILINGS.get(found.permission, ROLES.get(found.permission, Role.NONE)))


def _repository(found: _Repo) -> Repository:
    return Repository(
        forge=GitHub.name,
        id=str(found.id),
        full_name=found.full_name,
        default_branch=clean(found.default_branch),
        clone_url=clean(found.clone_url),
        html_url=clean(found.html_url),
        private=found.private,
    )


def _pull_request(found: _Pull) -> PullRequest:
    merged = found.merged or found.merged_at is not None
    return PullRequest(
        number=found.number,
        state="merged" if merged else found.state,
        head=found.head.sha,
        head_branch=clean(found.head.ref),
        head_repository_id=str(found.head.repo.id) if found.head.repo else None,
        base_branch=clean(found.base.ref),
        author=clean(found.user.login) if found.user else GHOST,
        author_id=_account_id(found.user),
        title=clean(found.title),
        draft=found.draft,
        merge_commit=found.merge_commit_sha if merged else None,  # before, it is of a merge that was only tried
    )


def _account_id(user: _User | None) -> str:
    return account_id(user.id) if user is not None else ""


def _is_bot(user: _User | None) -> bool:
    return user is not None and (user.type == "Bot" or user.login.endswith("[bot]"))


def _authors(commit: _Authored) -> list[CommitAuthor]:
    author, committer = commit.author, commit.committer
    known = author is not None and author.id > 0
    first = CommitAuthor(
        commit=commit.sha,
        account_id=account_id(author.id) if known and author else None,
        login=clean(author.login) if known and author else None,
    )
    if committer is None or committer.id <= 0 or committer.login == WEB_FLOW:
        return [first]
    second = CommitAuthor(commit=commit.sha, account_id=account_id(committer.id), login=clean(committer.login))
    return [first] if second.account_id == first.account_id else [first, second]


def _check_state(run: _CheckRun) -> str:
    return "pending" if run.status != "completed" else CHECKS.get(run.conclusion or "", "failure")


def _hook(found: _Hook) -> Hook:
    return Hook(id=str(found.id), url=found.config.url, events=tuple(found.events), active=found.active)


def _pushed(raw: bytes) -> Pushed | None:
    if not decode(raw, _RefOnly).ref.startswith("refs/heads/"):
        return None
    push = decode(raw, _Push)
    return Pushed(
        repository=_repository(push.repository),
        branch=clean(push.ref.removeprefix("refs/heads/")),
        before=commit_or_none(push.before),
        after=commit_or_none(push.after),
        forced=push.forced,
        actor=clean(push.sender.login if push.sender else push.pusher.name),
        actor_id=_account_id(push.sender),
    )


def _changed(raw: bytes) -> PullRequestChanged | None:
    told = decode(raw, _Action).action
    retargeted = told == "edited" and "base" in decode(raw, _Edit).changes
    action = "retargeted" if retargeted else ACTIONS.get(told)
    if action is None:
        return None
    event = decode(raw, _PullEvent)
    now = _pull_request(event.pull_request)
    return PullRequestChanged(
        repository=_repository(event.repository),
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


def _commented(raw: bytes) -> Commented | None:
    if decode(raw, _Action).action != "created":
        return None
    event = decode(raw, _CommentEvent)
    if event.issue.pull_request is None:
        return None
    user = event.comment.user
    return Commented(
        repository=_repository(event.repository),
        number=event.issue.number,
        comment_id=str(event.comment.id),
        body=clean(event.comment.body or ""),
        actor=clean(user.login) if user else GHOST,
        actor_id=_account_id(user),
        actor_is_bot=_is_bot(user),
    )


def _commented_on_commit(raw: bytes) -> Commented | None:
    if decode(raw, _Action).action != "created":
        return None
    event = decode(raw, _CommitCommentEvent)
    user = event.comment.user
    return Commented(
        repository=_repository(event.repository),
        number=None,
        commit=event.comment.commit_id,
        comment_id=str(event.comment.id),
        body=clean(event.comment.body or ""),
        actor=clean(user.login) if user else GHOST,
        actor_id=_account_id(user),
        actor_is_bot=_is_bot(user),
    )


def _reviewed(raw: bytes) -> Reviewed | None:
    told = decode(raw, _Action).action
    if told not in ("submitted", "dismissed"):
        return None
    event = decode(raw, _ReviewEvent)
    verdict = VERDICTS.get(event.review.state.lower())
    user = event.sender if told == "dismissed" else event.review.user
    if verdict is None or user is None:
        return None
    return Reviewed(
        repository=_repository(event.repository),
        number=event.pull_request.number,
        review_id=str(event.review.id),
        commit=event.review.commit_id,
        verdict=verdict,
        actor=clean(user.login),
        actor_id=_account_id(user),
        actor_is_bot=_is_bot(user),
    )


def _status_set(raw: bytes) -> Checked | None:
    event = decode(raw, _StatusEvent)
    return checked(_repository(event.repository), event.sha, event.context, event.state, CHECKS, event.sender.login)


def _check_run(raw: bytes) -> Checked | Pressed | None:
    """What became of somebody's check run (while one goes on, nothing opens by it), or a button below one of ours."""
    told = decode(raw, _Action).action
    if told not in ("completed", "requested_action", "rerequested"):
        return None
    event = decode(raw, _CheckEvent)
    run, by = event.check_run, event.sender
    if told == "completed":
        return checked(_repository(event.repository), run.head_sha, run.name, run.conclusion or "", CHECKS, by.login)
    button = event.requested_action.identifier if told == "requested_action" else AGAIN
    if not run.name.startswith(OWN_CONTEXT) or button not in (*BUTTONS, AGAIN):
        return None
    return Pressed(
        repository=_repository(event.repository),
        commit=run.head_sha,
        name=clean(run.name),
        check_id=str(run.id),
        key=clean(run.external_id or ""),
        button=button,
        actor=clean(by.login),
        actor_id=_account_id(by),
        actor_is_bot=_is_bot(by),
    )


_READERS = {
    "push": _pushed,
    "pull_request": _changed,
    "issue_comment": _commented,
    "commit_comment": _commented_on_commit,
    "pull_request_review": _reviewed,
    "status": _status_set,
    "check_run": _check_run,
}
