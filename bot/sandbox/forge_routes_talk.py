"""The sandbox forge's endpoints about pull requests, comments, statuses and webhooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from bot.sandbox.forge_acts import Acts
from bot.sandbox.forge_hooks import Deliveries
from bot.sandbox.forge_http import Reply, RepositoryHandler, Request, Router, after_cursor, given, optional, paged
from bot.sandbox.forge_routes_git import on_repository
from bot.sandbox.forge_shapes import Json, Shapes
from bot.sandbox.forge_state import Comment, Hook, Issue, Pull, Refusal, Repository, State, Status, invalid, iso

_REPOSITORY = "/repos/{owner}/{repo}"
_MOST_PULL_COMMITS = 250
_MOST_PULL_FILES = 3000

_Dated = TypeVar("_Dated", Issue, Comment)


class TalkRoutes:
    """Reads and writes of what people and programs say about code."""

    def __init__(self, state: State, shapes: Shapes, acts: Acts, deliveries: Deliveries) -> None:
        self._state = state
        self._shapes = shapes
        self._acts = acts
        self._deliveries = deliveries

    def add_to(self, router: Router) -> None:
        """Register every endpoint; those with a fixed word come before those with a number in its place."""

        def add(method: str, tail: str, handler: RepositoryHandler, needed: str = "read") -> None:
            login = method != "GET"
            router.add(method, _REPOSITORY + tail, on_repository(self._state, needed, handler, login=login))

        add("GET", "/pulls", self._pulls)
        add("POST", "/pulls", self._add_pull)
        add("GET", "/pulls/{number}", self._pull)
        add("GET", "/pulls/{number}/commits", self._pull_commits)
        add("GET", "/pulls/{number}/files", self._pull_files)
        add("GET", "/pulls/{number}/reviews", self._pull_reviews)
        add("GET", "/issues", self._issues)
        add("GET", "/issues/comments", self._every_comment)
        add("GET", "/issues/comments/{id}", self._comment)
        add("PATCH", "/issues/comments/{id}", self._edit_comment)
        add("DELETE", "/issues/comments/{id}", self._delete_comment)
        add("POST", "/issues/comments/{id}/reactions", self._react)
        add("POST", "/comments/{id}/reactions", self._react_on_commit)
        add("GET", "/issues/{number}", self._issue)
        add("GET", "/issues/{number}/comments", self._comments)
        add("POST", "/issues/{number}/comments", self._add_comment)
        add("GET", "/commits/{ref}/pulls", self._commit_pulls)
        add("GET", "/commits/{sha}/comments", self._commit_comments)
        add("POST", "/commits/{sha}/comments", self._add_commit_comment)
        add("POST", "/statuses/{sha}", self._add_status, "write")
        add("GET", "/commits/{ref:path}/statuses", self._statuses)
        add("GET", "/commits/{ref:path}/status", self._combined_status)
        self._add_hooks_to(router)

    def _add_hooks_to(self, router: Router) -> None:
        def add(method: str, tail: str, handler: RepositoryHandler) -> None:
            handle = on_repository(self._state, "admin", handler, login=True)
            router.add(method, f"{_REPOSITORY}/hooks{tail}", handle)

        add("GET", "", self._hooks)
        add("POST", "", self._add_hook)
        add("GET", "/{id}", self._hook)
        add("PATCH", "/{id}", self._edit_hook)
        add("DELETE", "/{id}", self._delete_hook)
        add("POST", "/{id}/pings", self._ping)
        add("GET", "/{id}/deliveries", self._hook_deliveries)
        add("GET", "/{id}/deliveries/{delivery}", self._hook_delivery)
        add("POST", "/{id}/deliveries/{delivery}/attempts", self._redeliver)

    # Pull requests and issues

    def _pulls(self, request: Request, repository: Repository) -> Reply:
        query, wanted = request.query, request.query.get("state", "open")
        if wanted not in ("open", "closed", "all"):
            raise invalid("PullRequest", "state", "invalid")
        issues = _ordered(repository.issues.values(), query.get("sort"), query.get("direction", "desc"))
        found = [
            (issue, issue.pull)
            for issue in issues
            if issue.pull and wanted in ("all", issue.state) and _asked_for(issue.pull, query)
        ]
        return paged(request, found, lambda item: self._shapes.pull(repository, *item))

    def _add_pull(self, request: Request, repository: Repository) -> Reply:
        body, by = request.json(), request.actor()
        head, base, title = (given(body, "PullRequest", name) for name in ("head", "base", "title"))
        text, draft = optional(body, "PullRequest", "body"), body.get("draft") is True
        issue = self._acts.open_pull(repository, head, base, title, text, by, draft=draft)
        _, pull = self._state.pull(repository, issue.number)
        shown = self._shapes.whole_pull(repository, issue, pull)
        return Reply(201, shown, {"Location": shown["url"]})

    def _pull(self, request: Request, repository: Repository) -> Reply:
        issue, pull = self._state.pull(repository, request.number("number"))
        return Reply(200, self._shapes.whole_pull(repository, issue, pull))

    def _pull_commits(self, request: Request, repository: Repository) -> Reply:
        _, pull = self._state.pull(repository, request.number("number"))
        found = self._shapes.pull_commits(repository, pull)[:_MOST_PULL_COMMITS]
        return paged(request, found, lambda sha: self._shapes.commit(repository, sha))

    def _pull_files(self, request: Request, repository: Repository) -> Reply:
        _, pull = self._state.pull(repository, request.number("number"))
        base = self._shapes.pull_base(repository, pull)
        found = self._state.store.diff(repository.full_name, base, pull.head_sha)[:_MOST_PULL_FILES]
        return paged(request, found, lambda change: self._shapes.change(repository, change, pull.head_sha))

    def _pull_reviews(self, request: Request, repository: Repository) -> Reply:
        issue, _ = self._state.pull(repository, request.number("number"))
        found = repository.reviews.get(issue.number, [])
        return paged(request, found, lambda review: self._shapes.review(repository, issue.number, review))

    def _commit_pulls(self, request: Request, repository: Repository) -> Reply:
        name = request.params["ref"]
        sha = self._state.store.resolve(repository.full_name, name)
        if sha is None:
            raise Refusal(422, f"No commit found for SHA: {name}")
        issues = _ordered(repository.issues.values(), None, "desc")
        found = [(issue, issue.pull) for issue in issues if issue.pull and self._brought(repository, issue.pull, sha)]
        return paged(request, found, lambda item: self._shapes.pull(repository, *item))

    def _brought(self, repository: Repository, pull: Pull, sha: str) -> bool:
        """Whether a commit is the head of a request, or came with its merge."""
        if pull.merged_at is None:
            return pull.head_sha == sha
        return sha == pull.merge_sha or sha in self._shapes.pull_commits(repository, pull)

    def _issues(self, request: Request, repository: Repository) -> Reply:
        wanted = request.query.get("state", "open")
        issues = _ordered(repository.issues.values(), None, request.query.get("direction", "desc"))
        found = [issue for issue in issues if wanted in ("all", issue.state)]
        return paged(request, found, lambda issue: self._shapes.issue(repository, issue))

    def _issue(self, request: Request, repository: Repository) -> Reply:
        issue = self._state.issue(repository, request.number("number"))
        return Reply(200, self._shapes.issue(repository, issue))

    # Comments

    def _shown(self, request: Request, repository: Repository, comments: Sequence[Comment]) -> Reply:
        since = request.query.get("since", "")
        found = [comment for comment in comments if (iso(comment.updated_at) or "") >= since]
        return paged(request, found, lambda comment: self._shapes.comment(repository, comment))

    def _comments(self, request: Request, repository: Repository) -> Reply:
        issue = self._state.issue(repository, request.number("number"))
        return self._shown(request, repository, [c for c in repository.comments.values() if c.issue is issue])

    def _every_comment(self, request: Request, repository: Repository) -> Reply:
        query = request.query
        found = [comment for comment in repository.comments.values() if comment.issue]
        return self._shown(request, repository, _ordered(found, query.get("sort"), query.get("direction", "asc")))

    def _comment(self, request: Request, repository: Repository) -> Reply:
        comment = self._acts.find_comment(repository, request.number("id"))
        return Reply(200, self._shapes.comment(repository, comment))

    def _add_comment(self, request: Request, repository: Repository) -> Reply:
        body = given(request.json(), "IssueComment", "body")
        comment = self._acts.comment(repository, request.number("number"), body, request.actor())
        shown = self._shapes.comment(repository, comment)
        return Reply(201, shown, {"Location": shown["url"]})

    def _edit_comment(self, request: Request, repository: Repository) -> Reply:
        body = given(request.json(), "IssueComment", "body")
        comment = self._acts.edit_comment(repository, request.number("id"), body, request.actor())
        return Reply(200, self._shapes.comment(repository, comment))

    def _delete_comment(self, request: Request, repository: Repository) -> Reply:
        self._acts.delete_comment(repository, request.number("id"), request.actor())
        return Reply(204)

    def _commit_comments(self, request: Request, repository: Repository) -> Reply:
        sha = request.params["sha"]
        return self._shown(request, repository, [c for c in repository.comments.values() if c.commit == sha])

    def _add_commit_comment(self, request: Request, repository: Repository) -> Reply:
        body = given(request.json(), "CommitComment", "body")
        comment = self._acts.comment_on_commit(repository, request.params["sha"], body, request.actor())
        return Reply(201, self._shapes.comment(repository, comment))

    def _react(self, request: Request, repository: Repository) -> Reply:
        return self._reacted(request, repository, self._acts.find_comment(repository, request.number("id")))

    def _react_on_commit(self, request: Request, repository: Repository) -> Reply:
        comment = self._acts.find_comment(repository, request.number("id"), on_commit=True)
        return self._reacted(request, repository, comment)

    def _reacted(self, request: Request, repository: Repository, comment: Comment) -> Reply:
        content = given(request.json(), "Reaction", "content")
        new = self._acts.react(repository, comment, content, request.actor())
        shown = {"id": comment.id, "content": content, "user": self._shapes.user(request.actor())}
        return Reply(201 if new else 200, shown)

    # Statuses

    def _add_status(self, request: Request, repository: Repository) -> Reply:
        body = request.json()
        status = self._acts.status(
            repository,
            request.params["sha"],
            given(body, "Status", "state"),
            optional(body, "Status", "context") or "default",
            optional(body, "Status", "description"),
            optional(body, "Status", "target_url"),
            request.actor(),
        )
        shown = self._shapes.status(repository, status)
        return Reply(201, shown, {"Location": shown["url"]})

    def _newest_first(self, request: Request, repository: Repository) -> tuple[str, list[Status]]:
        name = request.params["ref"]
        sha = self._state.store.resolve(repository.full_name, name)
        if sha is None:
            raise Refusal(404, f"No commit found for SHA: {name}")
        return sha, repository.statuses.get(sha, [])[::-1]

    def _statuses(self, request: Request, repository: Repository) -> Reply:
        _, found = self._newest_first(request, repository)
        return paged(request, found, lambda status: self._shapes.status(repository, status))

    def _combined_status(self, request: Request, repository: Repository) -> Reply:
        sha, every = self._newest_first(request, repository)
        newest: dict[str, Status] = {}
        for status in every:
            newest.setdefault(status.context, status)
        states = {status.state for status in newest.values()}
        state = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
        url = self._shapes.link(repository, f"/commits/{sha}")
        more: Json = {"state": state, "sha": sha, "total_count": len(newest), "commit_url": url, "url": f"{url}/status"}
        more["repository"] = self._shapes.repository(repository)

        def shape(status: Status) -> Json:
            shown = self._shapes.status(repository, status)
            del shown["creator"]
            return shown

        return paged(request, list(newest.values()), shape, "statuses", **more)

    # Webhooks

    def _found(self, request: Request, repository: Repository) -> Hook:
        hook = repository.hooks.get(request.number("id"))
        if hook is None:
            raise Refusal(404, "Not Found")
        return hook

    def _hooks(self, request: Request, repository: Repository) -> Reply:
        return paged(request, list(repository.hooks.values()), lambda hook: self._shapes.hook(repository, hook))

    def _hook(self, request: Request, repository: Repository) -> Reply:
        return Reply(200, self._shapes.hook(repository, self._found(request, repository)))

    def _add_hook(self, request: Request, repository: Repository) -> Reply:
        body = request.json()
        config, events = body.get("config"), body.get("events", ["push"])
        if not isinstance(config, dict) or not isinstance(events, list):
            raise invalid("Hook", "config", "missing_field")
        names = [str(event) for event in events]
        active = body.get("active", True) is not False
        hook = self._acts.create_hook(repository, config, names, active, request.actor())
        shown = self._shapes.hook(repository, hook)
        return Reply(201, shown, {"Location": shown["url"]})

    def _edit_hook(self, request: Request, repository: Repository) -> Reply:
        hook = self._acts.edit_hook(repository, self._found(request, repository), request.json(), request.actor())
        return Reply(200, self._shapes.hook(repository, hook))

    def _delete_hook(self, request: Request, repository: Repository) -> Reply:
        self._acts.delete_hook(repository, self._found(request, repository), request.actor())
        return Reply(204)

    def _ping(self, request: Request, repository: Repository) -> Reply:
        self._acts.ping(repository, self._found(request, repository), request.actor())
        return Reply(204)

    def _hook_deliveries(self, request: Request, repository: Repository) -> Reply:
        hook = self._found(request, repository)
        sent = [d for d in reversed(self._deliveries.log()) if d.hook is hook and d.delivered_at is not None]
        return after_cursor(request, sent, lambda delivery: delivery.summary())

    def _hook_delivery(self, request: Request, repository: Repository) -> Reply:
        hook = self._found(request, repository)
        delivery = self._deliveries.find(request.number("delivery"))
        if delivery.hook is not hook:
            raise Refusal(404, "Not Found")
        return Reply(200, delivery.details())

    def _redeliver(self, request: Request, repository: Repository) -> Reply:
        hook = self._found(request, repository)
        delivery = self._deliveries.find(request.number("delivery"))
        if delivery.hook is not hook:
            raise Refusal(404, "Not Found")
        self._deliveries.redeliver(delivery.id)
        return Reply(202, {})


def _asked_for(pull: Pull, query: Mapping[str, str]) -> bool:
    label = f"{pull.head_repository.owner.login}:{pull.head_branch}"
    return query.get("base", pull.base_branch) == pull.base_branch and query.get("head", label) == label


def _ordered(items: Iterable[_Dated], sort: str | None, direction: str) -> list[_Dated]:
    """Oldest or newest first, by making or by last change."""
    by_change = sort == "updated"
    key = (lambda item: (item.updated_at, item.id)) if by_change else (lambda item: (item.created_at, item.id))
    return sorted(items, key=key, reverse=direction == "desc")
