"""A changed `.sluice.yaml`: it is checked and shown where it was changed, and never acted on."""

from dataclasses import dataclass

import msgspec

from bot.context import Context, known_as
from bot.core import policy, repoconfig
from bot.core.config_changes import CHECK, CHECK_BRANCH, Change, difference, tell
from bot.core.conversation import code, plain
from bot.core.deployments import Phase
from bot.core.errors import UserError
from bot.core.repoconfig import Config
from bot.core.results import Result, done, ignored, refused
from bot.registry import work
from bot.store import approvals, outbox, runs
from bot.store.transactions import Transaction

CONTEXT = "sluice/config"
STATUS_LIMIT = 140


class Proposed(msgspec.Struct, frozen=True):
    """The head of the pull request `number`."""

    number: int
    head: str


class Arrived(msgspec.Struct, frozen=True):
    """A head of the default branch."""

    commit: str


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a configuration: in the status, and in the comment."""

    phase: Phase
    status: str
    comment: str
    code: str | None = None


@work(CHECK_BRANCH)
async def arrived(ctx: Context, args: Arrived) -> Result:
    """A broken file on the default branch is a red status there; about a good one nothing is said.

    What waits is bound to the rules in force, so it is looked at again.
    """
    async with ctx.store.write() as tx:
        waiting = await approvals.of_repository(tx.session, ctx.repository.id)
        await approvals.ring(tx, [row.id for row in waiting])
    try:
        await _config(ctx, await _file(ctx, args.commit))
    except UserError as error:
        async with ctx.store.write() as tx:
            await _say(tx, ctx, args.commit, _broken(error))
        return refused(error.code, error.message)
    return ignored("the configuration is good")


@work(CHECK)
async def proposed(ctx: Context, args: Proposed) -> Result:
    """Check what a pull request makes of the configuration, and show what would be different."""
    name, branch = ctx.repository.full_name, ctx.repository.default_branch
    change = await ctx.forge.pull_request(name, args.number)
    base = await ctx.forge.branch_head(name, branch)
    if change is None or change.state != "open" or change.head != args.head:
        return ignored("there is a newer head")
    if change.base_branch != branch or base is None:
        return ignored(f"only what is merged into {branch} counts")
    before, after = await _file(ctx, base), await _file(ctx, args.head)
    if before == after:
        return await _unchanged(ctx, args)
    behind = not await ctx.forge.is_ancestor(name, base, args.head)
    verdict = await _verdict(ctx, before, after, behind=behind)
    async with ctx.store.write() as tx:
        await _say(tx, ctx, args.head, verdict)
    return refused(verdict.code, verdict.comment) if verdict.code else done(verdict.comment)


async def _unchanged(ctx: Context, args: Proposed) -> Result:
    """Nothing is said, unless an earlier head had changed it."""
    async with ctx.store.read() as session:
        told = await runs.last_told(session, ctx.repository.id, CHECK, args.number)
    what = f"`{repoconfig.FILE}` is as on {code(ctx.repository.default_branch)} again."
    return done(what) if told is not None else ignored("the configuration is not changed")


async def _verdict(ctx: Context, before: str | None, after: str | None, *, behind: bool) -> Verdict:
    try:
        new = await _config(ctx, after)
    except UserError as error:
        return _broken(error)
    try:
        changes = difference(await _config(ctx, before), new)
    except UserError:
        changes = []  # what is there now is broken: this mends it
    reasons = [
        reason
        for project in new.projects
        for wanted in project.environments
        for reason in policy.refusals(ctx.policy, known_as(ctx.repository), wanted)
    ]
    if reasons:
        text = "; ".join(reason.text for reason in reasons)
        comment = f"`/enable` would refuse this configuration: {text}\n\n{tell(changes)}"
        return Verdict(Phase.FAILED, _clear(text), comment, reasons[0].code)
    return Verdict(Phase.SUCCEEDED, _summary(changes), _comment(ctx, changes, behind=behind))


def _broken(error: UserError) -> Verdict:
    return Verdict(Phase.FAILED, _clear(error.message), f"{error.message}.", error.code)


def _clear(text: str) -> str:
    return plain(text.replace("`", ""), STATUS_LIMIT)


def _summary(changes: list[Change]) -> str:
    weaker = sum(change.weakens for change in changes)
    count = f"{len(changes)} change{'' if len(changes) == 1 else 's'}" if changes else "Says the same"
    return f"{count}, {weaker} weaken{'s' if weaker == 1 else ''} the protection" if weaker else count


def _comment(ctx: Context, changes: list[Change], *, behind: bool) -> str:
    branch = code(ctx.repository.default_branch)
    parts = [f"`{repoconfig.FILE}` is good, and says the same as before."]
    if changes:
        when = "takes effect when an admin comments `/enable` after the merge"
        parts = [f"`{repoconfig.FILE}` is good. What it changes {when}:", tell(changes)]
    if behind:
        parts.append(f"This change is behind {branch}: some of it may only be what {branch} changed meanwhile.")
    return "\n\n".join(parts)


async def _file(ctx: Context, commit: str) -> str | None:
    """The object id of the configuration at a commit."""
    entry = (await ctx.forge.tree(ctx.repository.full_name, commit)).entries.get(repoconfig.FILE)
    return entry.oid if entry is not None else None


async def _config(ctx: Context, oid: str | None) -> Config:
    branch, name = ctx.repository.default_branch, ctx.repository.full_name
    if oid is None:
        return repoconfig.default(branch, name)
    return repoconfig.parse(await ctx.forge.blob(name, oid), branch, name)


async def _say(tx: Transaction, ctx: Context, commit: str, verdict: Verdict) -> None:
    """A status on the commit, if that is not what it shows already."""
    shown = await outbox.last_said(tx.session, repository_id=ctx.repository.id, commit=commit, context=CONTEXT)
    if shown == (verdict.phase, verdict.status):
        return
    said = await outbox.say_status(
        tx.session,
        repository_id=ctx.repository.id,
        commit=commit,
        context=CONTEXT,
        phase=verdict.phase,
        text=verdict.status,
        now=tx.now,
    )
    tx.ring("report", said)
