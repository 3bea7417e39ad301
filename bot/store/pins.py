"""Pins: set, moved and ended by deployments, in the order of their numbers."""

import uuid

from bot.core.errors import UserError
from bot.core.manifests import own_source_name
from bot.store import log, projects
from bot.store.deployments import Place
from bot.store.transactions import Transaction
from models import Deployment, GitopsResource, Pin


def refuse_adopted(where: Place) -> None:
    """UserError `not_owned` where others keep what applies an environment: only they can have it stay at a commit."""
    adopted = where.environment.config.get("adopt")
    if adopted is None:
        return
    raise UserError(
        "not_owned",
        f"`{where.title}` is applied by `{adopted}`, which others keep: Sluice reports it, and never changes what it "
        "applies. To hand it over, put a `path` in the place of `adopt` in `.sluice.yaml`, comment `/enable`, and when "
        f"that is live, let Flux forget `{adopted}`: `deletionPolicy: Orphan`, then delete it where it is kept",
    )


async def own_source(tx: Transaction, where: Place) -> GitopsResource:
    """The GitRepository that only this environment goes by; its row is made where it is missing.

    A chart from elsewhere has a source of its own anyway, and no GitRepository.
    """
    refuse_adopted(where)
    if projects.is_elsewhere(where.environment):
        return await projects.followed(tx.session, where.project, where.environment)
    return await projects.ensure_object(
        tx.session,
        where.project,
        type="git-repository",
        cluster=where.environment.cluster,
        name=own_source_name(where.environment.name),
        environment_id=where.environment.id,
        repository=where.repository,
    )


async def set_(tx: Transaction, deployment: Deployment, *, branch: str, pinned_by: str) -> Pin:
    """Pin the environment of a deployment to its commit, unless a newer deployment did already."""
    pin = await projects.live_pin(tx.session, deployment.environment_id)
    if pin is None:
        pin = Pin(id=uuid.uuid4(), environment_id=deployment.environment_id, number=0)
        tx.session.add(pin)
    if pin.number >= deployment.number:
        return pin
    pin.source_id, pin.number = deployment.source_id, deployment.number
    pin.commit_hash, pin.branch = deployment.commit_hash, branch
    # Only what a request brought goes with the request: a rollback stays, and so does what a lock keeps.
    pin.pull_request = deployment.pull_request if deployment.trigger == "deploy" else None
    pin.pinned_by = pinned_by
    await tx.session.flush()
    _log(tx, "pin.moved", pin)
    return pin


async def keep(tx: Transaction, pin: Pin) -> None:
    """A pull request's pin stays after the request: somebody keeps the environment."""
    pin.pull_request = None
    await tx.session.flush()
    _log(tx, "pin.kept", pin)


async def end(tx: Transaction, pin: Pin) -> None:
    """The environment follows its branch again."""
    pin.ended_at = tx.now
    await tx.session.flush()
    _log(tx, "pin.ended", pin)


def _log(tx: Transaction, action: str, pin: Pin) -> None:
    log.record(
        tx.session,
        action,
        actor=pin.pinned_by,
        resource=("pin", pin.id),
        environment_id=str(pin.environment_id),
        commit=pin.commit_hash,
        branch=pin.branch,
        number=pin.number,
    )
