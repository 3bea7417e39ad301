"""The sandbox forge's endpoints about check runs, which only an App can make, and only the App that made one change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.sandbox.forge_acts import Acts
from bot.sandbox.forge_http import Reply, Request, Router, given, optional, paged
from bot.sandbox.forge_routes_git import on_repository
from bot.sandbox.forge_shapes import Shapes
from bot.sandbox.forge_state import CheckRun, Grant, Refusal, Repository, State, invalid

_REPOSITORY = "/repos/{owner}/{repo}"
_CONCLUSIONS = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out")
_STATUSES = ("queued", "in_progress", "completed")
_MOST_ACTIONS = 3
_LENGTHS = {"label": 20, "description": 40, "identifier": 20}
_LONGEST = 65_535  # of a summary
_RESOURCE = "CheckRun"


class CheckRoutes:
    """Reads and writes of check runs."""

    def __init__(self, state: State, shapes: Shapes, acts: Acts) -> None:
        self._state = state
        self._shapes = shapes
        self._acts = acts

    def add_to(self, router: Router) -> None:
        """Register every endpoint."""
        listed = on_repository(self._state, "read", self._listed)
        router.add("GET", f"{_REPOSITORY}/commits/{{ref:path}}/check-runs", listed)
        router.add("POST", f"{_REPOSITORY}/check-runs", self._add)
        router.add("PATCH", f"{_REPOSITORY}/check-runs/{{id}}", self._change)

    def _listed(self, request: Request, repository: Repository) -> Reply:
        """The newest run of each check of each App, or with `filter=all` every one."""
        name, query = request.params["ref"], request.query
        sha = self._state.store.resolve(repository.full_name, name)
        if sha is None:
            raise Refusal(422, f"No commit found for SHA: {name}")
        runs = repository.check_runs.get(sha, [])
        newest = {(run.app_id, run.app, run.name): run for run in runs}
        found = [
            run
            for run in (runs if query.get("filter") == "all" else newest.values())
            if query.get("check_name", run.name) == run.name and query.get("app_id", str(run.app_id)) == str(run.app_id)
        ][::-1]
        shape = lambda run: self._shapes.check_run(repository, run)  # noqa: E731 -- as the others, only longer
        return paged(request, found, shape, "check_runs", total_count=len(found))

    def _granted(self, request: Request) -> tuple[Repository, Grant]:
        """Whom the App's token speaks for; people's tokens make no check runs."""
        user = request.actor()
        repository = self._state.repository(f"{request.params['owner']}/{request.params['repo']}")
        grant = self._state.grants.get(user.login)
        if grant is None:
            raise Refusal(403, "You must authenticate via a GitHub App.")
        if grant.permissions.get("checks") != "write" or repository.full_name not in grant.repositories:
            raise Refusal(403, "Resource not accessible by integration")
        return repository, grant

    def _add(self, request: Request) -> Reply:
        repository, grant = self._granted(request)
        body = request.json()
        name, sha = given(body, _RESOURCE, "name"), given(body, _RESOURCE, "head_sha")
        if self._state.store.resolve(repository.full_name, sha) != sha:
            raise Refusal(422, f"No commit found for SHA: {sha}")
        now, number = self._state.clock(), self._state.next_id()
        run = CheckRun(number, sha, name, "queued", None, f"app-{grant.app}", now, app_id=int(grant.app))
        _fill(run, body)
        self._acts.add_check_run(repository, run, request.actor())
        return Reply(201, self._shapes.check_run(repository, run))

    def _change(self, request: Request) -> Reply:
        repository, grant = self._granted(request)
        number, by = request.number("id"), request.actor()
        every = (run for runs in repository.check_runs.values() for run in runs)
        run = next((each for each in every if each.id == number), None)
        if run is None:
            raise Refusal(404, "Not Found")
        if run.app_id != int(grant.app):
            raise Refusal(403, "Resource not accessible by integration")
        _fill(run, request.json())
        self._state.record("check_run.updated", repository, by, sha=run.sha, name=run.name, conclusion=run.conclusion)
        if run.status == "completed":
            self._acts.tell_of_check_run(repository, run, by, "completed")
        return Reply(200, self._shapes.check_run(repository, run))


def _fill(run: CheckRun, body: Mapping[str, Any]) -> None:
    """Take what a body says; a run that is completed goes on no more, whatever its App says."""
    conclusion = optional(body, _RESOURCE, "conclusion")
    status = "completed" if conclusion else optional(body, _RESOURCE, "status") or run.status
    if status not in _STATUSES or (status == "completed" and (conclusion or run.conclusion) not in _CONCLUSIONS):
        raise invalid(_RESOURCE, "conclusion" if status == "completed" else "status", "invalid")
    output, actions = body.get("output") or {}, body.get("actions") or []
    _check(output, actions)
    if run.status != "completed" or status == "completed":
        run.status, run.conclusion = status, conclusion or run.conclusion
    run.external_id = optional(body, _RESOURCE, "external_id") or run.external_id
    run.output, run.actions = {**run.output, **output}, list(actions)


def _check(output: Mapping[str, Any], actions: list[Mapping[str, str]]) -> None:
    """GitHub's limits."""
    if output and not ("title" in output and 0 < len(output.get("summary", "")) <= _LONGEST):
        raise invalid(_RESOURCE, "output", "invalid")
    long = [name for each in actions for name, most in _LENGTHS.items() if not 0 < len(each.get(name, "")) <= most]
    if len(actions) > _MOST_ACTIONS or long:
        raise invalid(_RESOURCE, "actions", "invalid")
