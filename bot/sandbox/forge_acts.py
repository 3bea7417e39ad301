"""Everything that can be done on the sandbox forge, by a person or through its API: rule, effect, then webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from bot.sandbox.forge_events import Events
from bot.sandbox.forge_hooks import Deliveries
from bot.sandbox.forge_state import (
    CheckRun,
    Comment,
    Hook,
    Issue,
    Pull,
    Refusal,
    Repository,
    Review,
    State,
    Status,
    User,
    invalid,
)
from bot.sandbox.git import GitError, MergeConflict

LONGEST_COMMENT = 65_536
LONGEST_DESCRIPTION = 140
LONGEST_CONTEXT = 255
MOST_STATUSES = 1_000
STATES = ("error", "failure", "pending", "success")
REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")
REVIEWS = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


class Acts:
    """The writes; the caller holds the state's lock."""

    def __init__(self, state: State, events: Events, deliveries: Deliveries) -> None:
        self._state = state
        self._store = state.store
        self._events = events
        self._deliveries = deliveries

    def _tell(self, repository: Repository, event: str, payload: Callable[[], Mapping[str, Any]]) -> None:
        self._deliveries.send(repository, event, payload)

    # Branches

    def commit(
        self,
        repository: Repository,
        branch: str,
        changes: Mapping[str, bytes | None],
        by: User,
        message: str,
        parent: str | None = None,
        modes: Mapping[str, int] | None = None,
        author: str = "",
    ) -> str:
        """Put a commit on a branch and push it; a new branch starts at the default one, `parent` pushes by force.

        `author` is another `Name <mail>` than that of who pushes.
        """
        self._state.require(repository, by, "write")
        _check_protection(repository, branch)
        name = repository.full_name
        before = self._store.head(name, branch)
        start = parent or before or self._store.head(name, repository.default_branch)
        try:
            sha = self._store.commit(name, branch, changes, message, author or by.signature, start, modes=modes)
        except GitError as error:
            raise Refusal(422, str(error)) from error
        self._moved(repository, branch, before, sha, by)
        return sha

    def create_branch(self, repository: Repository, branch: str, sha: str, by: User) -> None:
        """Make a branch at a commit."""
        self._state.require(repository, by, "write")
        try:
            made = self._store.set_ref(repository.full_name, branch, sha, None)
        except GitError as error:
            missing = self._store.resolve(repository.full_name, sha) is None
            raise Refusal(422, "Object does not exist" if missing else str(error)) from error
        if not made:
            raise Refusal(422, "Reference already exists")
        self._moved(repository, branch, None, sha, by)

    def move_branch(self, repository: Repository, branch: str, sha: str, by: User, *, force: bool) -> None:
        """Point a branch at another commit; backwards or sideways only by force."""
        self._state.require(repository, by, "write")
        name = repository.full_name
        before = self._store.head(name, branch)
        if before is None:
            raise Refusal(422, "Reference does not exist")
        if self._store.resolve(name, sha) != sha:
            raise Refusal(422, "Object does not exist")
        _check_protection(repository, branch)
        if not force and not self._store.is_ancestor(name, before, sha):
            raise Refusal(422, "Update is not a fast forward")
        self._store.set_ref(name, branch, sha, before)
        self._moved(repository, branch, before, sha, by)

    def delete_branch(self, repository: Repository, branch: str, by: User) -> None:
        """Remove a branch, and close the pull requests that come from it."""
        self._state.require(repository, by, "write")
        before = self._store.head(repository.full_name, branch)
        if before is None:
            raise Refusal(422, "Reference does not exist")
        if branch == repository.default_branch:
            raise Refusal(422, "Cannot delete the default branch")
        self._store.delete_ref(repository.full_name, branch, before)
        self._moved(repository, branch, before, None, by)

    def make_blob(self, repository: Repository, content: bytes, by: User) -> str:
        """Keep a file's content; nothing is told, for no branch has it yet."""
        self._state.require(repository, by, "write")
        return self._store.write_blob(repository.full_name, content)

    def make_tree(
        self, repository: Repository, base: str | None, entries: Mapping[str, tuple[int, str] | None], by: User
    ) -> str:
        """Keep a tree that differs from `base` in these paths."""
        self._state.require(repository, by, "write")
        try:
            return self._store.write_tree(repository.full_name, base, entries)
        except GitError as error:
            raise Refusal(422, f"GitRPC::BadObjectState: {error}") from error

    def make_commit(self, repository: Repository, tree: str, parents: Sequence[str], message: str, by: User) -> str:
        """Keep a commit; it can be seen by its id, and reaches people when a branch is moved to it."""
        self._state.require(repository, by, "write")
        try:
            return self._store.write_commit(repository.full_name, tree, parents, message, by.signature)
        except GitError as error:
            raise Refusal(422, str(error)) from error

    def _moved(self, repository: Repository, branch: str, before: str | None, after: str | None, by: User) -> None:
        if before == after:
            return
        state = self._state
        repository.pushed_at = state.clock()
        kind = "branch.created" if before is None else "branch.deleted" if after is None else "branch.moved"
        state.record(kind, repository, by, branch=branch, before=before, after=after)
        name = repository.full_name
        forced = before is not None and after is not None and not self._store.is_ancestor(name, before, after)
        if before is None or after is None:
            event = "create" if before is None else "delete"
            self._tell(repository, event, lambda: self._events.branch(repository, branch, by, created=before is None))
        self._tell(repository, "push", lambda: self._events.push(repository, branch, before, after, by, forced))
        for base, issue, pull in state.pulls():
            if pull.head_repository is repository and pull.head_branch == branch:
                self._head_moved(base, issue, pull, after, by)
            elif base is repository and pull.base_branch == branch and after:
                self._base_moved(base, issue, pull, after, by)

    def _head_moved(self, base: Repository, issue: Issue, pull: Pull, after: str | None, by: User) -> None:
        if after is None:
            self._close(base, issue, pull, by)
            return
        before = pull.head_sha
        self._point(base, issue, pull, after)
        pull.base_sha = self._store.head(base.full_name, pull.base_branch) or pull.base_sha
        issue.updated_at = self._state.clock()
        moved = {"before": before, "after": after}
        self._tell(
            base,
            "pull_request",
            lambda: {**self._events.pull_request(base, issue, pull, by, "synchronize"), **moved},
        )

    def _base_moved(self, base: Repository, issue: Issue, pull: Pull, after: str, by: User) -> None:
        """GitHub calls a pull request merged when its base branch comes to contain it."""
        if self._store.is_ancestor(base.full_name, pull.head_sha, after):
            self._merged(base, issue, pull, after, by)

    def _merged(self, base: Repository, issue: Issue, pull: Pull, sha: str, by: User) -> None:
        pull.merged_at, pull.merged_by, pull.merge_sha = self._state.clock(), by, sha
        self._close(base, issue, pull, by)

    def _point(self, base: Repository, issue: Issue, pull: Pull, sha: str) -> None:
        if pull.head_repository is not base:
            self._store.borrow(pull.head_repository.full_name, sha, base.full_name)
        pull.head_sha = sha
        self._store.keep(base.full_name, f"refs/pull/{issue.number}/head", sha)

    def _close(self, base: Repository, issue: Issue, pull: Pull, by: User) -> None:
        issue.closed_at = issue.updated_at = self._state.clock()
        self._tell(base, "pull_request", lambda: self._events.pull_request(base, issue, pull, by, "closed"))

    # Pull requests and issues

    def open_issue(self, repository: Repository, title: str, body: str | None, by: User) -> Issue:
        """Open a plain issue."""
        self._state.require(repository, by, "read")
        issue = self._new_issue(repository, title, body, by)
        self._state.record("issue.opened", repository, by, number=issue.number)
        self._tell(repository, "issues", lambda: self._events.issue(repository, issue, by, "opened"))
        return issue

    def _new_issue(self, repository: Repository, title: str, body: str | None, by: User) -> Issue:
        now = self._state.clock()
        number = len(repository.issues) + 1
        issue = Issue(self._state.next_id(), number, title, body, by, now, now)
        repository.issues[number] = issue
        return issue

    def open_pull(
        self, repository: Repository, head: str, base: str, title: str, body: str | None, by: User, *, draft: bool
    ) -> Issue:
        """Open a pull request from `branch`, or from `owner:branch` of a fork."""
        self._state.require(repository, by, "read")
        source, branch = self._head(repository, head)
        head_sha = self._store.head(source.full_name, branch)
        base_sha = self._store.head(repository.full_name, base)
        if head_sha is None:
            raise invalid("PullRequest", "head", "invalid")
        if base_sha is None:
            raise invalid("PullRequest", "base", "invalid")
        for other, _, pull in self._state.pulls():
            if other is repository and (pull.head_repository, pull.head_branch) == (source, branch):
                message = f"A pull request already exists for {source.owner.login}:{branch}."
                raise invalid("PullRequest", "head", "custom", message)
        if self._store.is_ancestor(source.full_name, head_sha, base_sha):
            raise invalid("PullRequest", "head", "custom", f"No commits between {base} and {head}")
        issue = self._new_issue(repository, title, body, by)
        issue.pull = pull = Pull(self._state.next_id(), source, branch, head_sha, base, base_sha, draft)
        self._point(repository, issue, pull, head_sha)
        self._state.record("pull.opened", repository, by, number=issue.number, head=head_sha)
        self._tell(repository, "pull_request", lambda: self._events.pull_request(repository, issue, pull, by, "opened"))
        return issue

    def _head(self, repository: Repository, head: str) -> tuple[Repository, str]:
        owner, colon, branch = head.partition(":")
        if not colon:
            return repository, head
        for other in self._state.repositories.values():
            if other.root is repository.root and other.owner.login.lower() == owner.lower():
                return other, branch
        raise invalid("PullRequest", "head", "invalid")

    def close_issue(self, repository: Repository, number: int, by: User) -> None:
        """Close an issue, or a pull request without merging it."""
        issue = self._mine_or_triage(repository, number, by)
        if issue.closed_at is not None:
            return
        self._state.record("pull.closed" if issue.pull else "issue.closed", repository, by, number=number)
        if issue.pull:
            self._close(repository, issue, issue.pull, by)
        else:
            issue.closed_at = issue.updated_at = self._state.clock()
            self._tell(repository, "issues", lambda: self._events.issue(repository, issue, by, "closed"))

    def reopen_pull(self, repository: Repository, number: int, by: User) -> None:
        """Open a closed, unmerged pull request again, at its branch's present head."""
        issue = self._mine_or_triage(repository, number, by)
        _, pull = self._state.pull(repository, number)
        sha = self._store.head(pull.head_repository.full_name, pull.head_branch)
        if pull.merged_at is not None or issue.closed_at is None or sha is None:
            raise invalid("PullRequest", "state", "invalid")
        issue.closed_at, issue.updated_at = None, self._state.clock()
        self._point(repository, issue, pull, sha)
        self._state.record("pull.reopened", repository, by, number=number)
        self._tell(
            repository, "pull_request", lambda: self._events.pull_request(repository, issue, pull, by, "reopened")
        )

    def set_draft(self, repository: Repository, number: int, draft: bool, by: User) -> None:
        """Make a pull request a draft, or say that it is none any more."""
        issue = self._mine_or_triage(repository, number, by)
        _, pull = self._state.pull(repository, number)
        if issue.closed_at is not None:
            raise invalid("PullRequest", "state", "invalid")
        if pull.draft == draft:
            return
        pull.draft, issue.updated_at = draft, self._state.clock()
        action = "converted_to_draft" if draft else "ready_for_review"
        self._state.record(f"pull.{action}", repository, by, number=number)
        self._tell(repository, "pull_request", lambda: self._events.pull_request(repository, issue, pull, by, action))

    def retarget(self, repository: Repository, number: int, base: str, by: User) -> None:
        """Have a pull request go to another branch."""
        issue = self._mine_or_triage(repository, number, by)
        _, pull = self._state.pull(repository, number)
        sha = self._store.head(repository.full_name, base)
        if sha is None or issue.closed_at is not None:
            raise invalid("PullRequest", "base", "invalid")
        before = {"ref": {"from": pull.base_branch}, "sha": {"from": pull.base_sha}}
        pull.base_branch, pull.base_sha, issue.updated_at = base, sha, self._state.clock()
        self._state.record("pull.retargeted", repository, by, number=number, base=base)
        self._tell(
            repository,
            "pull_request",
            lambda: {**self._events.pull_request(repository, issue, pull, by, "edited"), "changes": {"base": before}},
        )

    def _mine_or_triage(self, repository: Repository, number: int, by: User) -> Issue:
        issue = self._state.issue(repository, number)
        self._state.require(repository, by, "read" if issue.user is by else "triage")
        return issue

    def merge_pull(self, repository: Repository, number: int, by: User, *, squash: bool) -> str:
        """Merge a pull request, with a merge commit or squashed into one of its own."""
        self._state.require(repository, by, "write")
        issue, pull = self._state.pull(repository, number)
        before = self._store.head(repository.full_name, pull.base_branch)
        if issue.closed_at is not None or pull.draft or before is None:
            raise Refusal(405, "Pull Request is not mergeable")
        label = f"{pull.head_repository.owner.login}/{pull.head_branch}"
        message = f"Merge pull request #{number} from {label}\n\n{issue.title}"
        if squash:
            message = f"{issue.title} (#{number})"
        try:
            sha = self._store.merge(
                repository.full_name, pull.base_branch, pull.head_sha, message, by.signature, squash=squash
            )
        except MergeConflict as error:
            raise Refusal(405, "Pull Request has merge conflicts") from error
        self._state.record("pull.merged", repository, by, number=number, sha=sha)
        self._moved(repository, pull.base_branch, before, sha, by)
        if squash:
            self._merged(repository, issue, pull, sha, by)
        return sha

    def review(
        self, repository: Repository, number: int, event: str, body: str, by: User, commit: str | None = None
    ) -> Review:
        """Approve, ask for changes, or only comment, on the head or an older commit; nobody approves their own."""
        self._state.require(repository, by, "read")
        issue, pull = self._state.pull(repository, number)
        if event not in REVIEWS:
            raise invalid("PullRequestReview", "event", "invalid")
        if event == "APPROVE" and issue.user is by:
            raise Refusal(422, "Unprocessable Entity", [{"message": "Can not approve your own pull request"}])
        now = self._state.clock()
        review = Review(self._state.next_id(), by, body, REVIEWS[event], commit or pull.head_sha, now)
        repository.reviews.setdefault(number, []).append(review)
        self._state.record("review.submitted", repository, by, number=number, state=review.state)
        self._tell(repository, "pull_request_review", lambda: self._events.review(repository, issue, pull, review))
        return review

    def dismiss_review(self, repository: Repository, number: int, review_id: int, by: User) -> None:
        """Take the weight from somebody's review."""
        self._state.require(repository, by, "write")
        issue, pull = self._state.pull(repository, number)
        review = next((each for each in repository.reviews.get(number, []) if each.id == review_id), None)
        if review is None:
            raise Refusal(404, "Not Found")
        review.state = "DISMISSED"
        self._state.record("review.dismissed", repository, by, number=number, id=review_id)
        self._tell(
            repository,
            "pull_request_review",
            lambda: {**self._events.review(repository, issue, pull, review), "action": "dismissed"},
        )

    # Comments

    def comment(self, repository: Repository, number: int, body: str, by: User) -> Comment:
        """Say something on an issue or pull request."""
        self._state.require(repository, by, "read")
        issue = self._state.issue(repository, number)
        _check_body(body)
        now = self._state.clock()
        comment = Comment(self._state.next_id(), issue, body, by, now, now)
        repository.comments[comment.id] = comment
        issue.updated_at = now
        self._state.record("comment.created", repository, by, number=number, id=comment.id, body=body)
        self._tell(repository, "issue_comment", lambda: self._events.comment(repository, comment, by, "created"))
        return comment

    def comment_on_commit(self, repository: Repository, sha: str, body: str, by: User) -> Comment:
        """Say something on a commit."""
        self._state.require(repository, by, "read")
        _check_body(body)
        if self._store.resolve(repository.full_name, sha) != sha:
            raise Refusal(422, f"No commit found for SHA: {sha}")
        now = self._state.clock()
        comment = Comment(self._state.next_id(), None, body, by, now, now, sha)
        repository.comments[comment.id] = comment
        self._state.record("commit_comment.created", repository, by, sha=sha, id=comment.id, body=body)
        self._tell(repository, "commit_comment", lambda: self._events.comment(repository, comment, by, "created"))
        return comment

    def find_comment(self, repository: Repository, comment_id: int, *, on_commit: bool = False) -> Comment:
        """The comment of that id on an issue, or on a commit; 404 without one."""
        found = repository.comments.get(comment_id)
        if found is None or (found.issue is None) != on_commit:
            raise Refusal(404, "Not Found")
        return found

    def react(self, repository: Repository, comment: Comment, content: str, by: User) -> bool:
        """React to a comment, once; False where one had done so already."""
        self._state.require(repository, by, "read")
        if content not in REACTIONS:
            raise invalid("Reaction", "content", "invalid")
        if (by.login, content) in comment.reactions:
            return False
        comment.reactions.append((by.login, content))
        self._state.record("reaction.created", repository, by, id=comment.id, content=content)
        return True

    def edit_comment(self, repository: Repository, comment_id: int, body: str, by: User) -> Comment:
        """Change a comment's text."""
        comment = self._my_comment(repository, comment_id, by)
        _check_body(body)
        before, comment.body = comment.body, body
        comment.updated_at = self._state.clock()
        self._state.record("comment.edited", repository, by, id=comment_id, body=body)
        changes = {"changes": {"body": {"from": before}}}
        self._tell(
            repository,
            "issue_comment",
            lambda: {**self._events.comment(repository, comment, by, "edited"), **changes},
        )
        return comment

    def delete_comment(self, repository: Repository, comment_id: int, by: User) -> None:
        """Remove a comment."""
        comment = self._my_comment(repository, comment_id, by)
        del repository.comments[comment_id]
        self._state.record("comment.deleted", repository, by, id=comment_id)
        self._tell(repository, "issue_comment", lambda: self._events.comment(repository, comment, by, "deleted"))

    def _my_comment(self, repository: Repository, comment_id: int, by: User) -> Comment:
        self._state.require(repository, by, "read")
        comment = self.find_comment(repository, comment_id)
        self._state.require(repository, by, "read" if comment.user is by else "write")
        return comment

    # Statuses

    def status(
        self,
        repository: Repository,
        sha: str,
        state: str,
        context: str,
        description: str | None,
        target_url: str | None,
        by: User,
    ) -> Status:
        """Add a status to a commit."""
        self._state.require(repository, by, "write")
        _check_status(state, context, description, target_url)
        if self._store.resolve(repository.full_name, sha) != sha:
            raise Refusal(422, f"No commit found for SHA: {sha}")
        kept = repository.statuses.setdefault(sha, [])
        if sum(status.context == context for status in kept) >= MOST_STATUSES:
            message = "This SHA and context has reached the maximum number of statuses."
            raise Refusal(422, "Validation Failed", [{"resource": "Status", "code": "custom", "message": message}])
        now = self._state.clock()
        status = Status(self._state.next_id(), sha, state, context, description, target_url, by, now)
        kept.append(status)
        self._state.record("status.created", repository, by, sha=sha, context=context, state=state)
        self._tell(repository, "status", lambda: self._events.status(repository, status))
        return status

    def check_run(
        self, repository: Repository, sha: str, name: str, status: str, conclusion: str | None, by: User
    ) -> CheckRun:
        """Say as an App what its check makes of a commit."""
        self._state.require(repository, by, "write")
        if self._store.resolve(repository.full_name, sha) != sha:
            raise Refusal(422, f"No commit found for SHA: {sha}")
        run = CheckRun(self._state.next_id(), sha, name, status, conclusion, by.login, self._state.clock())
        self.add_check_run(repository, run, by)
        return run

    def add_check_run(self, repository: Repository, run: CheckRun, by: User) -> None:
        """Put an App's check run on its commit."""
        repository.check_runs.setdefault(run.sha, []).append(run)
        about = {"sha": run.sha, "name": run.name, "conclusion": run.conclusion}
        self._state.record("check_run.created", repository, by, **about)
        self.tell_of_check_run(repository, run, by, "created")
        if run.status == "completed":
            self.tell_of_check_run(repository, run, by, "completed")

    def tell_of_check_run(self, repository: Repository, run: CheckRun, by: User, action: str) -> None:
        """Tell the hooks what became of a check run; as on GitHub they hear of nothing but its making and its end."""
        self._tell(repository, "check_run", lambda: self._events.check_run(repository, run, by, action))

    def press(self, repository: Repository, sha: str, name: str, by: User, button: str) -> None:
        """Press a button of the newest check run of that name, or ("") have it run again: only its App is told."""
        self._state.require(repository, by, "read")
        run = next((each for each in reversed(repository.check_runs.get(sha, [])) if each.name == name), None)
        app = self._state.apps.get(str(run.app_id)) if run else None
        if run is None or app is None or app.hook is None:
            raise Refusal(404, "Not Found")
        if button and button not in {each["identifier"] for each in run.actions}:
            raise Refusal(404, f"There is no button {button}")
        if not button:
            run.status, run.conclusion = "queued", None
        action = "requested_action" if button else "rerequested"
        self._deliveries.send_to(
            app.hook, repository, "check_run", self._events.check_run(repository, run, by, action, button)
        )

    # Hooks

    def create_hook(
        self, repository: Repository, config: Mapping[str, Any], events: Sequence[str], active: bool, by: User
    ) -> Hook:
        """Register a webhook and ping it."""
        self._state.require(repository, by, "admin")
        now = self._state.clock()
        hook = Hook(self._state.next_id(), "", "", "form", "0", list(events), active, now, now)
        _configure(hook, config)
        if any(other.url == hook.url and set(other.events) & set(events) for other in repository.hooks.values()):
            message = "Hook already exists on this repository"
            raise Refusal(422, "Validation Failed", [{"resource": "Hook", "code": "custom", "message": message}])
        repository.hooks[hook.id] = hook
        self._state.record("hook.created", repository, by, id=hook.id, url=hook.url)
        self.ping(repository, hook, by)
        return hook

    def ping(self, repository: Repository, hook: Hook, by: User) -> None:
        """Send a hook its ping."""
        self._deliveries.send_to(hook, repository, "ping", self._events.ping(repository, hook, by))

    def edit_hook(self, repository: Repository, hook: Hook, body: Mapping[str, Any], by: User) -> Hook:
        """Change a hook; a given config replaces the old one whole, also its secret."""
        self._state.require(repository, by, "admin")
        if isinstance(config := body.get("config"), dict):
            _configure(hook, config)
        if events := _strings(body.get("events")):
            hook.events = events
        added, removed = _strings(body.get("add_events")), _strings(body.get("remove_events"))
        hook.events = [event for event in dict.fromkeys([*hook.events, *added]) if event not in removed]
        hook.active = bool(body.get("active", hook.active))
        hook.updated_at = self._state.clock()
        self._state.record("hook.edited", repository, by, id=hook.id)
        return hook

    def delete_hook(self, repository: Repository, hook: Hook, by: User) -> None:
        """Remove a hook."""
        self._state.require(repository, by, "admin")
        del repository.hooks[hook.id]
        self._state.record("hook.deleted", repository, by, id=hook.id)


