"""A small GitHub in one process: its REST API and webhooks over real Git repositories, and the people who use it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from bot.sandbox.forge_acts import Acts
from bot.sandbox.forge_events import Events
from bot.sandbox.forge_hooks import Deliveries, Delivery
from bot.sandbox.forge_http import Fault, Rates, Router, Seen, Web
from bot.sandbox.forge_routes_access import AccessRoutes, Client
from bot.sandbox.forge_routes_checks import CheckRoutes
from bot.sandbox.forge_routes_git import GitRoutes
from bot.sandbox.forge_routes_talk import TalkRoutes
from bot.sandbox.forge_shapes import Shapes
from bot.sandbox.forge_state import (
    ROLES,
    App,
    CheckRun,
    Comment,
    Effect,
    Hook,
    Issue,
    Key,
    Pull,
    Refusal,
    Repository,
    State,
    Status,
    User,
)
from bot.sandbox.git import GitStore

__all__ = ["Comment", "Delivery", "Effect", "Issue", "Pull", "Refusal", "SandboxForge", "Seen", "Status"]

_SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


class SandboxForge:
    """`app` is the web side, for programs; the methods are what people do, from any thread.

    What a person may not do raises `Refusal`, like the API's answer. Repositories are named `owner/name`.
    """

    def __init__(
        self,
        store: GitStore,
        *,
        url: str = "",
        clock: Callable[[], float] = time.time,
        delivery_timeout: float = 10.0,
    ) -> None:
        self.store = store
        self._state = State(store, url=url, clock=clock)
        self._shapes = Shapes(self._state)
        self._deliveries = Deliveries(self._state, timeout=delivery_timeout)
        self._acts = Acts(self._state, Events(self._shapes), self._deliveries)
        self._rates = Rates(self._state)
        router = Router()
        self._git = GitRoutes(self._state, self._shapes, self._acts, self._rates)
        self._git.add_to(router)
        CheckRoutes(self._state, self._shapes, self._acts).add_to(router)
        TalkRoutes(self._state, self._shapes, self._acts, self._deliveries).add_to(router)
        self.access = AccessRoutes(self._state, self._shapes)
        self.access.add_to(router)
        self._git.add_commit_to(router)
        self.app = Web(self._state, router, self._rates)
        store.url = url
        store.allowed = self._may_fetch

    @property
    def url(self) -> str:
        """Where the forge is reached; learnt from the first request when not set before."""
        return self._state.url

    @url.setter
    def url(self, url: str) -> None:
        self._state.url = self.store.url = url.rstrip("/")

    def close(self) -> None:
        """Stop sending webhooks and close the repositories."""
        self._deliveries.close()
        self.store.close()

    # People and repositories

    def add_user(self, login: str, type: str = "User") -> str:
        """A new account (`User`, `Bot` or `Organization`) and its token."""
        with self._state.lock:
            return self._state.add_user(login, type).token

    def token(self, login: str) -> str:
        """An account's token."""
        with self._state.lock:
            return self._state.user(login).token

    def create_repository(
        self, owner: str, name: str, files: Mapping[str, bytes], private: bool = False, default_branch: str = "main"
    ) -> str:
        """A repository with one commit, and its full name; the owner's account is made where it is missing."""
        with self._state.lock:
            user = self._state.users.get(owner.lower()) or self._state.add_user(owner, "User")
            repository = self._new_repository(user, name, private, default_branch)
            self.store.create(repository.full_name)
            if files:
                self.store.commit(repository.full_name, default_branch, files, "Initial commit", user.signature)
            self._state.repositories[repository.full_name.lower()] = repository
            return repository.full_name

    def fork(self, repo: str, by: str, *, private: bool = False) -> str:
        """Fork a repository into somebody's account, where only they see it if it is private; the fork's full name."""
        with self._state.lock:
            parent, user = self._found(repo, by)
            self._state.require(parent, user, "read")
            forked = self._new_repository(user, parent.name, private or parent.private, parent.default_branch, parent)
            self.store.fork(parent.full_name, forked.full_name)
            self._state.repositories[forked.full_name.lower()] = forked
            self._state.record("repository.forked", parent, user, fork=forked.full_name)
            return forked.full_name

    def _new_repository(
        self, owner: User, name: str, private: bool, default_branch: str, parent: Repository | None = None
    ) -> Repository:
        now = self._state.clock()
        return Repository(self._state.next_id(), owner, name, private, default_branch, now, now, parent)

    def set_permission(self, repo: str, login: str, role: str) -> None:
        """Give somebody a role: admin, maintain, write, triage, read or none."""
        if role not in ROLES:
            raise ValueError(f"{role!r} is none of {', '.join(ROLES)}")
        with self._state.lock:
            repository, user = self._found(repo, login)
            repository.roles[user.login.lower()] = role

    def add_to_team(self, team: str, login: str, state: str = "active") -> None:
        """Put somebody into a team `organization/team`, made where it is missing; `pending` is who was only invited."""
        organization, _, name = team.partition("/")
        with self._state.lock:
            members = self._state.teams.setdefault((organization.lower(), name.lower()), {})
            members[self._state.user(login).login.lower()] = state

    def remove_from_team(self, team: str, login: str) -> None:
        """Take somebody out of a team."""
        organization, _, name = team.partition("/")
        with self._state.lock:
            self._state.teams[(organization.lower(), name.lower())].pop(login.lower(), None)

    def repository_id(self, repo: str) -> int:
        """The number that stays the same when a repository is renamed."""
        return self._state.repository(repo).id

    # What others come in with

    def expire_token(self, token: str, at: float) -> None:
        """Have a token stop working at a time (seconds since 1970)."""
        with self._state.lock:
            self._state.expiries[token] = at

    def deploy_keys(self, repo: str) -> list[Key]:
        """The SSH keys that may fetch a repository."""
        with self._state.lock:
            return list(self._state.repository(repo).keys.values())

    def add_app(
        self, id: str, public_key: str, permissions: Mapping[str, str], hook_url: str = "", secret: str = ""
    ) -> None:
        """A GitHub App with what it may be given at most, and where it is told what only Apps are told."""
        with self._state.lock:
            now, number = self._state.clock(), self._state.next_id()
            hook = Hook(
                number, hook_url, secret, "json", "0", ["check_run"], active=True, created_at=now, updated_at=now
            )
            self._state.apps[id] = App(id, public_key, permissions, hook=hook if hook_url else None)

    def install_app(self, id: str, *repos: str) -> int:
        """Install an App on repositories; the installation's number."""
        with self._state.lock:
            number = self._state.next_id()
            self._state.apps[id].installations[number] = {self._state.repository(repo).full_name for repo in repos}
            return number

    def add_oauth_client(self, id: str, secret: str, redirect_uri: str) -> Client:
        """An OAuth application."""
        with self._state.lock:
            return self.access.clients.setdefault(id, Client(id, secret, redirect_uri))

    def authorize(self, url: str, by: str) -> str:
        """Say yes to an OAuth application that sent somebody to `url`; where they are sent back to."""
        with self._state.lock:
            return self.access.authorize(url, self._state.user(by))

    # Branches

    def push(
        self,
        repo: str,
        branch: str,
        changes: Mapping[str, bytes | None],
        by: str,
        message: str = "Change files",
        force_parent: str | None = None,
        modes: Mapping[str, int] | None = None,
        author: str = "",
    ) -> str:
        """Push one commit; a new branch starts at the default one, `force_parent` overwrites what came after it.

        `author` (`Name <mail>`) is who wrote it, where that is another; one whose name is no login has no account.
        """
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.commit(repository, branch, changes, user, message, force_parent, modes, author)

    def create_branch(self, repo: str, branch: str, sha: str, by: str) -> None:
        """Push an existing commit as a new branch."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.create_branch(repository, branch, sha, user)

    def move_branch(self, repo: str, branch: str, sha: str, by: str, force: bool = True) -> None:
        """Push an existing commit to a branch, by default also backwards."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.move_branch(repository, branch, sha, user, force=force)

    def delete_branch(self, repo: str, branch: str, by: str) -> None:
        """Delete a branch; pull requests from it are closed."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.delete_branch(repository, branch, user)

    def protect_branch(self, repo: str, branch: str, protected: bool = True) -> None:
        """Have a branch change by pull requests only, or not any more."""
        with self._state.lock:
            branches = self._state.repository(repo).protected
            (branches.add if protected else branches.discard)(branch)

    def head(self, repo: str, branch: str = "main") -> str | None:
        """The commit that a branch is at."""
        return self.store.head(repo, branch)

    # Pull requests, issues, comments

    def open_pull_request(
        self, repo: str, head: str, base: str, title: str, by: str, body: str | None = None, draft: bool = False
    ) -> int:
        """Open a pull request from `branch`, or `owner:branch` of a fork, and its number."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.open_pull(repository, head, base, title, body, user, draft=draft).number

    def close_pull_request(self, repo: str, number: int, by: str) -> None:
        """Close a pull request without merging it."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.close_issue(repository, number, user)

    close_issue = close_pull_request

    def reopen_pull_request(self, repo: str, number: int, by: str) -> None:
        """Open a closed pull request again."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.reopen_pull(repository, number, user)

    def set_draft(self, repo: str, number: int, by: str, draft: bool = True) -> None:
        """Make a pull request a draft, or none any more."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.set_draft(repository, number, draft, user)

    def retarget(self, repo: str, number: int, base: str, by: str) -> None:
        """Have a pull request go to another branch."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.retarget(repository, number, base, user)

    def merge_pull_request(self, repo: str, number: int, by: str, squash: bool = False) -> str:
        """Merge a pull request, by a merge commit or squashed into one, and the commit on the base branch."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.merge_pull(repository, number, user, squash=squash)

    def open_issue(self, repo: str, title: str, by: str, body: str | None = None) -> int:
        """Open a plain issue and its number."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.open_issue(repository, title, body, user).number

    def comment(self, repo: str, number: int, body: str, by: str) -> int:
        """Comment on a pull request or issue, and the comment's id."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.comment(repository, number, body, user).id

    def comment_on_commit(self, repo: str, sha: str, body: str, by: str) -> int:
        """Comment on a commit, and the comment's id."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.comment_on_commit(repository, sha, body, user).id

    def edit_comment(self, repo: str, comment_id: int, body: str, by: str) -> None:
        """Change a comment's text."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.edit_comment(repository, comment_id, body, user)

    def delete_comment(self, repo: str, comment_id: int, by: str) -> None:
        """Delete a comment."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.delete_comment(repository, comment_id, user)

    def review(
        self, repo: str, number: int, by: str, event: str = "APPROVE", body: str = "", commit: str | None = None
    ) -> int:
        """Review a pull request (APPROVE, REQUEST_CHANGES, COMMENT) at its head or at a commit; the review's id."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.review(repository, number, event, body, user, commit).id

    def dismiss_review(self, repo: str, number: int, review_id: int, by: str) -> None:
        """Dismiss somebody's review."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.dismiss_review(repository, number, review_id, user)

    def add_status(
        self, repo: str, sha: str, state: str, context: str, by: str, description: str | None = None
    ) -> None:
        """Set a commit status as some other program would."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.status(repository, sha, state, context, description, None, user)

    def add_check_run(
        self, repo: str, sha: str, name: str, by: str, status: str = "completed", conclusion: str | None = "success"
    ) -> int:
        """Say what a check makes of a commit, as some other App would; its id."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            return self._acts.check_run(repository, sha, name, status, conclusion, user).id

    def press(self, repo: str, sha: str, name: str, by: str, button: str = "") -> None:
        """Press a button below an App's check run; without one, GitHub's own to run it again."""
        with self._state.lock:
            repository, user = self._found(repo, by)
            self._acts.press(repository, sha, name, user, button)

    def check_runs(self, repo: str, sha: str) -> list[CheckRun]:
        """All check runs of a commit, oldest first."""
        with self._state.lock:
            return list(self._state.repository(repo).check_runs.get(sha, []))

    def account_id(self, login: str) -> str:
        """The number of an account, as text."""
        with self._state.lock:
            return str(self._state.user(login).id)

    def reactions(self, repo: str, comment_id: int) -> list[tuple[str, str]]:
        """Who reacted to a comment, and how."""
        with self._state.lock:
            return list(self._state.repository(repo).comments[comment_id].reactions)

    def _found(self, repo: str, login: str) -> tuple[Repository, User]:
        return self._state.repository(repo), self._state.user(login)

    # Looking

    @property
    def effects(self) -> list[Effect]:
        """Every successful write so far."""
        with self._state.lock:
            return list(self._state.effects)

    @property
    def requests(self) -> list[Seen]:
        """Every API request so far."""
        with self._state.lock:
            return list(self.app.seen)

    @property
    def deliveries(self) -> list[Delivery]:
        """Every webhook delivery so far, also those that were not sent yet."""
        return self._deliveries.log()

    def statuses(self, repo: str, sha: str, context: str | None = None) -> list[Status]:
        """A commit's statuses, oldest first."""
        with self._state.lock:
            found = self._state.repository(repo).statuses.get(sha, [])
            return [status for status in found if context in (None, status.context)]

    def comments(self, repo: str, number: int) -> list[Comment]:
        """The comments of a pull request or issue, oldest first."""
        with self._state.lock:
            repository = self._state.repository(repo)
            issue = self._state.issue(repository, number)
            return [comment for comment in repository.comments.values() if comment.issue is issue]

    def pull_request(self, repo: str, number: int) -> tuple[Issue, Pull]:
        """A pull request's two halves."""
        with self._state.lock:
            return self._state.pull(self._state.repository(repo), number)

    # Webhooks

    def settle(self, timeout: float = 30.0) -> None:
        """Wait until all webhooks that are not held back have been answered; blocks, so never on an event loop."""
        self._deliveries.settle(timeout)

    async def settled(self) -> None:
        """Like `settle`, for event loops."""
        await asyncio.to_thread(self._deliveries.settle)

    def redeliver(self, delivery_id: int) -> int:
        """Send a delivery again under the same GUID, and the new delivery's id."""
        with self._state.lock:
            return self._deliveries.redeliver(delivery_id).id

    def hold_deliveries(self) -> None:
        """Keep webhooks back until `release`."""
        self._deliveries.hold()

    def release(self, order: str = "kept", seed: int = 0) -> None:
        """Send the webhooks kept back, in the order `kept`, `reversed` or `shuffled`."""
        self._deliveries.release(order, seed)

    def duplicate_deliveries(self, times: int = 1) -> None:
        """Send the next webhooks twice."""
        self._deliveries.duplicate_next(times)

    def lose_deliveries(self, times: int = 1) -> None:
        """Let the next webhooks fail on their way."""
        self._deliveries.lose_next(times)

    # Faults of the API

    def fail_next(
        self,
        method: str,
        path_pattern: str,
        status: int,
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
        message: str = "Server Error",
    ) -> None:
        """Answer matching requests with an error and no effect; a pattern is like `*/statuses/*`, None is for ever."""
        self._fault(Fault(method, path_pattern, times, status, message, dict(headers or {})))

    def drop_next(self, method: str, path_pattern: str, times: int | None = 1) -> None:
        """Carry matching requests out and cut the connection instead of answering."""
        self._fault(Fault(method, path_pattern, times, cut=True))

    def delay_next(self, method: str, path_pattern: str, seconds: float, times: int | None = 1) -> None:
        """Answer matching requests late."""
        self._fault(Fault(method, path_pattern, times, latency=seconds))

    def limit_next(
        self, retry_after: int = 1, status: int = 403, method: str = "*", path_pattern: str = "*", times: int | None = 1
    ) -> None:
        """Answer matching requests with the secondary rate limit."""
        self.fail_next(method, path_pattern, status, {"Retry-After": str(retry_after)}, times, _SECONDARY)

    def _fault(self, fault: Fault) -> None:
        with self._state.lock:
            self.app.faults.append(fault)

    def clear_faults(self) -> None:
        """Let everything work again."""
        with self._state.lock:
            self.app.faults.clear()
            self.app.latency = 0.0

    @property
    def latency(self) -> float:
        """Seconds that every request waits before it is looked at."""
        return self.app.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self.app.latency = seconds

    @property
    def rate_limit(self) -> int:
        """Requests that each account has per hour."""
        return self._rates.limit

    @rate_limit.setter
    def rate_limit(self, limit: int) -> None:
        self._rates.limit = limit

    @property
    def tree_limit(self) -> int:
        """Entries after which a tree's listing is truncated."""
        return self._git.tree_limit

    @tree_limit.setter
    def tree_limit(self, limit: int) -> None:
        self._git.tree_limit = limit

    def _may_fetch(self, full_name: str, credentials: tuple[str, str] | None) -> bool:
        """Any user name with a token or a private SSH key as password; none is fine for what is public."""
        with self._state.lock:
            repository = self._state.repositories.get(full_name.lower())
            if credentials and "PRIVATE KEY" in credentials[1]:
                return repository is not None and self.access.may_fetch(repository, credentials[1])
            user = self._state.holder(credentials[1]) if credentials else None
            if credentials and user is None:
                return False
            if repository is None:
                return user is not None
            return self._state.may(repository, user, "read")
