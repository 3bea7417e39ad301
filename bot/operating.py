"""The commands of comments, from the command line: a run is written, and waited for with all that it starts."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from bot import registry, wiring
from bot.core.arguments import convert
from bot.core.calls import Call
from bot.core.deployments import TERMINAL, Phase
from bot.core.errors import ConfigError, UserError
from bot.core.people import OPERATOR
from bot.core.ports import Bell
from bot.settings import Settings
from bot.store import deployments, repositories, runs
from bot.store.approvals import APPROVED
from bot.store.database import Database, refuse_newer
from bot.store.transactions import Store
from bot.tasks import Bell as Doorbell
from bot.tasks import make_broker
from models import Approval, Deployment, ProjectInitializationStep, Repository, Run
from models.base import now

LOOK_EVERY = 0.2  # seconds
TAKEN_UP = timedelta(seconds=15)  # three times as long as the sweep needs to find a run
Say = Callable[[str], None]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator asks for. `words` are the command's arguments as in a comment."""

    command: str
    repository: str
    words: tuple[str, ...] = ()
    user: str
    forge: str | None = None
    pull_request: int | None = None
    wait: bool = True


class _Silent:
    """The process that works hears nothing of this one: its sweep finds the run."""

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        """Nobody hears it."""


async def carry_out(settings: Settings, order: Order, say: Say) -> bool:
    """Have a worker do it, and say what comes of it; whether it came to a good end."""
    _understand(order)
    refuse_newer(settings.database_url)
    async with _opened(settings) as store:
        repository = await _repository(settings, store, order)
        run_id = await _start(store, repository, order)
        if not order.wait:
            say(f"run {run_id} is queued")
            return True
        return await _Watch(store, run_id, say).to_the_end()


def _understand(order: Order) -> None:
    """Refuse what cannot be read before anything is written."""
    try:
        convert(order.words, registry.commands()[order.command].arguments, order.command)
    except UserError as error:
        raise ConfigError(error.message.replace(f"/{order.command}", f"sluice {order.command} REPOSITORY")) from error


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    database = Database(settings.database_url)
    broker = make_broker(settings.redis_url) if settings.redis_url else None
    bell: Bell = Doorbell(broker) if broker else _Silent()
    try:
        yield Store(database, bell, now)
    finally:
        await database.close()
        if broker is not None:
            broker.close()


async def _repository(settings: Settings, store: Store, order: Order) -> Repository:
    """The row of a repository by its name; one that is not known yet is looked up on the forge."""
    query = sa.select(Repository).where(sa.func.lower(Repository.full_name) == order.repository.lower())
    if order.forge is not None:
        query = query.where(Repository.provider == order.forge)
    async with store.read() as session:
        found = (await session.execute(query)).scalars().all()
    if len(found) > 1:
        raise UserError("target_ambiguous", f"{order.repository} is on several forges: say which with --forge")
    return found[0] if found else await _looked_up(settings, store, order)


async def _looked_up(settings: Settings, store: Store, order: Order) -> Repository:
    forges = wiring.make_forges(settings)
    try:
        for name, forge in forges.items():
            told = await forge.repository(order.repository) if order.forge in (None, name) else None
            if told is not None:
                async with store.write() as tx:
                    return await repositories.known(tx.session, told)
    finally:
        for forge in forges.values():
            await forge.close()
    raise UserError(
        "repository_unknown", f"{order.repository} is not known here, and no forge that is configured has it"
    )


async def _start(store: Store, repository: Repository, order: Order) -> UUID:
    """The run, with the operating-system user as its actor, in the event log as well."""
    actor = f"{OPERATOR}{order.user}"
    call = Call(
        kind="command",
        name=order.command,
        key=f"{actor}:{uuid.uuid4()}",
        actor=actor,
        actor_id=actor,
        words=order.words,
        number=order.pull_request,
        operator=True,
    )
    async with store.write() as tx:
        await runs.start(tx, repository, call)
    return call.run_id


class _Watch:
    """Looks at a run, and at what it started, until all has ended; says what is new."""

    def __init__(self, store: Store, run_id: UUID, say: Say) -> None:
        self._store, self._run_id, self._say = store, run_id, say
        self._said: set[str] = set()

    async def to_the_end(self) -> bool:
        """Whether the run and all that it started came to a good end."""
        run = await self._run_ended()
        self._once(run.text or "")
        if run.status != "done":
            return False
        while True:
            rows, steps = await self._started()
            self._tell(rows, steps)
            now, setting_up = self._store.clock(), any(step.status == "running" for step in steps)
            if not setting_up and all(_rests(row, now) for row in rows):
                good = all(row.status in (Phase.SUCCEEDED, Phase.WAITING) for row in rows)
                return good and all(step.status != "failed" for step in steps)
            await asyncio.sleep(LOOK_EVERY)

    async def _run_ended(self) -> Run:
        while True:
            async with self._store.read() as session:
                run = await session.get_one(Run, self._run_id)
            if run.finished_at is not None:
                return run
            if run.attempts == 0 and self._store.clock() - run.created_at > TAKEN_UP:
                self._once("nobody has taken it up yet: does `sluice serve` run on this database? It stays queued")
            self._tell(*await self._started())
            await asyncio.sleep(LOOK_EVERY)

    async def _started(self) -> tuple[Sequence[Deployment], Sequence[ProjectInitializationStep]]:
        async with self._store.read() as session:
            return await _deployments_of(session, self._run_id), await _steps_of(session, self._run_id)

    def _tell(self, rows: Sequence[Deployment], steps: Sequence[ProjectInitializationStep]) -> None:
        for step in steps:
            if step.status != "pending":
                self._once(f"{step.display_name}: {step.error or step.status}")
        for row in rows:
            self._once(f"#{row.number} {deployments.describe(row)}")

    def _once(self, text: str) -> None:
        if text and text not in self._said:
            self._said.add(text)
            self._say(text)


def _rests(row: Deployment, now: datetime) -> bool:
    """Whether nothing more is to be waited for: approvals may take days, but that it is looked at does not."""
    waits = row.status == Phase.WAITING and row.lease_until is None and row.due_at is not None and row.due_at > now
    return row.status in TERMINAL or waits


async def _deployments_of(session: AsyncSession, run_id: UUID) -> Sequence[Deployment]:
    """Those that a run opened, or said yes to."""
    opened = sa.select(Deployment).where(Deployment.run_id == run_id)
    voiced = sa.select(Deployment).join(Approval, Approval.deployment_id == Deployment.id)
    found = list((await session.execute(opened)).scalars())
    found += (await session.execute(voiced.where(Approval.run_id == run_id, Approval.verdict == APPROVED))).scalars()
    return sorted(found, key=lambda row: row.number)


async def _steps_of(session: AsyncSession, run_id: UUID) -> Sequence[ProjectInitializationStep]:
    query = sa.select(ProjectInitializationStep).where(ProjectInitializationStep.run_id == run_id)
    return (await session.execute(query.order_by(ProjectInitializationStep.sequence))).scalars().all()
