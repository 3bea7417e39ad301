"""The gate of an environment: whether the cluster's pin says what the row says, and what is told when it does not."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot.core import helm
from bot.core.deployments import UNSETTLED, Phase, short
from bot.core.manifests import DEPLOYMENT_ANNOTATION, MANAGED_BY
from bot.store import deployments, log, outbox, projects
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Deployment, Environment, GitopsResource, Pin

NO_COMMIT = "no commit"
DIGITS = 10  # a number has fewer: it fits the database's integer
FORGOTTEN = "gate_forgotten"  # beside it: the number under which it is there, if no deployment has it
MARK = "gate_broken"  # in a row's config: what another hand made of it, a commit or a release's fingerprint
WROTE = "wrote"  # in a release's config: its number and its fingerprint, as Sluice wrote it


@dataclass(frozen=True)
class Wish:
    """What an environment's gate should show: a pin, or of a chart from elsewhere the release that was written."""

    environment_id: UUID
    commit: str
    number: int
    pull_request: int | None
    is_release: bool = False


def mark_of(row: GitopsResource | None) -> str | None:
    """What another hand made of a pin; None while the gate holds."""
    return None if row is None else row.config.get(MARK)


async def says_otherwise(tx: Transaction, row: GitopsResource, found: dict[str, Any]) -> Wish | None:
    """What this object should show and does not; None also while Sluice itself is moving it."""
    if row.type == "helm-release":
        return await _release_otherwise(tx, row, found)
    if row.type != "git-repository" or row.environment_id is None:
        return None
    pin = await projects.live_pin(tx.session, row.environment_id)
    if pin is None or pin.source_id != row.id or commit_of(found) == pin.commit_hash:
        return None
    if await _in_motion(tx, pin, number_of(found)):
        return None
    return Wish(pin.environment_id, pin.commit_hash, pin.number, pin.pull_request)


async def _release_otherwise(tx: Transaction, row: GitopsResource, found: dict[str, Any]) -> Wish | None:
    """Of a chart from elsewhere the release is the gate: what it runs is what was written under its number."""
    number, known = number_of(found), row.config.get(WROTE)
    if row.environment_id is None or row.adopted or not number:
        return None
    seen = [number, helm.fingerprint(found)]
    if known == seen:
        return None
    if known is None or known[0] != number or not _foreign(found):
        row.config = {**row.config, WROTE: seen}
        return None
    query = sa.select(Deployment).where(Deployment.environment_id == row.environment_id, Deployment.number == number)
    made = (await tx.session.execute(query)).scalar_one_or_none()
    if made is None:
        return None
    return Wish(row.environment_id, made.commit_hash, number, made.pull_request, is_release=True)


def _foreign(found: dict[str, Any]) -> bool:
    """Whether another hand holds a field of the spec; who suspends holds none of those that matter."""
    others = [each for each in _managers(found) if each.get("manager") != MANAGED_BY]
    return any(set(each.get("fieldsV1", {}).get("f:spec", {})) - {"f:suspend"} for each in others)


def shown(row: GitopsResource, found: dict[str, Any]) -> str:
    """What an object shows, to compare with what it should show."""
    return helm.fingerprint(found) if row.type == "helm-release" else commit_of(found)


async def _in_motion(tx: Transaction, pin: Pin, number: int) -> bool:
    """Whether the object is on its way: it lags behind a deployment that is under way, or a newer one moved it."""
    if number == pin.number:
        return False  # the number and the commit are written together
    numbered = sa.select(Deployment.id).where(Deployment.environment_id == pin.environment_id)
    query = numbered.where(Deployment.number == max(number, pin.number))
    if number < pin.number:
        query = query.where(Deployment.status.in_(UNSETTLED))
    return (await tx.session.execute(query)).first() is not None


async def catch_up(tx: Transaction, row: GitopsResource, found: dict[str, Any]) -> None:
    """Number on from what the cluster has: a database that is restored from a backup does not know its newest ones.

    Else the next deployments would be older than what runs, by their numbers, and be left alone.
    """
    number = number_of(found)
    if number and row.environment_id is not None:  # in one statement: another process may take a number meanwhile
        older = sa.and_(Environment.id == row.environment_id, Environment.last_number < number)
        await tx.session.execute(sa.update(Environment).where(older).values(last_number=number))


