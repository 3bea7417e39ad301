"""Carries out the steps of a project in their order, and writes down what becomes of each."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bot.core.errors import TemporaryError, UserError
from bot.core.initialization import STEPS, VERIFY, Step
from bot.enabling.check_access import check_access
from bot.enabling.check_cluster import check_cluster
from bot.enabling.create_environments import create_environments
from bot.enabling.read_config import read_config
from bot.enabling.setup import Setup
from bot.enabling.setup_credentials import setup_credentials
from bot.enabling.setup_gitops import setup_gitops
from bot.enabling.verify_resources import verify_resources
from bot.store import initialization

Work = Callable[[Setup], Awaitable[dict[str, Any]]]

# Those that a run carries out from beginning to end. What follows, the objects and the observer bring to an end.
WORK: Mapping[str, Work] = {
    "check_access": check_access,
    "check_cluster": check_cluster,
    "read_config": read_config,
    "create_environments": create_environments,
    "setup_credentials": setup_credentials,
    "setup_gitops": setup_gitops,
}


async def carry_out(setup: Setup) -> None:
    """Everything up to the handing over to Flux; what was completed before is left as it is."""
    for step in STEPS:
        if step.name in WORK:
            await _step(setup, step, WORK[step.name])
    await _failing(setup, VERIFY, verify_resources(setup))


async def _step(setup: Setup, step: Step, work: Work) -> None:
    ctx, project = setup.ctx, setup.project
    async with ctx.store.write() as tx:
        if not await initialization.begin(tx, ctx.run, project, step):
            return
    details = await _failing(setup, step, work(setup))
    async with ctx.store.write() as tx:
        await initialization.complete(tx, ctx.run, project, step, details)


async def _failing(setup: Setup, step: Step, work: Awaitable[Any]) -> Any:
    """The step's own end; a failure is written down before it goes on, trouble is waited for as long as it may last."""
    try:
        return await work
    except UserError as error:
        await _fail(setup, step, error)
        raise
    except TemporaryError as trouble:
        async with setup.ctx.store.write() as tx:
            patient = await initialization.trouble(tx, setup.ctx.run, setup.project, step, str(trouble))
        if patient:
            raise
        late = UserError("step_timed_out", f"it did not get through in time: {trouble}")
        await _fail(setup, step, late)
        raise late from None


async def _fail(setup: Setup, step: Step, error: UserError) -> None:
    async with setup.ctx.store.write() as tx:
        await initialization.fail(tx, setup.ctx.run, setup.project, step, error)
