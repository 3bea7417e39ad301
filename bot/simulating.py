"""What would become of a command: `sluice simulate` asks every gate and changes nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec

from bot import wiring
from bot.core import gates
from bot.core.conversation import code
from bot.core.errors import ConfigError, UserError
from bot.core.gates import Facts, Verdict
from bot.core.people import Person
from bot.core.ports import Cluster, Forge, PullRequest
from bot.core.quorum import Voice, own_change
from bot.core.reasons import Reason, refuses
from bot.releasing import Asked, Gatekeeper
from bot.settings import Settings
from bot.store import deployments, repositories
from bot.store.database import Database, refuse_newer
from bot.store.deployments import Place
from bot.store.transactions import Store
from bot.targets import matching, places
from models import Deployment
from models.base import now

ON_WHAT_WAITS = frozenset({"approve", "reject", "cancel"})


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What if `login` said `command` of `target`, at `commit`, on that pull request?"""

    repository: str
    login: str
    command: str
    target: str
    commit: str | None = None
    pull_request: int | None = None
    behind: bool = False
    prune_confirmed: bool = False
    forge: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """Of one environment: the commit that it is about, and every gate."""

    environment: str
    commit: str
    verdict: Verdict


async def simulate(settings: Settings, question: Question) -> list[Answer]:
    """One answer for each environment that the target may mean."""
    if question.command not in gates.GATES:
        raise ConfigError(f"{question.command} has no gates; there are {', '.join(sorted(gates.GATES))}")
    refuse_newer(settings.database_url)
    async with _opened(settings) as (store, forges, clusters):
        async with store.read() as session:
            repository = await repositories.named(session, question.repository, question.forge)
            found = matching(await places(session, repository), question.target)
        if repository.provider not in forges:
            raise UserError("forge_not_configured", f"{repository.provider} is not configured any more")
        keeper = Gatekeeper(store, forges[repository.provider], settings.policy, repository, clusters)
        return [await _answer(keeper, where, question) for where in found]


class _NoBell:
    """A simulation writes nothing, so there is nothing to ring for."""

    def ring(self, queue: str, id: UUID, *, after: float = 0.0) -> None:
        raise AssertionError("a simulation changed something")


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Store, dict[str, Forge], Mapping[str, Cluster]]]:
    database, forges = Database(settings.database_url), wiring.make_forges(settings)
    there = settings.kubeconfig is not None or settings.kubeconfigs or settings.in_pod
    clusters = wiring.make_clusters(settings) if there else {}
    try:
        yield Store(database, _NoBell(), now), forges, clusters
    finally:
        await database.close()
        for forge in forges.values():
            await forge.close()
        for cluster in clusters.values():
            await cluster.close()


async def _answer(keeper: Gatekeeper, where: Place, question: Question) -> Answer:
    async with keeper.store.read() as session:
        waiting = await deployments.waiting(session, where.environment.id)
    if question.command not in ON_WHAT_WAITS:
        return await _asked(keeper, where, question)
    if waiting is None:
        raise UserError("nothing_waits", f"nothing waits in {code(where.title)}; `sluice status` shows what there is")
    return await _of_what_waits(keeper, where, question, waiting)


async def _asked(keeper: Gatekeeper, where: Place, question: Question) -> Answer:
    """Something that nothing stands behind yet."""
    name, number = keeper.repository.full_name, question.pull_request
    change = await keeper.forge.pull_request(name, number) if number is not None else None
    if number is not None and change is None:
        raise UserError("no_pull_request", f"there is no pull request #{number}")
    commit = await _commit(keeper, where, question, change)
    account = await _account(keeper, question.login)
    pushed = question.command == gates.PUSH
    asked = Asked(
        command=question.command,
        commit=commit,
        asked_by="" if pushed else account,
        asked_login="" if pushed else question.login,
        pushed_by=account if pushed else "",
        change=change,
        named=question.commit is not None,
        behind=question.behind,
        prune_confirmed=question.prune_confirmed,
    )
    found = await keeper.dossier(where, asked)
    async with keeper.store.read() as session:
        known = await deployments.succeeded(session, where.environment.id, commit=commit, limit=1)
        facts = await keeper.facts(session, found, keeper.store.clock())
    return Answer(where.title, commit, gates.judge(msgspec.structs.replace(facts, deployed_here=bool(known))))


async def _of_what_waits(keeper: Gatekeeper, where: Place, question: Question, waiting: Deployment) -> Answer:
    """Somebody's yes or no to what waits: whether it would count, and for a yes, what would be missing then."""
    found = await keeper.again(waiting)
    async with keeper.store.read() as session:
        facts = await keeper.facts(session, found, keeper.store.clock())
    person = await keeper.person(question.login, await _account(keeper, question.login), found.rules)
    spoken = msgspec.structs.replace(facts, command=question.command, person=person, waiting=False)
    reasons = gates.judge(spoken).reasons
    if question.command == "approve" and Verdict(reasons).outcome == "go":
        reasons = (*reasons, *_of_a_yes(facts, person, waiting))
    return Answer(where.title, waiting.commit_hash, Verdict(reasons))


def _of_a_yes(facts: Facts, person: Person, waiting: Deployment) -> tuple[Reason, ...]:
    """What refuses the voice of somebody who may approve, as it refuses `/approve`; else what would be missing."""
    if person.id in facts.barred:
        return (msgspec.structs.replace(own_change(person, facts.barred[person.id]), waits=False),)
    if facts.chain != waiting.chain_digest:
        return (refuses("ref_changed", "something moved since it was asked for; it ends, nothing is approved"),)
    return _with(facts, person).reasons


def _with(facts: Facts, person: Person) -> Verdict:
    voice = Voice(person, facts.commit, facts.chain, facts.now)
    return gates.judge(msgspec.structs.replace(facts, voices=(*facts.voices, voice)))


async def _commit(keeper: Gatekeeper, where: Place, question: Question, change: PullRequest | None) -> str:
    """The one that was named, or the request's head, or the branch's."""
    name, branch = keeper.repository.full_name, where.environment.branch
    if question.commit is not None:
        found = await keeper.forge.commit(name, question.commit.lower())
        if found is None:
            raise UserError("sha_not_in_change", f"there is no commit {code(question.commit, 60)} in {name}")
        return found
    head = change.head if change is not None else await keeper.forge.branch_head(name, branch)
    if head is None:
        raise UserError("branch_missing", f"there is no branch {code(branch)}")
    return head


async def _account(keeper: Gatekeeper, login: str) -> str:
    """By which the forge knows who had a part in something; the login, which is no account's id, if there is none."""
    return await keeper.forge.id_of(login) or login
