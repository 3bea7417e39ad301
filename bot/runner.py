"""One run to its result: permission, then the handler, then the result is written down."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import structlog

from bot import registry
from bot.context import Context, known_as
from bot.core.arguments import convert
from bot.core.calls import Call
from bot.core.errors import BotError, TemporaryError, UserError
from bot.core.policy import Policy, capped
from bot.core.ports import Cluster, Forge, PullRequest
from bot.core.results import Result, refused
from bot.core.roles import Role, open_to_forks, refusal
from bot.credentials import Credentials
from bot.store import git_sync, heads, initialization, leases, log, outbox, users
from bot.store.transactions import Store
from models import Repository, Run

SEEN_WITHIN = 2.0  # seconds

logger = structlog.get_logger()


@dataclass(frozen=True)
class Runner:
    """Carries out runs with the forges and clusters that are configured."""

    store: Store
    forges: Mapping[str, Forge]
    clusters: Mapping[str, Cluster]
    credentials: Credentials
    policy: Policy

    async def execute(self, run: Run) -> datetime | None:
        """Carry out a leased run. Trouble worth waiting for is raised; all else ends the run."""
        async with self.store.read() as session:
            repository = await session.get_one(Repository, run.repository_id)
        call = msgspec.convert(run.call, Call)
        await self._show_seen(repository, call)
        try:
            result = await self._result(repository, run, call)
        except UserError as error:
            result = refused(error.code, error.message)
        await self._finish(repository, run, call, result)
        return None

    async def give_up(self, run: Run, why: str) -> None:
        """End a run that cannot be brought to an end, in words for its author."""
        async with self.store.read() as session:
            repository = await session.get_one(Repository, run.repository_id)
        text = f"I {why} (run `{run.id}`). Nothing more will be tried; repeat the command when the cause is mended."
        call = msgspec.convert(run.call, Call)
        await self._finish(repository, run, call, Result(outcome="failed", code="gave_up", text=text))
        async with self.store.write() as tx:
            await git_sync.given_up(tx, repository, run.id, f"the run {why}")

    async def _show_seen(self, repository: Repository, call: Call) -> None:
        """Eyes on the comment: the first thing that people see. Nothing waits for it long, and nothing fails by it."""
        forge = self.forges.get(repository.provider)
        if forge is None or call.comment_id is None:
            return
        try:
            async with asyncio.timeout(SEEN_WITHIN):
                await forge.react(repository.full_name, call.comment_id, on_commit=call.commit is not None)
        except (BotError, TimeoutError) as error:
            logger.info("could not react to the comment", repository=repository.full_name, why=str(error))

    async def _result(self, repository: Repository, run: Run, call: Call) -> Result:
        forge = self.forges.get(repository.provider)
        if forge is None:
            raise UserError("forge_not_configured", f"{repository.provider} is not configured any more")
        change = await self._pull_request(forge, repository, call)
        context = Context(
            store=self.store,
            forge=forge,
            clusters=self.clusters,
            policy=self.policy,
            credentials=self.credentials,
            repository=repository,
            run=run,
            call=call,
            pull_request=change,
            help=registry.help_text,
        )
        if call.kind == "work":
            work = registry.works()[call.name]
            return await work.handler(context, msgspec.convert(call.arguments, work.arguments))
        return await self._command(context, registry.commands()[call.name])

    async def _command(self, context: Context, command: registry.Command) -> Result:
        if context.call.operator:
            return await self._for_operator(context, command)
        call = context.call
        if call.commit is not None:
            if "commit" not in command.on:
                raise UserError("wrong_state", f"`/{command.name}` works on pull requests only, not on a commit")
        elif context.change.state not in command.on:
            state = context.change.state
            raise UserError("wrong_state", f"`/{command.name}` does not work on a {state} pull request")
        if command.needs > Role.NONE:
            role = await context.forge.role(context.repository.full_name, call.actor)
            context = replace(context, role=self._permit(context, command, role))
        if context.is_fork and not open_to_forks(command.needs, asks_environments=command.asks_environments):
            raise UserError("fork_not_allowed", "pull requests from forks run no commands here")
        return await command.handler(context, convert(call.words, command.arguments, command.name))

    async def _for_operator(self, context: Context, command: registry.Command) -> Result:
        """From the command line: nobody's role is asked, and the forge only about a pull request that was named."""
        change = context.pull_request
        if change is not None and change.state not in command.on:
            raise UserError("wrong_state", f"`{command.name}` does not work on a {change.state} pull request")
        context = replace(context, role=Role.ADMIN)
        return await command.handler(context, convert(context.call.words, command.arguments, command.name))

    def _permit(self, context: Context, command: registry.Command, role: Role) -> Role:
        """The role on the forge as the operator's policy caps it; UserError if it is not enough."""
        has = capped(self.policy, known_as(context.repository), context.call.actor, role)
        why = refusal(command.needs, has)
        if why:
            raise UserError("not_permitted", why + ("; the operator allows no more here" if has < role else ""))
        return has

    async def _pull_request(self, forge: Forge, repository: Repository, call: Call) -> PullRequest | None:
        """The pull request as the forge tells it now; its head goes into the ledger for later commands."""
        if call.kind != "command" or call.number is None:
            return None
        change = await forge.pull_request(repository.full_name, call.number)
        if change is None:
            raise UserError("no_pull_request", f"there is no pull request #{call.number}")
        async with self.store.write() as tx:
            await heads.record(
                tx.session,
                repository.id,
                "pull_request",
                str(call.number),
                change.head,
                actor="sluice",
                received_at=tx.now,
            )
        return change

    async def _finish(self, repository: Repository, run: Run, call: Call, result: Result) -> None:
        """Write the result down, once, if the run is still ours."""
        async with self.store.write() as tx:
            row = await leases.owned(tx.session, run)
            if row is None:
                raise TemporaryError("the lease on the run was lost")
            row.status, row.code, row.text = result.outcome, result.code, result.text
            row.finished_at, row.due_at = tx.now, None
            if result.code is not None:
                await initialization.abandon(tx, run, result.code, result.text)
            log.record(
                tx.session,
                f"run.{result.outcome}",
                event_type="audit" if call.kind == "command" else "project",
                actor=run.actor,
                user_id=await users.of_call(tx, repository.provider, call),
                organization_id=repository.organization_id,
                resource=("run", run.id),
                name=run.name,
                code=result.code,
                text=result.text,
            )
            if call.number is not None and result.outcome != "ignored":
                comment = await outbox.say_comment(
                    tx.session, repository_id=repository.id, number=call.number, now=tx.now
                )
                tx.ring("report", comment)
            target = call.commit if call.number is None else str(call.number) if result.calls else None
            if target is not None and result.outcome != "ignored":
                reply = await outbox.say_reply(
                    tx.session, repository_id=repository.id, target=target, run_id=run.id, now=tx.now
                )
                tx.ring("report", reply)
