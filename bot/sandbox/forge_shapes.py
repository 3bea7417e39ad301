"""How the sandbox forge's things look in JSON: GitHub's shapes."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Sequence
from typing import Any

from bot.sandbox.forge_state import (
    ROLES,
    CheckRun,
    Comment,
    Hook,
    Issue,
    Pull,
    Repository,
    Review,
    State,
    Status,
    User,
    iso,
)
from bot.sandbox.git import Change, CommitInfo, GitError, MergeConflict, Signature

Json = dict[str, Any]

_USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPOSITORY_URLS = {
    "url": "",
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
_REPOSITORY_FACTS: Json = {
    "description": None,
    "homepage": None,
    "size": 0,
    "stargazers_count": 0,
    "watchers_count": 0,
    "watchers": 0,
    "language": None,
    "has_issues": True,
    "has_projects": False,
    "has_downloads": True,
    "has_wiki": False,
    "has_pages": False,
    "has_discussions": False,
    "forks_count": 0,
    "forks": 0,
    "mirror_url": None,
    "archived": False,
    "disabled": False,
    "license": None,
    "allow_forking": True,
    "is_template": False,
    "web_commit_signoff_required": False,
    "topics": [],
}
_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_LEGACY_ROLES = {"triage": "read", "maintain": "write"}
_LARGEST_PATCH = 100_000


def node_id(kind: str, number: int | str) -> str:
    """An opaque id, as GraphQL would use it."""
    return base64.b64encode(f"{kind}{number}".encode()).decode()


class Shapes:
    """Writes the forge's things as GitHub does; `state.url` is where all links point."""

    def __init__(self, state: State) -> None:
        self.state = state

    def link(self, repository: Repository, tail: str = "") -> str:
        """The REST address of something in a repository."""
        return f"{self.state.url}/repos/{repository.full_name}{tail}"

    def page(self, repository: Repository, tail: str = "") -> str:
        """The address of the page that people see."""
        return f"{self.state.url}/{repository.full_name}{tail}"

    def user(self, user: User) -> Json:
        url = f"{self.state.url}/users/{user.login}"
        return {
            "login": user.login,
            "id": user.id,
            "node_id": node_id("U_", user.id),
            "avatar_url": f"{self.state.url}/avatars/{user.id}",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.state.url}/{user.login}",
            **{name: url + tail for name, tail in _USER_URLS.items()},
            "type": user.type,
            "user_view_type": "public",
            "site_admin": False,
        }

    def me(self, user: User) -> Json:
        """An account as it sees itself."""
        unknown = dict.fromkeys(("company", "location", "email", "hireable", "bio", "twitter_username"))
        counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
        times = {"created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z"}
        return {**self.user(user), "name": user.login, "blog": "", **unknown, **counts, **times}

    def permissions(self, repository: Repository, user: User | None) -> Json:
        role = ROLES.index(self.state.role(repository, user))
        names = {"admin": "admin", "maintain": "maintain", "push": "write", "triage": "triage", "pull": "read"}
        return {name: role >= ROLES.index(needed) for name, needed in names.items()}

    def permission(self, repository: Repository, user: User) -> Json:
        """What the collaborator permission endpoint answers: the old four words and the role."""
        role = self.state.role(repository, user)
        legacy = _LEGACY_ROLES.get(role, role)
        rights = self.permissions(repository, user)
        return {
            "permission": legacy,
            "role_name": role,
            "user": {**self.user(user), "permissions": rights, "role_name": role},
        }

    def repository(self, repository: Repository, viewer: User | None = None, *, rights: bool = False) -> Json:
        page = self.page(repository)
        result = {
            "id": repository.id,
            "node_id": node_id("R_", repository.id),
            "name": repository.name,
            "full_name": repository.full_name,
            "private": repository.private,
            "visibility": "private" if repository.private else "public",
            "owner": self.user(repository.owner),
            "html_url": page,
            "fork": repository.parent is not None,
            **{name: self.link(repository, tail) for name, tail in _REPOSITORY_URLS.items()},
            **_REPOSITORY_FACTS,
            "open_issues_count": (still_open := sum(i.state == "open" for i in repository.issues.values())),
            "open_issues": still_open,
            "git_url": f"{page.replace('http', 'git', 1)}.git",
            "ssh_url": f"git@sandbox:{repository.full_name}.git",
            "clone_url": f"{page}.git",
            "svn_url": page,
            "default_branch": repository.default_branch,
            "created_at": iso(repository.created_at),
            "updated_at": iso(repository.pushed_at),
            "pushed_at": iso(repository.pushed_at),
        }
        if rights:
            result |= {"permissions": self.permissions(repository, viewer), "network_count": 0, "subscribers_count": 0}
            if repository.parent:
                result |= {"parent": self.repository(repository.parent), "source": self.repository(repository.root)}
        return result

    # Commits

    def person(self, signature: Signature) -> Json:
        return {"name": signature.name, "email": signature.email, "date": iso(signature.at)}

    def account(self, signature: Signature) -> Json | None:
        """The account that a commit's author is, where one fits."""
        found = self.state.users.get(signature.name.lower())
        return self.user(found) if found else None

    def commit(self, repository: Repository, sha: str) -> Json:
        info = self.state.store.info(repository.full_name, sha)
        return {
            "sha": sha,
            "node_id": node_id("C_", sha),
            "commit": {
                "author": self.person(info.author),
                "committer": self.person(info.committer),
                "message": info.message,
                "tree": {"sha": info.tree, "url": self.link(repository, f"/git/trees/{info.tree}")},
                "url": self.link(repository, f"/git/commits/{sha}"),
                "comment_count": 0,
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "signature": None,
                    "payload": None,
                    "verified_at": None,
                },
            },
            "url": self.link(repository, f"/commits/{sha}"),
            "html_url": self.page(repository, f"/commit/{sha}"),
            "comments_url": self.link(repository, f"/commits/{sha}/comments"),
            "author": self.account(info.author),
            "committer": self.account(info.committer),
            "parents": [self.parent(repository, parent) for parent in info.parents],
        }

    def parent(self, repository: Repository, sha: str) -> Json:
        url, page = self.link(repository, f"/commits/{sha}"), self.page(repository, f"/commit/{sha}")
        return {"sha": sha, "url": url, "html_url": page}

    def git_commit(self, repository: Repository, sha: str) -> Json:
        """A commit in the words of the Git database endpoints."""
        inner = self.commit(repository, sha)["commit"]
        names = ("author", "committer", "message", "tree", "verification")
        parents = [self.parent(repository, parent) for parent in self.info(repository, sha).parents]
        own = {"sha": sha, "node_id": node_id("C_", sha), "url": inner["url"], "parents": parents}
        return {**own, "html_url": self.page(repository, f"/commit/{sha}"), **{name: inner[name] for name in names}}

    def info(self, repository: Repository, sha: str) -> CommitInfo:
        return self.state.store.info(repository.full_name, sha)

    def changes(self, repository: Repository, old: str | None, new: str) -> list[Json]:
        """The files of a commit, a comparison or a pull request."""
        found = self.state.store.diff(repository.full_name, old, new)
        return [self.change(repository, change, new) for change in found]

    def change(self, repository: Repository, change: Change, at: str) -> Json:
        patch, added, removed = self._patch(repository, change)
        page = self.page(repository, f"/blob/{at}/{change.path}")
        result = {
            "sha": change.new or change.old,
            "filename": change.path,
            "status": change.status,
            "additions": added,
            "deletions": removed,
            "changes": added + removed,
            "blob_url": page,
            "raw_url": page.replace("/blob/", "/raw/", 1),
            "contents_url": self.link(repository, f"/contents/{change.path}?ref={at}"),
        }
        if patch:
            result["patch"] = patch
        if change.previous:
            result["previous_filename"] = change.previous
        return result

    def _patch(self, repository: Repository, change: Change) -> tuple[str, int, int]:
        name, store = repository.full_name, self.state.store
        if change.status == "renamed":
            return "", 0, 0
        try:
            old = store.blob(name, change.old) if change.old else b""
            new = store.blob(name, change.new) if change.new else b""
        except GitError:
            return "", 0, 0
        if b"\0" in old + new or len(old) + len(new) > _LARGEST_PATCH:
            return "", 0, 0
        before, after = old.decode(errors="replace").splitlines(), new.decode(errors="replace").splitlines()
        lines = list(difflib.unified_diff(before, after, lineterm=""))[2:]
        added, removed = (sum(line.startswith(mark) for line in lines) for mark in "+-")
        return "\n".join(lines), added, removed

    # Pull requests, issues, comments

    def association(self, repository: Repository, user: User) -> str:
        if user is repository.owner:
            return "OWNER"
        return "COLLABORATOR" if repository.roles.get(user.login.lower(), "none") != "none" else "NONE"

    def issue(self, repository: Repository, issue: Issue) -> Json:
        url = self.link(repository, f"/issues/{issue.number}")
        kind = "pull" if issue.pull else "issues"
        result = {
            "url": url,
            "repository_url": self.link(repository),
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "timeline_url": f"{url}/timeline",
            "html_url": self.page(repository, f"/{kind}/{issue.number}"),
            **self._said(repository, issue),
            "id": issue.id,
            "comments": sum(comment.issue is issue for comment in repository.comments.values()),
            "reactions": self.reactions(url),
            "performed_via_github_app": None,
            "state_reason": None if issue.pull or issue.closed_at is None else "completed",
        }
        if issue.pull:
            result["draft"] = issue.pull.draft
            result["pull_request"] = {
                "url": self.link(repository, f"/pulls/{issue.number}"),
                "html_url": result["html_url"],
                "diff_url": f"{result['html_url']}.diff",
                "patch_url": f"{result['html_url']}.patch",
                "merged_at": iso(issue.pull.merged_at),
            }
        return result

    def _said(self, repository: Repository, issue: Issue) -> Json:
        return {
            "id": issue.pull.id if issue.pull else issue.id,
            "node_id": node_id("I_", issue.id),
            "number": issue.number,
            "title": issue.title,
            "user": self.user(issue.user),
            "labels": [],
            "state": issue.state,
            "locked": False,
            "assignee": None,
            "assignees": [],
            "milestone": None,
            "created_at": iso(issue.created_at),
            "updated_at": iso(issue.updated_at),
            "closed_at": iso(issue.closed_at),
            "author_association": self.association(repository, issue.user),
            "active_lock_reason": None,
            "body": issue.body,
        }

    def reactions(self, url: str, given: Sequence[tuple[str, str]] = ()) -> Json:
        counts = {content: sum(each == content for _, each in given) for content in _REACTIONS}
        return {"url": f"{url}/reactions", "total_count": len(given), **counts}

    def side(self, repository: Repository, branch: str, sha: str, *, hidden: bool = False) -> Json:
        """The head or base of a pull request; `hidden`: the reader may not see the repository."""
        owner = repository.owner
        names = {"label": f"{owner.login}:{branch}", "ref": branch, "sha": sha}
        return {**names, "user": self.user(owner), "repo": None if hidden else self.repository(repository)}

    def pull(self, repository: Repository, issue: Issue, pull: Pull) -> Json:
        """A pull request as lists show it."""
        url = self.link(repository, f"/pulls/{issue.number}")
        page = self.page(repository, f"/pull/{issue.number}")
        links = {
            "url": url,
            "html_url": page,
            "issue_url": self.link(repository, f"/issues/{issue.number}"),
            "comments_url": self.link(repository, f"/issues/{issue.number}/comments"),
            "review_comments_url": f"{url}/comments",
            "review_comment_url": self.link(repository, "/pulls/comments{/number}"),
            "commits_url": f"{url}/commits",
            "statuses_url": self.link(repository, f"/statuses/{pull.head_sha}"),
        }
        names = {"self": "url", "html": "html_url", "issue": "issue_url", "comments": "comments_url"}
        names |= {"review_comments": "review_comments_url", "review_comment": "review_comment_url"}
        names |= {"commits": "commits_url", "statuses": "statuses_url"}
        hidden = pull.head_repository is not repository and pull.head_repository.private
        return {
            **links,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            **self._said(repository, issue),
            "merged_at": iso(pull.merged_at),
            "merge_commit_sha": pull.merge_sha,
            "requested_reviewers": [],
            "requested_teams": [],
            "draft": pull.draft,
            "head": self.side(pull.head_repository, pull.head_branch, pull.head_sha, hidden=hidden),
            "base": self.side(repository, pull.base_branch, pull.base_sha),
            "_links": {name: {"href": links[key]} for name, key in names.items()},
            "auto_merge": None,
        }

    def whole_pull(self, repository: Repository, issue: Issue, pull: Pull) -> Json:
        """A pull request asked for by its number, with what has to be computed."""
        changed = self.changes(repository, self.pull_base(repository, pull), pull.head_sha)
        mergeable = self.mergeable(repository, pull) if issue.closed_at is None else None
        states = {True: "clean", False: "dirty", None: "unknown"}
        return {
            **self.pull(repository, issue, pull),
            "merged": pull.merged_at is not None,
            "mergeable": mergeable,
            "rebaseable": mergeable,
            "mergeable_state": states[mergeable],
            "merged_by": self.user(pull.merged_by) if pull.merged_by else None,
            "comments": sum(comment.issue is issue for comment in repository.comments.values()),
            "review_comments": 0,
            "maintainer_can_modify": False,
            "commits": len(self.pull_commits(repository, pull)),
            "additions": sum(change["additions"] for change in changed),
            "deletions": sum(change["deletions"] for change in changed),
            "changed_files": len(changed),
        }

    def pull_base(self, repository: Repository, pull: Pull) -> str | None:
        """Where a pull request left its base branch."""
        return self.state.store.merge_base(repository.full_name, pull.base_sha, pull.head_sha)

    def pull_commits(self, repository: Repository, pull: Pull) -> list[str]:
        return self.state.store.history(repository.full_name, pull.head_sha, pull.base_sha)

    def mergeable(self, repository: Repository, pull: Pull) -> bool:
        store = self.state.store
        base = store.head(repository.full_name, pull.base_branch)
        if base is None:
            return False
        try:
            store.merge_changes(repository.full_name, base, pull.head_sha)
        except MergeConflict:
            return False
        return True

    def comment(self, repository: Repository, comment: Comment) -> Json:
        who = {"user": self.user(comment.user), "author_association": self.association(repository, comment.user)}
        times = {"created_at": iso(comment.created_at), "updated_at": iso(comment.updated_at)}
        own = {"id": comment.id, "node_id": node_id("IC_", comment.id), "body": comment.body, **who, **times}
        if comment.issue is None:
            page = self.page(repository, f"/commit/{comment.commit}#commitcomment-{comment.id}")
            place = {"path": None, "position": None, "line": None, "commit_id": comment.commit}
            return {"url": self.link(repository, f"/comments/{comment.id}"), "html_url": page, **own, **place}
        url = self.link(repository, f"/issues/comments/{comment.id}")
        kind = "pull" if comment.issue.pull else "issues"
        return {
            "url": url,
            "html_url": self.page(repository, f"/{kind}/{comment.issue.number}#issuecomment-{comment.id}"),
            "issue_url": self.link(repository, f"/issues/{comment.issue.number}"),
            **own,
            "reactions": self.reactions(url, comment.reactions),
            "performed_via_github_app": None,
        }

    def review(self, repository: Repository, number: int, review: Review) -> Json:
        page = self.page(repository, f"/pull/{number}#pullrequestreview-{review.id}")
        pull = self.link(repository, f"/pulls/{number}")
        return {
            "id": review.id,
            "node_id": node_id("PRR_", review.id),
            "user": self.user(review.user),
            "body": review.body,
            "state": review.state,
            "html_url": page,
            "pull_request_url": pull,
            "author_association": self.association(repository, review.user),
            "_links": {"html": {"href": page}, "pull_request": {"href": pull}},
            "submitted_at": iso(review.submitted_at),
            "commit_id": review.commit,
        }

    # Statuses and hooks

    def status(self, repository: Repository, status: Status) -> Json:
        return {
            "url": self.link(repository, f"/statuses/{status.sha}"),
            "avatar_url": self.user(status.creator)["avatar_url"],
            "id": status.id,
            "node_id": node_id("SC_", status.id),
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": iso(status.created_at),
            "updated_at": iso(status.created_at),
            "creator": self.user(status.creator),
        }

    def check_run(self, repository: Repository, run: CheckRun) -> Json:
        url, done = self.link(repository, f"/check-runs/{run.id}"), run.status == "completed"
        return {
            "id": run.id,
            "head_sha": run.sha,
            "node_id": node_id("CR_", run.id),
            "url": url,
            "html_url": self.page(repository, f"/runs/{run.id}"),
            "status": run.status,
            "conclusion": run.conclusion if done else None,
            "started_at": iso(run.started_at),
            "completed_at": iso(run.started_at) if done else None,
            "name": run.name,
            "external_id": run.external_id,
            "output": {"title": None, "summary": None, "text": None, **run.output},
            "app": {"id": run.app_id, "slug": run.app},
            "pull_requests": [],
        }

    def hook(self, repository: Repository, hook: Hook) -> Json:
        url = self.link(repository, f"/hooks/{hook.id}")
        config = {"url": hook.url, "content_type": hook.content_type, "insecure_ssl": hook.insecure_ssl}
        if hook.secret:
            config["secret"] = "********"
        code, status, message = hook.last_response
        return {
            "type": "Repository",
            "id": hook.id,
            "name": "web",
            "active": hook.active,
            "events": list(hook.events),
            "config": config,
            "updated_at": iso(hook.updated_at),
            "created_at": iso(hook.created_at),
            "url": url,
            "test_url": f"{url}/test",
            "ping_url": f"{url}/pings",
            "deliveries_url": f"{url}/deliveries",
            "last_response": {"code": code, "status": status, "message": message},
        }
