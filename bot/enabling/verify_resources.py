"""Hands the environments over to Flux, or to their gates; the objects themselves end this step."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot import following, pinning, releasing
from bot.core import initialization
from bot.core.calls import Call
from bot.enabling.setup import Setup
from bot.inputs import Evidence, read
from bot.releasing import PUSH, Asked, Dossier
from bot.store import deployments, pins, projects, runs, stands
from bot.store import initialization as steps
from bot.store.deployments import Place, Wish, patience
from bot.store.transactions import Transaction
from bot.targets import source_of
from models import Environment, GitopsResource


@dataclass(frozen=True)
class Start:
    """How an environment begins, or goes on: by its branch's head, by what it has, or by its gates."""

    where: Place
    head: str
    evidence: Evidence  # of the commit below
    commit: str
    branch: str | None = None  # it is pinned there, by this branch
    dossier: Dossier | None = None  # its gates decide


async def verify_resources(setup: Setup) -> None:
    """From now on the environments follow; the step is left running for the observer, or its deadline, to end."""
    ctx, places, heads = setup.ctx, await setup.places(), await setup.heads()
    starts = [await _start(setup, where, heads[where.environment.branch]) for where in places]
    async with ctx.store.write() as tx:
        resources: list[GitopsResource] = []
        waiting = []
        for start in starts:
            found = await _begin(tx, setup, start)
            resources += found
            waiting += [] if found else [start.where.title]
        for branch, head in heads.items():
            await runs.start(tx, ctx.repository, _look_again(setup, branch, head))
        await steps.hand_over(
            tx,
            ctx.run,
            setup.project,
            resources=list(dict.fromkeys(row.id for row in resources)),
            waiting=waiting,
            deadline=tx.now + max(patience(where.environment) for where in places) + initialization.GRACE,
        )


async def _start(setup: Setup, where: Place, head: str) -> Start:
    ctx = setup.ctx
    if where.rules.follows:
        return Start(where, head, await read(ctx.forge, where, head), head)
    async with ctx.store.read() as session:
        pin = await projects.live_pin(session, where.environment.id)
        applier = await projects.applied(session, where.environment.id)
        applied = await deployments.live_commit(session, where.environment.id, applier)
    if pin is None and applied is not None:  # it followed its branch until now: it stays at what it has
        branch = await pinning.reach(ctx.forge, where, applied)
        return Start(where, head, await read(ctx.forge, where, applied), applied, branch)
    keeper = releasing.of(ctx)
    found = await keeper.dossier(where, Asked(command=PUSH, commit=head))
    return Start(where, head, await read(ctx.forge, where, head), head, dossier=await keeper.reachable(found))


async def _begin(tx: Transaction, setup: Setup, start: Start) -> Sequence[GitopsResource]:
    """Link an environment to its object: so it counts as enabled. What is to become ready; nothing while it waits."""
    where = start.where
    await deployments.one_at_a_time(tx.session, where.environment.id)
    row = await tx.session.get_one(Environment, where.environment.id)
    applied = await projects.applied(tx.session, row.id)
    row.gitops_resource_id = where.environment.gitops_resource_id = applied.id
    if start.dossier is not None:
        return await _by_gates(tx, setup, start.dossier, applied)
    if start.branch is not None:
        await _pin(tx, setup, start, start.branch)
    elif not await _stays(tx, where):
        await _follow(tx, setup, start)
    return await source_of(tx.session, where), applied


async def _stays(tx: Transaction, where: Place) -> bool:
    """Whether an environment that follows is pinned nevertheless: to a pull request, by a lock, or by a hold."""
    pin = await projects.live_pin(tx.session, where.environment.id)
    if pin is None:
        return False
    return pin.pull_request is not None or await following.kept(tx.session, where.environment, tx.now) is not None


async def _follow(tx: Transaction, setup: Setup, start: Start) -> None:
    """By the branch's source; one that was protected until now is pinned no more."""
    where = start.where
    source = await projects.followed(tx.session, where.project, where.environment)
    await stands.at_once(tx, where, _wish(setup, start, source))


async def _pin(tx: Transaction, setup: Setup, start: Start, branch: str) -> None:
    if await projects.live_pin(tx.session, start.where.environment.id) is not None:
        return
    source = await pins.own_source(tx, start.where)
    await stands.at_once(tx, start.where, _wish(setup, start, source), own=True, branch=branch)


async def _by_gates(
    tx: Transaction, setup: Setup, dossier: Dossier, applied: GitopsResource
) -> Sequence[GitopsResource]:
    """A protected environment: what its branch has waits for its gates, unless only a command brings anything there."""
    ctx, where = setup.ctx, dossier.where
    if dossier.opens_by_push:
        await releasing.of(ctx).open(
            tx, dossier, trigger=PUSH, run_id=ctx.run.id, by=ctx.run.actor, pull_request=ctx.call.number
        )
    pin = await projects.live_pin(tx.session, where.environment.id)
    return [] if pin is None else [await source_of(tx.session, where), applied]


def _wish(setup: Setup, start: Start, source: GitopsResource) -> Wish:
    return Wish(
        commit=start.commit,
        source_id=source.id,
        trigger="enable",
        requested_by=setup.ctx.run.actor,
        inputs_digest=start.evidence.inputs_digest,
        config_digest=start.evidence.config_digest,
        policy_digest=setup.ctx.policy_digest,
        run_id=setup.ctx.run.id,
        pull_request=setup.ctx.call.number,
        patience=patience(start.where.environment),
    )


def _look_again(setup: Setup, branch: str, head: str) -> Call:
    """A push that came while this was under way found nothing enabled; it is worked now."""
    run, repository = setup.ctx.run, setup.ctx.repository
    return Call(
        kind="work",
        name="push",
        key=f"{repository.provider}:{repository.forge_id}:refs/heads/{branch}:enabled:{run.id}:{setup.project.id}",
        actor=run.actor,
        arguments={"branch": branch, "commit": head},
    )
