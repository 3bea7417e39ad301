"""The gate of an environment: whether the cluster's pin says what the row says, and what is told when it does not."""

from typing import Any

import sqlalchemy as sa

from bot.core.deployments import UNSETTLED, Phase, short
from bot.core.manifests import DEPLOYMENT_ANNOTATION, MANAGED_BY
from bot.store import deployments, log, outbox, projects
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Deployment, GitopsResource, Pin

NO_COMMIT = "no commit"
MARK = "gate_broken"  # in a source's config: the commit that another hand put there


def mark_of(row: GitopsResource | None) -> str | None:
    """What another hand made of a pin; None while the gate holds."""
    return None if row is None else row.config.get(MARK)


async def says_otherwise(tx: Transaction, row: GitopsResource, found: dict[str, Any]) -> Pin | None:
    """The live pin that this source should show and does not; None also while Sluice itself is moving it."""
    if row.type != "git-repository" or row.environment_id is None:
        return None
    pin = await projects.live_pin(tx.session, row.environment_id)
    if pin is None or pin.source_id != row.id or commit_of(found) == pin.commit_hash:
        return None
    return None if await _in_motion(tx, pin, number_of(found)) else pin


async def _in_motion(tx: Transaction, pin: Pin, number: int) -> bool:
    """Whether the object is on its way: it lags behind a deployment that is under way, or a newer one moved it."""
    if number == pin.number:
        return False  # the number and the commit are written together
    where = await deployments.place(tx.session, pin.environment_id)
    if number > pin.number:
        return number <= where.environment.last_number
    query = sa.select(Deployment.id).where(
        Deployment.environment_id == pin.environment_id,
        Deployment.number == pin.number,
        Deployment.status.in_(UNSETTLED),
    )
    return (await tx.session.execute(query)).first() is not None


async def broken(tx: Transaction, row: GitopsResource, pin: Pin, found: dict[str, Any], by: str | None) -> None:
    """Tell that another hand moved the pin, once for each commit that it was moved to."""
    commit = commit_of(found)
    if mark_of(row) == commit:
        return
    row.config = {**row.config, MARK: commit}
    where = await deployments.place(tx.session, pin.environment_id)
    _log(tx, where, row, "gate.broken", "critical", by, found=commit, wanted=pin.commit_hash, number=pin.number)
    await _say(tx, where, pin, Phase.FAILED, told(commit, pin.commit_hash))


async def holds(tx: Transaction, row: GitopsResource) -> None:
    """The pin is as it should be, or is gone: if it was broken, say that it is mended."""
    was = mark_of(row)
    if was is None or row.environment_id is None:
        return
    row.config = {name: value for name, value in row.config.items() if name != MARK}
    where = await deployments.place(tx.session, row.environment_id)
    _log(tx, where, row, "gate.mended", "info", None, found=was)
    pin = await projects.live_pin(tx.session, row.environment_id)
    last = await deployments.newest(tx.session, row.environment_id)
    if pin is not None and last is not None:
        await _say(tx, where, pin, Phase(last.status), deployments.describe(last))


def told(found: str, wanted: str) -> str:
    """What the status and the comment say."""
    there = found if found == NO_COMMIT else short(found)
    return f"gate_broken: another hand moved the pin from {short(wanted)} to {there}"


def commit_of(found: dict[str, Any]) -> str:
    """What a GitRepository is pinned to."""
    return (found.get("spec", {}).get("ref") or {}).get("commit") or NO_COMMIT


def moved_by(found: dict[str, Any]) -> str | None:
    """The field manager that says what the pin's commit is; the one that changed the object last, if none does."""
    owners = [each for each in _managers(found) if "f:ref" in each.get("fieldsV1", {}).get("f:spec", {})]
    others = [each for each in owners if each.get("manager") != MANAGED_BY]
    return _newest(others or owners or _managers(found))


def changed_by(found: dict[str, Any]) -> str | None:
    """Who changed an object last, its status aside, by the name that they gave the API server."""
    return _newest(_managers(found))


def _managers(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in found["metadata"].get("managedFields", ()) if not each.get("subresource")]


def _newest(managers: list[dict[str, Any]]) -> str | None:
    newest: dict[str, Any] = max(managers, key=lambda each: each.get("time") or "", default={})
    return newest.get("manager")


def number_of(found: dict[str, Any]) -> int:
    """The number of the deployment that moved it last; 0 if none is noted."""
    text = (found["metadata"].get("annotations") or {}).get(DEPLOYMENT_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


async def _say(tx: Transaction, where: Place, pin: Pin, phase: Phase, text: str) -> None:
    last = await deployments.newest(tx.session, pin.environment_id)
    if last is not None:
        said = await outbox.say_status(
            tx.session,
            repository_id=where.repository.id,
            commit=pin.commit_hash,
            context=where.context,
            phase=phase,
            text=text,
            deployment_id=last.id,
            now=tx.now,
        )
        tx.ring("report", said)
    if pin.pull_request is not None:
        comment = await outbox.say_comment(
            tx.session, repository_id=where.repository.id, number=pin.pull_request, now=tx.now
        )
        tx.ring("report", comment)


def _log(
    tx: Transaction, where: Place, row: GitopsResource, action: str, severity: str, by: str | None, **facts: Any
) -> None:
    log.record(
        tx.session,
        action,
        event_type="audit",
        severity=severity,
        actor=by,
        organization_id=where.project.organization_id,
        resource=("gitops_resource", row.id),
        environment=where.environment.name,
        **facts,
    )
