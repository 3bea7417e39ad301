"""Set GitOps up for a repository: environments, and the Flux objects that bring its commits there."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from bot.context import Context
from bot.core import repoconfig
from bot.core.errors import UserError
from bot.core.results import Result, done, refused
from bot.core.roles import Role
from bot.enabling import configuration
from bot.enabling.carrying_out import carry_out
from bot.enabling.report import told
from bot.enabling.setup import Setup, Wanted
from bot.registry import command
from bot.store import initialization, projects


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which environments; all of them for none."""

    environments: Annotated[tuple[str, ...], Meta(description="only these")] = ()
    scaffold: Annotated[bool, Meta(description="open a pull request with the folders that are missing")] = False
    take_over: Annotated[bool, Meta(description="also over fields that another manager owns")] = False


@command("enable", needs=Role.ADMIN, on=("open",))
async def enable(ctx: Context, args: Args) -> Result:
    """Set GitOps up for this repository, or bring it up to date.

    Without names: development, staging and production at deploy/<name>, or what .sluice.yaml on the default branch
    says. It goes step by step, which its comment shows; after a failure, comment it again and it goes on there. Once
    enabled, it shows what the configuration changes, and applies it.
    """
    setups = await _claimed(ctx, args, await _found(ctx, args))
    failures = [failure for setup in setups if (failure := await _failure(setup)) is not None]
    if failures:
        return refused(failures[0].code, "\n\n".join(failure.message for failure in failures))
    return done("\n\n".join([await told(setup) for setup in setups]))


async def _found(ctx: Context, args: Args) -> Mapping[str, Wanted | UserError]:
    """What is wanted, by project. If that cannot be read, a step of the projects that are known will say why."""
    try:
        return await configuration.read(ctx, args.environments)
    except UserError as error:
        async with ctx.store.read() as session:
            known = await projects.of_repository(session, ctx.repository.id)
        return dict.fromkeys(
            [project.slug for project in known] or [repoconfig.project_name(ctx.repository.full_name)], error
        )


async def _claimed(ctx: Context, args: Args, found: Mapping[str, Wanted | UserError]) -> list[Setup]:
    bases = {name: each.basis if isinstance(each, Wanted) else "" for name, each in found.items()}
    async with ctx.store.write() as tx:
        claimed = await initialization.claim(tx, ctx.repository, ctx.run, bases)
    return [Setup(ctx, project, found[project.name], args.scaffold, args.take_over) for project in claimed]


async def _failure(setup: Setup) -> UserError | None:
    """Carry out one project's steps; one that fails does not keep the others from being enabled."""
    try:
        await carry_out(setup)
    except UserError as error:
        return error
    return None
