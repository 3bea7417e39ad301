"""The bodies of the sandbox forge's webhooks: GitHub's payloads."""

from __future__ import annotations

from typing import Any

from bot.sandbox.forge_shapes import Json, Shapes
from bot.sandbox.forge_state import ZERO, CheckRun, Comment, Hook, Issue, Pull, Repository, Review, Status, User, iso
from bot.sandbox.git import Signature

_MOST_COMMITS = 20


class Events:
    """Writes payloads; every one has `repository` and `sender`."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._store = shapes.state.store

    def _common(self, repository: Repository, sender: User) -> Json:
        shapes = self._shapes
        result: Json = {"repository": shapes.repository(repository)}
        if repository.owner.type == "Organization":
            organization = shapes.user(repository.owner)
            result["organization"] = {name: organization[name] for name in ("login", "id", "node_id", "avatar_url")}
        return {**result, "sender": shapes.user(sender)}

    def ping(self, repository: Repository, hook: Hook, sender: User) -> Json:
        about = {"zen": "Keep it logically awesome.", "hook_id": hook.id}
        return {**about, "hook": self._shapes.hook(repository, hook), **self._common(repository, sender)}

    # Refs

    def push(
        self, repository: Repository, branch: str, before: str | None, after: str | None, pusher: User, forced: bool
    ) -> Json:
        """What a push says; a new branch lists only commits that no branch had before."""
        commits = self._pushed(repository, branch, before, after)
        span = f"{(before or ZERO)[:12]}...{(after or ZERO)[:12]}"
        repo_url = self._shapes.page(repository)
        common = self._common(repository, pusher)
        common["repository"] |= self._push_repository(repository)
        return {
            "ref": f"refs/heads/{branch}",
            "before": before or ZERO,
            "after": after or ZERO,
            **common,
            "pusher": {"name": pusher.login, "email": _email(pusher)},
            "created": before is None,
            "deleted": after is None,
            "forced": forced,
            "base_ref": None,
            "compare": f"{repo_url}/compare/{span}",
            "commits": [self._pushed_commit(repository, sha) for sha in commits[-_MOST_COMMITS:]],
            "head_commit": self._pushed_commit(repository, after) if after else None,
        }

    def _push_repository(self, repository: Repository) -> Json:
        """Pushes alone write these times as numbers and say more about the owner."""
        owner = {"name": repository.owner.login, "email": _email(repository.owner)}
        return {
            "created_at": int(repository.created_at),
            "pushed_at": int(repository.pushed_at),
            "owner": {**owner, **self._shapes.user(repository.owner)},
            "url": self._shapes.page(repository),
            "stargazers": 0,
            "master_branch": repository.default_branch,
        }

    def _pushed(self, repository: Repository, branch: str, before: str | None, after: str | None) -> list[str]:
        if after is None:
            return []
        name = repository.full_name
        commits = self._store.history(name, after, before)
        if before is None:
            others = [sha for other, sha in self._store.branches(name).items() if other != branch]
            known = {sha for head in others for sha in self._store.history(name, head)}
            commits = [sha for sha in commits if sha not in known]
        return commits

    def _pushed_commit(self, repository: Repository, sha: str) -> Json:
        info = self._store.info(repository.full_name, sha)
        changes = self._store.diff(repository.full_name, info.parents[0] if info.parents else None, sha)
        added = [c.path for c in changes if c.status in ("added", "renamed")]
        removed = [c.previous or c.path for c in changes if c.status in ("removed", "renamed")]
        return {
            "id": sha,
            "tree_id": info.tree,
            "distinct": True,
            "message": info.message,
            "timestamp": iso(info.committer.at),
            "url": self._shapes.page(repository, f"/commit/{sha}"),
            "author": self._person(info.author),
            "committer": self._person(info.committer),
            "added": added,
            "removed": removed,
            "modified": [c.path for c in changes if c.status == "modified"],
        }

    def _person(self, signature: Signature) -> Json:
        result: Json = {"name": signature.name, "email": signature.email, "date": iso(signature.at)}
        account = self._shapes.account(signature)
        return {**result, "username": account["login"]} if account else result

    def branch(self, repository: Repository, branch: str, sender: User, *, created: bool) -> Json:
        """The body of `create` and `delete`."""
        result: Json = {"ref": branch, "ref_type": "branch", "full_ref": f"refs/heads/{branch}"}
        if created:
            result |= {"master_branch": repository.default_branch, "description": None}
        return {**result, "pusher_type": "user", **self._common(repository, sender)}

    # Talk

    def pull_request(self, repository: Repository, issue: Issue, pull: Pull, sender: User, action: str) -> Json:
        whole = self._shapes.whole_pull(repository, issue, pull)
        about = {"action": action, "number": issue.number, "pull_request": whole}
        return {**about, **self._common(repository, sender)}

    def issue(self, repository: Repository, issue: Issue, sender: User, action: str) -> Json:
        return {"action": action, "issue": self._shapes.issue(repository, issue), **self._common(repository, sender)}

    def comment(self, repository: Repository, comment: Comment, sender: User, action: str) -> Json:
        """The body of `issue_comment`, or of `commit_comment` for a commit's."""
        said = {"action": action, "comment": self._shapes.comment(repository, comment)}
        if comment.issue is not None:
            said["issue"] = self._shapes.issue(repository, comment.issue)
        return {**said, **self._common(repository, sender)}

    def review(self, repository: Repository, issue: Issue, pull: Pull, review: Review) -> Json:
        said = self._shapes.review(repository, issue.number, review)
        said["state"] = review.state.lower()
        about: Json = {
            "action": "submitted",
            "review": said,
            "pull_request": self._shapes.pull(repository, issue, pull),
        }
        return {**about, **self._common(repository, review.user)}

    def check_run(self, repository: Repository, run: CheckRun, sender: User, action: str, button: str = "") -> Json:
        about: Json = {"action": action, "check_run": self._shapes.check_run(repository, run)}
        if button:
            about["requested_action"] = {"identifier": button}
        return {**about, **self._common(repository, sender)}

    def status(self, repository: Repository, status: Status) -> Json:
        shapes, name = self._shapes, repository.full_name
        branches = [
            {
                "name": branch,
                "commit": {"sha": sha, "url": shapes.link(repository, f"/commits/{sha}")},
                "protected": False,
            }
            for branch, sha in self._store.branches(name).items()
            if self._store.is_ancestor(name, status.sha, sha)
        ]
        shown = shapes.status(repository, status)
        kept = ("id", "state", "description", "target_url", "context", "created_at", "updated_at", "avatar_url")
        about: dict[str, Any] = {"sha": status.sha, "name": name, **{key: shown[key] for key in kept}}
        about |= {"commit": shapes.commit(repository, status.sha), "branches": branches[:10]}
        return {**about, **self._common(repository, status.creator)}


def _email(user: User) -> str:
    return f"{user.id}+{user.login}@users.noreply.example.test"