async def broken(tx: Transaction, row: GitopsResource, wish: Wish, found: dict[str, Any], by: str | None) -> None:
    """Tell that another hand moved the pin or changed the release, once for each thing that it was made."""
    commit = shown(row, found)
    if mark_of(row) == commit:
        return
    forgotten = number_of(found) if number_of(found) > wish.number else 0
    row.config = {**row.config, MARK: commit, FORGOTTEN: forgotten}
    where = await deployments.place(tx.session, wish.environment_id)
    _log(tx, where, row, "gate.broken", "critical", by, found=commit, wanted=wish.commit, number=wish.number)
    text = told_of_release(wish.commit) if wish.is_release else told(commit, wish.commit, forgotten)
    await _say(tx, where, wish, Phase.FAILED, text)


async def holds(tx: Transaction, row: GitopsResource) -> None:
    """The pin is as it should be, or is gone: if it was broken, say that it is mended."""
    was = mark_of(row)
    if was is None or row.environment_id is None:
        return
    row.config = {name: value for name, value in row.config.items() if name not in (MARK, FORGOTTEN)}
    where = await deployments.place(tx.session, row.environment_id)
    _log(tx, where, row, "gate.mended", "info", None, found=was)
    pin = await projects.live_pin(tx.session, row.environment_id)
    last = await deployments.newest(tx.session, row.environment_id)
    if last is not None and (pin is not None or row.type == "helm-release"):
        commit, request = (pin.commit_hash, pin.pull_request) if pin else (last.commit_hash, last.pull_request)
        wish = Wish(row.environment_id, commit, last.number, request)
        await _say(tx, where, wish, Phase(last.status), deployments.describe(last))


async def broken_text(session: AsyncSession, environment: Environment, pin: Pin | None, commit: str) -> str | None:
    """What the comment says of an environment whose gate another hand broke; None while it holds."""
    if projects.is_elsewhere(environment):
        mark = mark_of(await projects.applier(session, environment.id))
        return told_of_release(commit) if mark else None
    row = await projects.own_source(session, environment.id) if pin else None
    mark = mark_of(row)
    return told(mark, commit, row.config.get(FORGOTTEN, 0)) if row is not None and mark else None


def told(found: str, wanted: str, forgotten: int = 0) -> str:
    """What the status and the comment say; `forgotten`: the number under which the cluster has it, and no row has."""
    there = found if found == NO_COMMIT else short(found)
    if forgotten:
        return f"gate_broken: deployment #{forgotten}, {there}, is in the cluster only; was a backup restored?"
    return f"gate_broken: another hand moved the pin from {short(wanted)} to {there}"


def told_of_release(commit: str) -> str:
    """The same of a chart from elsewhere."""
    return f"gate_broken: another hand changed the chart or the values that {short(commit)} wrote"


def commit_of(found: dict[str, Any]) -> str:
    """What a GitRepository is pinned to."""
    return (found.get("spec", {}).get("ref") or {}).get("commit") or NO_COMMIT


def moved_by(found: dict[str, Any]) -> str | None:
    """The field manager that says what the pin's commit is; the one that changed the object last, if none does."""
    fields = {"f:values", "f:chart", "f:chartRef"} if found.get("kind") == "HelmRelease" else {"f:ref"}
    owners = [each for each in _managers(found) if fields & set(each.get("fieldsV1", {}).get("f:spec", {}))]
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
    """The number of the deployment that moved it last; 0 if none is noted, or what can be none."""
    text = (found["metadata"].get("annotations") or {}).get(DEPLOYMENT_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < DIGITS else 0


async def _say(tx: Transaction, where: Place, wish: Wish, phase: Phase, text: str) -> None:
    last = await deployments.newest(tx.session, wish.environment_id)
    if last is not None:
        said = await outbox.say_status(
            tx.session,
            repository_id=where.repository.id,
            commit=wish.commit,
            context=where.context,
            phase=phase,
            text=text,
            deployment_id=last.id,
            now=tx.now,
        )
        tx.ring("report", said)
    if wish.pull_request is not None:
        comment = await outbox.say_comment(
            tx.session, repository_id=where.repository.id, number=wish.pull_request, now=tx.now
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
