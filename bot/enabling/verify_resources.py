"""Hands the environments over to Flux: each is deployed once, and the objects themselves end this step."""

from bot.core import initialization
from bot.core.calls import Call
from bot.enabling.setup import Setup
from bot.inputs import Evidence, read
from bot.store import deployments, projects, runs
from bot.store import initialization as steps
from bot.store.deployments import Place, Wish, patience
from bot.store.transactions import Transaction
from bot.targets import source_of
from models import Environment, GitopsResource


async def verify_resources(setup: Setup) -> None:
    """From now on the environments follow; the step is left running for the observer, or its deadline, to end."""
    ctx, places, heads = setup.ctx, await setup.places(), await setup.heads()
    evidence = {
        where.environment.name: await read(ctx.forge, where, heads[where.environment.branch]) for where in places
    }
    async with ctx.store.write() as tx:
        resources: list[GitopsResource] = []
        for where in places:
            head = heads[where.environment.branch]
            resources += await _follow(tx, setup, where, head, evidence[where.environment.name])
        for branch, head in heads.items():
            await runs.start(tx, ctx.repository, _look_again(setup, branch, head))
        await steps.hand_over(
            tx,
            ctx.run,
            setup.project,
            resources=list(dict.fromkeys(row.id for row in resources)),
            deadline=tx.now + max(patience(where.environment) for where in places) + initialization.GRACE,
        )


async def _follow(
    tx: Transaction, setup: Setup, where: Place, head: str, evidence: Evidence
) -> tuple[GitopsResource, GitopsResource]:
    """Link an environment to its object: so it counts as enabled. Deploy the head to it, unless it is pinned."""
    await deployments.one_at_a_time(tx.session, where.environment.id)
    row = await tx.session.get_one(Environment, where.environment.id)
    applied = await projects.applied(tx.session, row.id)
    row.gitops_resource_id = where.environment.gitops_resource_id = applied.id
    source = await source_of(tx.session, where)
    if await projects.live_pin(tx.session, row.id) is None:
        wish = Wish(
            commit=head,
            source_id=source.id,
            trigger="enable",
            requested_by=setup.ctx.run.actor,
            inputs_digest=evidence.inputs_digest,
            config_digest=evidence.config_digest,
            policy_digest=setup.ctx.policy_digest,
            run_id=setup.ctx.run.id,
            pull_request=setup.ctx.call.number,
            patience=patience(where.environment),
        )
        await deployments.open_(tx, where, wish)
    return source, applied


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
