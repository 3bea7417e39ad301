"""Check runs of the GitHub App: more than a status, for they have a report, and buttons while somebody has to act."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from bot.core.deployments import Phase
from bot.core.errors import TemporaryError, UserError
from bot.core.ports import Check
from bot.forges import Id, fitting, full_name_path, one_line, sha_path, status_context
from bot.forges.github_app import GitHubApp
from bot.http import Answer, Client

RIGHTS: Mapping[str, str] = {"checks": "write"}
APPROVE, REJECT = "approve", "reject"
ACTIONS = (  # GitHub: three at most; label and identifier of 20 characters, description of 40
    {"label": "Approve", "description": "Your one voice on exactly this commit", "identifier": APPROVE},
    {"label": "Reject", "description": "End it: it is not deployed", "identifier": REJECT},
)
COMPLETED, ACTION_REQUIRED = "completed", "action_required"
UNFINISHED = {
    Phase.WAITING: "queued",
    Phase.QUEUED: "queued",
    Phase.APPLYING: "in_progress",
    Phase.RECONCILING: "in_progress",
}
CONCLUSIONS = {
    Phase.SUCCEEDED: "success",
    Phase.FAILED: "failure",
    Phase.TIMED_OUT: "failure",
    Phase.SUPERSEDED: "neutral",
    Phase.REJECTED: "cancelled",
    Phase.CANCELLED: "cancelled",
}
TITLE_LIMIT = 140
SUMMARY_LIMIT = 65_535
ASK_AGAIN = 600.0  # seconds after which an App that may not make check runs is asked for them once more
PAGE = 100

logger = structlog.get_logger()


class _Run(msgspec.Struct):
    id: Id
    status: str
    conclusion: str | None = None
    external_id: str | None = None


class _Runs(msgspec.Struct):
    check_runs: list[_Run]


class CheckRuns:
    """Says what is to be said of a commit in check runs, where the App is installed and may.

    GitHub never leads a run that is completed back to one that goes on: then another one of the same name is made, and
    GitHub shows only the newest.
    """

    def __init__(self, client: Client, app: GitHubApp, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._http, self._app, self._clock = client, app, clock
        self._refused: dict[str, float] = {}  # repository → when

    async def close(self) -> None:
        """Give the connections back."""
        await self._app.close()
        await self._http.close()

    async def show(self, repository: str, commit: str, check: Check) -> bool:
        """Have the one check run of this name say it; False where the App cannot, so that a status has to."""
        token = await self._token(repository)
        if token is None:
            return False
        wish = _wish(check)
        newest = await self._newest(repository, commit, wish["name"], token)
        if newest is not None and newest.external_id == wish["external_id"] and _stands(newest, wish):
            return True
        if newest is not None and (newest.status != COMPLETED or "conclusion" in wish):
            path = f"{_path(repository)}/check-runs/{newest.id:d}"
            if _stands((await self._ask("PATCH", path, repository, token, body=wish)).read(_Run), wish):
                return True
        made = {**wish, "head_sha": commit}
        await self._ask("POST", f"{_path(repository)}/check-runs", repository, token, body=made)
        return True

    async def _token(self, repository: str) -> str | None:
        refused = self._refused.get(repository)
        if refused is not None and self._clock() - refused < ASK_AGAIN:
            return None
        try:
            return (await self._app.token(repository)).token
        except UserError as error:
            self._refused[repository] = self._clock()
            logger.warning("no check runs, so statuses", repository=repository, why=error.message)
            return None

    async def _newest(self, repository: str, commit: str, name: str, token: str) -> _Run | None:
        """The App's newest run of that name: what was made by a try whose answer was lost is found again."""
        path = f"{_path(repository)}/commits/{sha_path(commit)}/check-runs"
        params = {"check_name": name, "app_id": self._app.app_id, "filter": "latest", "per_page": PAGE}
        found = (await self._ask("GET", path, repository, token, params=params)).read(_Runs).check_runs
        return max(found, key=lambda run: run.id, default=None)

    async def _ask(self, method: str, path: str, repository: str, token: str, **more: Any) -> Answer:
        repeatable = method != "POST"
        answer = await self._http.request(method, path, authorization=f"Bearer {token}", repeatable=repeatable, **more)
        if answer.status == 401:
            self._app.forget(repository)
            raise TemporaryError("GitHub does not take the App's token any more")
        return answer.checked()


def _wish(check: Check) -> dict[str, Any]:
    """What a check run is to say; without a conclusion it goes on."""
    phase = Phase(check.phase)
    conclusion = ACTION_REQUIRED if check.asks else CONCLUSIONS.get(phase)
    state = {"status": COMPLETED, "conclusion": conclusion} if conclusion else {"status": UNFINISHED[phase]}
    title = one_line(check.text, TITLE_LIMIT)
    return {
        "name": status_context(check.context),
        "external_id": check.key,
        **state,
        "output": {"title": title, "summary": fitting(check.report or title, SUMMARY_LIMIT)},
        "actions": list(ACTIONS) if check.asks else [],
    }


def _stands(run: _Run, wish: Mapping[str, Any]) -> bool:
    return (run.status, run.conclusion) == (wish["status"], wish.get("conclusion"))


def _path(repository: str) -> str:
    return f"/repos/{full_name_path(repository)}"
