"""Which commit and which waiting deployments somebody's words are about: what was known when they were received."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bot.context import Context
from bot.core.conversation import code
from bot.core.deployments import Phase, short
from bot.core.errors import TemporaryError, UserError
from bot.releasing import ASKED
from bot.store import approvals, deliveries, deployments, heads
from bot.store.deployments import Place
from bot.targets import matching, places
from models import Deployment

SHA = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Waiting:
    """A deployment that waited when somebody spoke of it."""

    where: Place
    deployment: Deployment


def sha_of(text: str) -> str:
    """A commit as somebody wrote it; UserError `usage` if it is none."""
    if not SHA.fullmatch(text.lower()):
        raise UserError("usage", f"{code(text, 60)} is no commit: 7 to 40 hexadecimal digits are")
    return text.lower()


async def commit(ctx: Context, sha: str | None, again: str) -> str:
    """The commit that was meant: named, or the head that was known when the comment came in.

    `again` is the command to repeat with the commit, should the head have moved meanwhile.
    """
    if ctx.pull_request is None:
        return await _without_request(ctx, sha)
    if sha is not None:
        return await _of_change(ctx, sha_of(sha))
    if ctx.change.state != "open":
        merged = ctx.change.merge_commit or ctx.change.head
        raise UserError(
            "wrong_state", f"#{ctx.change.number} is merged; name the commit that you mean: `{again} {short(merged)}`"
        )
    await head_was_known(ctx, again)
    return ctx.change.head


async def _without_request(ctx: Context, sha: str | None) -> str:
    wanted = sha_of(sha) if sha is not None else ctx.call.commit
    if wanted is None:
        raise UserError("usage", "say which commit: there is no pull request here")
    found = await ctx.forge.commit(ctx.repository.full_name, wanted)
    if found is None:
        raise UserError("sha_not_in_change", f"there is no commit {code(short(wanted))} in this repository")
    return found


async def _of_change(ctx: Context, sha: str) -> str:
    change, name = ctx.change, ctx.repository.full_name
    tips = [change.head, *([change.merge_commit] if change.merge_commit else [])]
    for tip in tips:
        if tip.startswith(sha):
            return tip
    found = await ctx.forge.commit(name, sha)
    if found is not None:
        for tip in tips:
            if await ctx.forge.is_ancestor(name, found, tip):
                return found
    raise UserError("sha_not_in_change", f"{short(sha)} is not a commit of this pull request")


async def head_was_known(ctx: Context, again: str) -> None:
    """UserError `ref_changed` unless the head is the one that was known when the comment came in."""
    await _ledger_is_complete(ctx)
    change = ctx.change
    async with ctx.store.read() as session:
        told = await heads.newest(
            session, ctx.repository.id, "pull_request", str(change.number), before=ctx.run.received_at
        )
    if told != change.head:
        what = f"was {short(told)} when you wrote" if told else "was not known yet when you wrote"
        repeat = f"`{again} {short(change.head)}`"
        raise UserError(
            "ref_changed", f"the head is {short(change.head)}, but {what}; repeat with the commit: {repeat}"
        )


async def _ledger_is_complete(ctx: Context) -> None:
    """Deliveries that came in before the comment may tell of its head; they are opened first."""
    async with ctx.store.read() as session:
        if await deliveries.unopened_before(session, ctx.repository.provider, ctx.run.received_at):
            raise TemporaryError("an earlier delivery is still to be opened", delay=0.05)


async def waiting(ctx: Context, target: str | None, sha: str | None, command: str) -> list[Waiting]:
    """The deployments that waited here when the comment was received, and still do.

    Without a commit on an open request its head must be what they are of.
    """
    await _ledger_is_complete(ctx)
    if ctx.call.operator and command == "reject" and target is not None and ctx.pull_request is None:
        found = await in_environments(ctx, target)  # to say no, an operator need not know to what
    else:
        found = await _found(ctx, target, sha_of(sha) if sha else None)
    if not found:
        what = f" in {code(target, 100)}" if target else ""
        raise UserError("nothing_waits", f"nothing waits{what} here; `/status` shows what there is")
    live = [each for each in found if each.deployment.status == Phase.WAITING]
    if not live:
        ended = found[-1].deployment
        why = f": {ended.message}" if ended.message and ended.status != Phase.QUEUED else ""
        raise UserError("ref_changed", f"{short(ended.commit_hash)} does not wait any more, it is {ended.status}{why}")
    if sha is None and ctx.pull_request is not None and ctx.change.state == "open":
        for each in live:
            if each.deployment.trigger in ASKED and each.deployment.trigger != "promote":
                await _is_the_head(ctx, each, f"/{command} {each.where.title}")
    return live


async def _found(ctx: Context, target: str | None, sha: str | None) -> list[Waiting]:
    since, commit = ctx.run.received_at, sha or ctx.call.commit
    async with ctx.store.read() as session:
        all_ = await places(session, ctx.repository)
        if ctx.pull_request is not None:
            rows = await approvals.of_request(session, ctx.repository.id, ctx.change.number, since=since)
            rows = [row for row in rows if sha is None or row.commit_hash.startswith(sha)]
        elif commit is not None:
            rows = list(await approvals.of_commit(session, ctx.repository.id, commit, since=since))
        else:
            raise UserError("usage", "say which commit: there is no pull request here")
        meant = {where.environment.id: where for where in (matching(all_, target) if target else all_)}
        return [Waiting(meant[row.environment_id], row) for row in rows if row.environment_id in meant]


async def _is_the_head(ctx: Context, each: Waiting, again: str) -> None:
    commit = each.deployment.commit_hash
    async with ctx.store.read() as session:
        told = await heads.newest(
            session, ctx.repository.id, "pull_request", str(ctx.change.number), before=ctx.run.received_at
        )
    if told != commit:
        heads_ = f"the head was {short(told)} when you wrote, and {short(commit)} waits" if told else "it was not known"
        raise UserError("ref_changed", f"{heads_}; repeat with the commit: `{again} {short(commit)}`")


async def in_environments(ctx: Context, target: str) -> list[Waiting]:
    """The deployments that wait in the environments of that name, whoever asked for them."""
    async with ctx.store.read() as session:
        found = matching(await places(session, ctx.repository), target)
        rows = [(where, await deployments.waiting(session, where.environment.id)) for where in found]
    return [Waiting(where, row) for where, row in rows if row is not None]


def listed(found: Sequence[Waiting]) -> str:
    """Their environments, as people read them."""
    return ", ".join(code(each.where.title) for each in found)
