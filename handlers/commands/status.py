"""Say what every environment has, and what keeps it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncSession

from bot.context import Context
from bot.core.conversation import code, escape
from bot.core.deployments import Phase, short
from bot.core.keeping import until
from bot.core.paging import page
from bot.core.results import Result, done
from bot.core.roles import Role
from bot.registry import command
from bot.store import deployments, holds, locks, projects
from bot.store.deployments import Place
from bot.targets import places
from models import Deployment, GitopsResource, Hold, Lock, Pin

SHOWN = 5  # of those who wait for a lock


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a long answer."""

    page: Annotated[int, Meta(description="where there are many environments", ge=1, le=10_000)] = 1


@dataclass(frozen=True)
class Stand:
    """All that there is to say of an environment."""

    where: Place
    applied: GitopsResource
    live: str | None
    pin: Pin | None
    newest: Deployment | None
    waiting: Deployment | None
    lock: Lock | None
    line: tuple[Lock, ...]
    hold: Hold | None


@command("status", needs=Role.VIEWER, on=("open", "merged", "closed", "commit"), asks_environments=True)
async def status(ctx: Context, args: Args) -> Result:
    """Show each environment: what is live, what Flux says, what it follows, what waits, and who keeps it."""
    async with ctx.store.read() as session:
        now = ctx.store.clock()
        stands = [await _stand(session, where, now) for where in await places(session, ctx.repository)]
    return done(page("\n".join(_line(stand) for stand in stands), args.page, "/status"))


async def _stand(session: AsyncSession, where: Place, now: datetime) -> Stand:
    environment = where.environment
    applied = await session.get_one(GitopsResource, environment.gitops_resource_id)
    return Stand(
        where=where,
        applied=applied,
        live=await deployments.live_commit(session, environment.id, applied),
        pin=await projects.live_pin(session, environment.id),
        newest=await deployments.newest(session, environment.id, without=(Phase.WAITING,)),
        waiting=await deployments.waiting(session, environment.id),
        lock=await locks.held(session, environment.id, now),
        line=tuple(await locks.line(session, environment.id)),
        hold=await holds.live(session, environment.id),
    )


def _line(stand: Stand) -> str:
    row, newest, live = stand.applied, stand.newest, stand.live
    parts = [f"{code(short(live))} live" if live else "nothing live yet", row.status, _follows(stand)]
    if row.status in ("failed", "stalled") and row.status_message:
        parts.append(escape(row.status_message))
    if newest is not None and newest.commit_hash != live:
        parts.append(f"last deployment: {code(short(newest.commit_hash))} {newest.status}")
    parts += [part for part in (_waits(stand.waiting), _locked(stand), _held(stand.hold)) if part]
    return f"- **{escape(stand.where.title)}**: " + "; ".join(parts)


def _follows(stand: Stand) -> str:
    pin = stand.pin
    environment = stand.where.environment
    if pin is None:
        theirs = projects.is_adopted(environment)
        by = f" by {code(environment.config['adopt'])}, which others keep" if theirs else ""
        return f"follows {code(environment.branch)}{by}"
    return f"pinned to {code(short(pin.commit_hash))}" + (f" of #{pin.pull_request}" if pin.pull_request else "")


def _waits(row: Deployment | None) -> str:
    if row is None:
        return ""
    why = f" ({escape(row.message, 200)})" if row.message else ""
    return f"{code(short(row.commit_hash))} waits{why}"


def _locked(stand: Stand) -> str:
    lock, line = stand.lock, stand.line
    if lock is None:
        return ""
    why = f" ({escape(lock.reason, 200)})" if lock.reason else ""
    names = ", ".join(escape(each.owner) for each in line[:SHOWN])
    more = f" and {len(line) - SHOWN} more" if len(line) > SHOWN else ""
    then = f", then {names}{more}" if line else ""
    return f"locked by {escape(lock.owner)}{until(lock.expires_at)}{why}{then}"


def _held(hold: Hold | None) -> str:
    if hold is None:
        return ""
    why = f" ({escape(hold.reason, 200)})" if hold.reason else ""
    return f"held since {escape(hold.set_by)} rolled it back{why}"