def _check_protection(repository: Repository, branch: str) -> None:
    if branch in repository.protected:
        raise Refusal(422, "Protected branch update failed: Changes must be made through a pull request.")


def _configure(hook: Hook, config: Mapping[str, Any]) -> None:
    url = str(config.get("url") or "")
    if not _is_web(url):
        raise invalid("Hook", "url", "custom", "url is missing a scheme" if url else "url cannot be blank")
    content_type = str(config.get("content_type") or "form")
    if content_type not in ("json", "form"):
        raise invalid("Hook", "content_type", "custom", "content_type must be json or form")
    hook.url, hook.content_type = url, content_type
    hook.secret = str(config.get("secret") or "")
    hook.insecure_ssl = str(config.get("insecure_ssl") or "0")


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _check_body(body: str) -> None:
    if not body.strip():
        raise invalid("IssueComment", "body", "missing_field", "Body cannot be blank")
    if len(body) > LONGEST_COMMENT:
        message = f"Body is too long (maximum is {LONGEST_COMMENT} characters)"
        raise invalid("IssueComment", "body", "unprocessable", message)


def _check_status(state: str, context: str, description: str | None, target_url: str | None) -> None:
    if state not in STATES:
        raise invalid("Status", "state", "custom", "state is not included in the list")
    for name, value, longest in (
        ("context", context, LONGEST_CONTEXT),
        ("description", description or "", LONGEST_DESCRIPTION),
    ):
        if len(value) > longest:
            raise invalid("Status", name, "custom", f"{name} is too long (maximum is {longest} characters)")
    if target_url and not _is_web(target_url):
        raise invalid("Status", "target_url", "custom", "target_url must use http(s) scheme")
