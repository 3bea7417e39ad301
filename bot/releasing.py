"""May it go? What forge and database say is collected, `gates.judge` asked, and what `releases` decides is done."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from bot import pinning, pruning
from bot.context import Context, known_as
from bot.core import binding, gates, looking, people, policy, quorum, releases, repoconfig
from bot.core import rules as core_rules
from bot.core.arrivals import follow_call
from bot.core.binding import Parts
from bot.core.deployments import Phase
from bot.core.errors import TemporaryError, UserError
from bot.core.gates import Before, Claim, Facts, request_of
from bot.core.inputs import Inputs, made_of
from bot.core.people import Person
from bot.core.policy import Policy
from bot.core.ports import Cluster, CommitAuthor, Forge, PullRequest, Review
from bot.core.prunes import Pruned
from bot.core.quorum import Voice
from bot.core.reasons import GO, Verdict, as_json, from_json, summary
from bot.core.releases import Judged, RequestClosed, RequestMoved, Resumed, Wanted
from bot.core.rules import Rules
from bot.inputs import Evidence, read
from bot.store import approvals, deployments, git_sync, heads, holds, leases, locks, pins, projects, runs, stands
from bot.store.deployments import Place, Wish, patience
from bot.store.transactions import Store, Transaction
from models import Deployment, Environment, Repository

AT_ONCE = 8  # of these questions
LOOKED_AT = 100  # commits whose files are asked for, to know whose changes they are
NOT_SUCCEEDED = tuple(phase for phase in Phase if phase is not Phase.SUCCEEDED)
OWN_STATUSES = "sluice/"  # never a gate
PUSH, RESUME = "push", "resume"
ASKED = frozenset({"deploy", "promote"})  # triggers that a person's command stands behind

logger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is wanted of an environment, and by whom. `change` is the pull request that it is about.

    `waiting` is the deployment that waits for it already.
    """

    command: str
    commit: str
    asked_by: str = ""  # the account that asked for it; "": a push brought it, or an operator did
    asked_login: str = ""
    change: PullRequest | None = None
    named: bool = False
    behind: bool = False
    prune_confirmed: bool = False
    take_over: bool = False
    pushed_by: str = ""  # the account that pushed it to the branch
    waiting: Deployment | None = None

    @property
    def brought_by(self) -> PullRequest | None:
        """The request whose change it is; what a push brought may only be talked of on another one."""
        change = self.change
        return None if change is not None and self.command == PUSH and change.state != "merged" else change

    @property
    def takes_over(self) -> bool:
        """Whether an admin said, now or when it was asked for, that it may force what others own."""
        return self.take_over or (self.waiting is not None and self.waiting.take_over is not None)

    @property
    def speaks(self) -> bool:
        """Whether somebody asks for it just now, whose rights are to be looked at."""
        return self.waiting is None and self.command != PUSH and bool(self.asked_by)


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """All that the forge knows of it. What the database knows is read when it is decided."""

    where: Place
    asked: Asked
    facts: Facts
    parts: Parts
    branch: str | None  # by which Flux can fetch the commit; None: none leads to it
    head: str | None  # of the environment's branch
    config_commit: str | None
    base_commit: str | None
    applied: frozenset[str]  # the commits that the environment may have something of
    after: Mapping[str, tuple[UUID | None, str]]  # environment → its id, and its inputs at the commit
    persons: Mapping[str, Person]  # whose voices there are, by account
    reviews: tuple[Review, ...] = ()

    @property
    def chain(self) -> str:
        """What it is bound to now."""
        return binding.chain(self.parts)

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self.facts.rules

    @property
    def opens_by_push(self) -> bool:
        """Whether a push alone is a wish: else somebody has to ask for what is to be approved by nobody."""
        return self.rules.auto_sync or self.rules.approvals > 0

    @property
    def stale(self) -> bool:
        """Whether the branch went on since, should nobody have told."""
        return self.asked.command == PUSH and self.head != self.parts.commit


def of(ctx: Context) -> "Gatekeeper":
    """The gatekeeper of a run."""
    return Gatekeeper(ctx.store, ctx.forge, ctx.policy, ctx.repository, ctx.clusters)


@dataclass(frozen=True)
class Gatekeeper:
    """Lets deployments of one repository through, or has them wait, or refuses them."""

    store: Store
    forge: Forge
    policy: Policy
    repository: Repository
    clusters: Mapping[str, Cluster]

    # What the forge knows.

    async def rules(self, where: Place) -> tuple[Rules, str | None]:
        """The rules in force: the stricter of what was applied and what the default branch says; and its head."""
        name, branch = self.repository.full_name, self.repository.default_branch
        head = await self.forge.branch_head(name, branch)
        if head is None:
            return where.rules, None
        try:
            now = await self._configured(where, head)
        except UserError as error:
            logger.info("the configuration cannot be read", repository=name, why=error.message)
            now = None
        return core_rules.in_force(where.rules, now), head

    async def _configured(self, where: Place, head: str) -> repoconfig.Environment | None:
        name, branch = self.repository.full_name, self.repository.default_branch
        entry = (await self.forge.tree(name, head)).entries.get(repoconfig.FILE)
        if entry is None:
            return None
        config = repoconfig.parse(await self.forge.blob(name, entry.oid), branch, name)
        project = config.project(where.project.name)
        return project.environment(where.environment.name) if project else None

    async def person(self, login: str, id: str, rules: Rules) -> Person:
        """Somebody as the forge tells it now, as far as the operator's policy and the rules' lists ask for it."""
        if people.is_operator(login):
            return people.operator(login)
        name = self.repository.full_name
        role = policy.capped(self.policy, known_as(self.repository), login, await self.forge.role(name, login))
        named = sorted(people.teams_named(rules.approvers, rules.deployers))
        teams = [team for team in named if await self.forge.in_team(name, team, login)]
        return Person(login, id or login, role, frozenset(teams))

    async def dossier(self, where: Place, asked: Asked) -> Dossier:
        """Ask the forge for everything that the decision depends on."""
        rules, config_commit = await self.rules(where)
        head = await self.forge.branch_head(self.repository.full_name, where.environment.branch)
        evidence = await read(self.forge, where, asked.commit)
        applied, pruned = await self.pruned(where, asked.commit)
        confirmed = _confirmed(asked, pruned)
        parts = self._parts(asked, evidence, rules, confirmed)
        base_commit = await self._base(asked)
        barred, unknown = await self._authors(where, asked, rules, base_commit, evidence.inputs)
        facts = await self._facts(where, asked, rules, head)
        facts = msgspec.structs.replace(
            facts,
            path_missing=bool(evidence.inputs.missing),
            pruned=pruned,
            prunes_confirmed=confirmed,
            chain=binding.chain(parts),
            barred=barred,
            unknown_authors=unknown,
        )
        reviews = await self._reviews(asked, rules)
        return Dossier(
            where=where,
            asked=asked,
            facts=facts,
            parts=parts,
            branch=where.environment.branch if facts.on_branch else await self._branch(asked),
            head=head,
            config_commit=config_commit,
            base_commit=base_commit,
            applied=applied,
            after={each: await self._inputs_of(where, each, asked.commit) for each in rules.after},
            persons=await self._persons(asked, rules, reviews),
            reviews=reviews,
        )

    async def pruned(self, where: Place, commit: str) -> tuple[frozenset[str], Pruned | None]:
        """The commits that the environment may have something of, and what of that goes with another one."""
        async with self.store.read() as session:
            applied = await pruning.applied(session, where.environment)
        cluster = self.clusters.get(where.environment.cluster)
        return applied, await pruning.look(self.forge, cluster, where, applied - {commit}, commit)

    def _parts(self, asked: Asked, evidence: Evidence, rules: Rules, prunes: tuple[str, ...]) -> Parts:
        return Parts(
            commit=asked.commit,
            inputs=evidence.inputs_digest,
            config=binding.configuration(evidence.config_digest, rules),
            policy=policy.digest(self.policy, known_as(self.repository)),
            prunes=prunes,
            take_over=asked.takes_over,
        )

    async def _facts(self, where: Place, asked: Asked, rules: Rules, head: str | None) -> Facts:
        """Who asks for what, where it lies towards the branch, and what others say of it."""
        name, commit = self.repository.full_name, asked.commit
        on_branch = head is not None and await self.forge.is_ancestor(name, commit, head)
        return Facts(
            command=asked.command,
            environment=where.title,
            commit=commit,
            now=self.store.clock(),
            rules=rules,
            waiting=asked.waiting is not None,
            person=await self.person(asked.asked_login, asked.asked_by, rules) if asked.speaks else None,
            asked_by=asked.asked_by,
            opened_by=asked.asked_login,
            request=request_of(brought, self.repository.forge_id) if (brought := asked.brought_by) else None,
            named=asked.named,
            on_branch=on_branch,
            behind=head is not None and not on_branch and not await self.forge.is_ancestor(name, head, commit),
            behind_said=asked.behind,
            checks=await self._checks(commit) if rules.checks else {},
        )

    async def _checks(self, commit: str) -> Mapping[str, str]:
        found = await self.forge.checks(self.repository.full_name, commit)
        return {name: state for name, state in found.items() if not name.startswith(OWN_STATUSES)}

    async def _branch(self, asked: Asked) -> str | None:
        """A branch of the pull request's that leads to the commit, if there is one in this repository."""
        change, name = asked.change, self.repository.full_name
        if change is None or not change.comes_from(self.repository.forge_id):
            return None
        tip = await self.forge.branch_head(name, change.head_branch)
        leads = tip is not None and await self.forge.is_ancestor(name, asked.commit, tip)
        return change.head_branch if leads else None

    async def _inputs_of(self, where: Place, name: str, commit: str) -> tuple[UUID | None, str]:
        async with self.store.read() as session:
            environment = await projects.environment_named(session, where.project.id, name)
        if environment is None:
            return None, ""
        other = replace(where, environment=environment)
        return environment.id, (await read(self.forge, other, commit)).inputs_digest

    # Who had a part in it, and whose voices there are.

    async def _base(self, asked: Asked) -> str | None:
        """The head of the branch that the request goes to, when it was asked for."""
        if asked.waiting is not None:
            return asked.waiting.base_commit
        if asked.change is None:
            return None
        return await self.forge.branch_head(self.repository.full_name, asked.change.base_branch)

    async def _authors(
        self, where: Place, asked: Asked, rules: Rules, base_commit: str | None, inputs: Inputs
    ) -> tuple[Mapping[str, str], int]:
        """Whose voices do not count, and how many commits have an author whom the forge does not know.

        Only commits count that change what the environment is made of: else whoever mended a README could not approve.
        """
        change, name = asked.brought_by, self.repository.full_name
        fork = change is not None and not change.comes_from(self.repository.forge_id)
        if not rules.approvals and not fork:
            return {}, 0
        since = await self._since(where, asked, base_commit)
        listed = await self.forge.commit_authors(name, since, asked.commit) if since else []
        found = await self._concerned(listed, inputs)
        async with self.store.read() as session:
            pushed = await heads.pushers(session, self.repository.id, change.number) if change else set()
            pushed |= await deployments.pushers(session, where.environment.id) if asked.command == PUSH else set()
            pushed |= await git_sync.askers(session, self.repository.id, [each.commit for each in found])
        barred = quorum.barred(
            author=change.author_id if change else None,
            asked_by=asked.asked_by,
            pushed={*pushed, asked.pushed_by} - {""},
            wrote={each.account_id for each in found if each.account_id is not None},
        )
        return barred, len({each.commit for each in found if each.account_id is None})

    async def _concerned(self, listed: Sequence[CommitAuthor], inputs: Inputs) -> Sequence[CommitAuthor]:
        """The authors of those commits that change the inputs; of all, where there are too many to look at each."""
        if inputs.whole_repository or len({each.commit for each in listed}) > LOOKED_AT:
            return listed
        commits, gate = list(dict.fromkeys(each.commit for each in listed)), asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._changes(each, inputs, gate) for each in commits), return_exceptions=True)
        changed = dict(zip(commits, (_or_raise(each) for each in answers), strict=True))
        return [each for each in listed if changed[each.commit]]

    async def _changes(self, commit: str, inputs: Inputs, gate: asyncio.Semaphore) -> bool:
        async with gate:
            paths = await self.forge.changed_paths(self.repository.full_name, commit)
        return paths is None or any(made_of(inputs, path) for path in paths)

    async def _since(self, where: Place, asked: Asked, base_commit: str | None) -> str | None:
        """Where what it brings begins: at its base if it is a request's own, else at what the environment has."""
        name = self.repository.full_name
        if asked.command != PUSH and base_commit is not None:
            base = await self.forge.merge_base(name, base_commit, asked.commit)
            if base is not None and base != asked.commit:
                return base
        async with self.store.read() as session:
            last = await deployments.newest(session, where.environment.id, without=deployments.NOT_LET_THROUGH)
        return last.commit_hash if last else None

    async def _reviews(self, asked: Asked, rules: Rules) -> tuple[Review, ...]:
        """The reviews of a waiting deployment's request, where they count."""
        if asked.waiting is None or asked.change is None or not rules.reviews_count:
            return ()
        newest = {
            each.author_id: each
            for each in await self.forge.reviews(self.repository.full_name, asked.change.number)
            if each.author_id
        }
        return tuple(newest.values())

    async def _persons(self, asked: Asked, rules: Rules, reviews: tuple[Review, ...]) -> Mapping[str, Person]:
        if asked.waiting is None:
            return {}
        async with self.store.read() as session:
            voices = await approvals.live(session, asked.waiting.id)
        logins = {voice.provider_account_id: voice.user for voice in voices}
        logins |= {each.author_id: each.author for each in reviews}
        return {id: await self.person(login, id, rules) for id, login in logins.items()}

    # The verdict.

    async def judge(self, session: AsyncSession, found: Dossier, now: datetime) -> Verdict:
        """Every gate, with what the database says now."""
        return gates.judge(await self.facts(session, found, now))

    async def facts(self, session: AsyncSession, found: Dossier, now: datetime) -> Facts:
        """What the forge knew, and what the database says now."""
        environment = found.where.environment
        lock = await locks.held(session, environment.id, now)
        hold = await holds.live(session, environment.id)
        return msgspec.structs.replace(
            found.facts,
            now=now,
            lock=Claim(owner=lock.owner, owner_id=lock.owner_id, reason=lock.reason, until=lock.expires_at)
            if lock
            else None,
            hold=Claim(owner=hold.set_by, reason=hold.reason) if hold else None,
            before=tuple([await _before(session, name, *each) for name, each in found.after.items()]),
            voices=await _voices(session, found),
        )

    # What comes of it.

    async def reachable(self, found: Dossier) -> Dossier:
        """Have a branch lead to the commit if it is to go at once; Flux could not fetch it otherwise."""
        if found.branch is not None:
            return found
        async with self.store.read() as session:
            verdict = await self.judge(session, found, self.store.clock())
        if verdict.outcome != GO:
            return found
        return replace(found, branch=await pinning.reach(self.forge, found.where, found.parts.commit))

    async def open(
        self, tx: Transaction, found: Dossier, *, trigger: str, run_id: UUID, by: str, pull_request: int | None = None
    ) -> tuple[Verdict, Deployment | None]:
        """Open what is wanted, if the gates let it: on its way at once, or waiting. Once for a run."""
        environment = found.where.environment
        await deployments.one_at_a_time(tx.session, environment.id)
        before = await deployments.of_run(tx.session, run_id, environment.id)
        if before is not None:
            return from_json(before.gates), before
        facts = await self.facts(tx.session, found, tx.now)
        resumes = trigger == RESUME  # which ends the hold; what stands in the way then?
        verdict = gates.judge(msgspec.structs.replace(facts, hold=None) if resumes else facts)
        if verdict.outcome == GO and found.branch is None:
            raise TemporaryError("a gate opened meanwhile", delay=0.1)
        if verdict.outcome == GO and await pruning.applied(tx.session, environment) != found.applied:
            raise TemporaryError("something else was applied meanwhile", delay=0.1)
        number = found.asked.change.number if found.asked.change else pull_request
        wanted = Wanted(
            commit=found.parts.commit,
            inputs=found.parts.inputs,
            chain=found.chain,
            trigger=trigger,
            verdict=verdict,
            request=number,
        )
        event = Resumed(wanted=wanted) if resumes else wanted
        changes = releases.decide(await stands.read(tx.session, environment), event)
        wish = await self._wish(tx, found, verdict, trigger=trigger, run_id=run_id, by=by, number=number)
        return verdict, await stands.apply(tx, found.where, changes, wish=wish, branch=found.branch, by=by)

    async def _wish(
        self,
        tx: Transaction,
        found: Dossier,
        verdict: Verdict,
        *,
        trigger: str,
        run_id: UUID,
        by: str,
        number: int | None,
    ) -> Wish:
        source, parts = await pins.own_source(tx, found.where), found.parts
        return Wish(
            commit=parts.commit,
            source_id=source.id,
            trigger=trigger,
            requested_by=by,
            requested_by_id=found.asked.asked_by or found.asked.pushed_by or None,
            inputs_digest=parts.inputs,
            config_digest=parts.config,
            policy_digest=parts.policy,
            chain_digest=found.chain,
            run_id=run_id,
            pull_request=number,
            patience=patience(found.where.environment),
            branch=found.branch,
            base_branch=found.asked.change.base_branch if found.asked.change else None,
            base_commit=found.base_commit,
            config_commit=found.config_commit,
            prunes=list(parts.prunes) or None,
            take_over=[] if parts.take_over else None,
            gates=as_json(verdict),
            message=summary(verdict) or None,
        )

    # A deployment that waits.

    async def look(self, deployment: Deployment) -> datetime | None:
        """Judge a leased deployment that waits once more; when to look again if nobody rings."""
        try:
            found = await self.reachable(await self.again(deployment))
        except TemporaryError as trouble:
            logger.info("could not judge", deployment=str(deployment.id), why=str(trouble))
            async with self.store.read() as session:
                waiting = await deployments.how_many_wait(session)
            return looking.after_trouble(self.store.clock(), delay=trouble.delay, waiting=waiting)
        except UserError as error:
            logger.warning("could not judge", deployment=str(deployment.id), why=error.message)
            return self.store.clock() + looking.SELDOM
        async with self.store.write() as tx:
            await deployments.one_at_a_time(tx.session, deployment.environment_id)
            row = await leases.owned(tx.session, deployment)
            if row is None or row.status != Phase.WAITING:
                return tx.now  # whoever has it now, or whatever it is now, is looked at then
            return await self._judged(tx, found, row)

    async def again(self, deployment: Deployment) -> Dossier:
        """Ask the forge anew for all that a deployment depends on that waits."""
        async with self.store.read() as session:
            where = await deployments.place(session, deployment.environment_id)
        number, name = deployment.pull_request, self.repository.full_name
        change = await self.forge.pull_request(name, number) if number is not None else None
        asked = deployment.trigger in ASKED
        return await self.dossier(
            where,
            Asked(
                command=deployment.trigger if asked else PUSH,
                commit=deployment.commit_hash,
                asked_by=(deployment.requested_by_id or "") if asked else "",
                asked_login=deployment.requested_by if asked else "",
                pushed_by="" if asked else deployment.requested_by_id or "",
                change=change,
                waiting=deployment,
            ),
        )

    async def _judged(self, tx: Transaction, found: Dossier, row: Deployment) -> datetime | None:
        await self._heed_reviews(tx, found, row)
        stand = await stands.read(tx.session, found.where.environment)
        changes = releases.decide(stand, await self._moved(tx.session, found, row))
        facts = await self.facts(tx.session, found, tx.now)
        verdict = gates.judge(facts)
        if not changes:
            if verdict.outcome == GO and found.branch is None:
                return tx.now
            if verdict.outcome == GO and await pruning.applied(tx.session, found.where.environment) != found.applied:
                return tx.now
            changes = releases.decide(stand, _as_judged(found, row, verdict))
        made = await stands.apply(tx, found.where, changes, verdict=verdict, branch=found.branch, by=row.requested_by)
        if made is not None:
            return tx.now
        if row.status != Phase.WAITING:
            await self._newest(tx, found, row)
            return None
        if found.stale:
            await self._newest(tx, found, row)
        await _note(tx, found.where, row, verdict)
        waiting = await deployments.how_many_wait(tx.session)
        return looking.due(facts, verdict, since=row.created_at, waiting=waiting)

    async def _newest(self, tx: Transaction, found: Dossier, row: Deployment) -> None:
        """What a push brought and ended, or fell behind, is followed by the newest of the branch."""
        if row.trigger != PUSH or found.head is None or row.status in (Phase.REJECTED, Phase.CANCELLED):
            return
        environment = await tx.session.get_one(Environment, row.environment_id, populate_existing=True)
        call = follow_call(
            self.repository.provider,
            self.repository.forge_id,
            environment.branch,
            found.head,
            environment.id,
            environment.last_number,
            actor=row.requested_by,
            actor_id=row.requested_by_id or "",
        )
        await runs.start(tx, self.repository, call)

    async def _moved(self, session: AsyncSession, found: Dossier, row: Deployment) -> RequestMoved | RequestClosed:
        """What became of its pull request since it was asked for, as far as that matters."""
        change = found.asked.change
        if change is None:
            return RequestMoved(number=0)
        if change.state != "open":
            return RequestClosed(number=change.number, merged=change.state == "merged")
        ledger = (session, self.repository.id, "pull_request", str(change.number))
        known = await heads.newest(*ledger, before=row.created_at)
        now = await heads.newest(*ledger)  # a delivery may have told more than the forge did when it was asked
        moved = next((head for head in (change.head, now) if known is not None and head not in (None, known)), None)
        return RequestMoved(
            number=change.number,
            head=moved,
            base=change.base_branch if row.base_branch not in (None, change.base_branch) else None,
            draft=change.draft,
        )

    async def _heed_reviews(self, tx: Transaction, found: Dossier, row: Deployment) -> None:
        """A review of exactly this commit is a voice; one that was taken back is none any more."""
        if not found.rules.reviews_count:
            return
        live = {voice.provider_account_id: voice for voice in await approvals.live(tx.session, row.id)}
        said = {each.author_id: each for each in found.reviews if each.commit == row.commit_hash}
        yes = {id: each for id, each in said.items() if each.verdict == approvals.APPROVED}
        gone = {id for id, voice in live.items() if voice.run_id is None and id not in yes}
        await approvals.void(tx, found.where, row, approvals.WITHDRAWN, gone)
        for id in yes.keys() - live.keys():
            person = found.persons[id]
            if people.may_approve(person, found.rules).passed:
                await approvals.give(tx, found.where, row, person, reason=f"review {yes[id].id}")


def _or_raise(answer: bool | BaseException) -> bool:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def parts_of(row: Deployment) -> Parts:
    """What a deployment was bound to when it was opened."""
    return Parts(
        commit=row.commit_hash,
        inputs=row.inputs_digest,
        config=row.config_digest,
        policy=row.policy_digest,
        prunes=tuple(row.prunes or ()),
        take_over=row.take_over is not None,
    )


def _confirmed(asked: Asked, pruned: Pruned | None) -> tuple[str, ...]:
    """What may go: of a waiting deployment what was confirmed when it was asked for, whatever would go by now."""
    if asked.waiting is not None:
        return tuple(asked.waiting.prunes or ())
    return pruned.names if pruned is not None and asked.prune_confirmed else ()


def _as_judged(found: Dossier, row: Deployment, verdict: Verdict) -> Judged:
    lost = {id for id, person in found.persons.items() if not people.may_approve(person, found.rules).passed}
    moved = tuple(binding.moved(parts_of(row), found.parts))
    return Judged(id=row.id, chain=found.chain, verdict=verdict, moved=moved, lost=frozenset(lost))


async def _before(session: AsyncSession, name: str, environment_id: UUID | None, wanted: str) -> Before:
    last = await deployments.newest(session, environment_id, without=NOT_SUCCEEDED) if environment_id else None
    return Before(
        name=name,
        wanted=wanted,
        live=last.inputs_digest if last else None,
        commit=last.commit_hash if last else None,
    )


async def _voices(session: AsyncSession, found: Dossier) -> tuple[Voice, ...]:
    """Those of people of whom the forge was asked; a voice that came in meanwhile rings for another look."""
    waiting = found.asked.waiting
    if waiting is None:
        return ()
    return tuple(
        Voice(found.persons[row.provider_account_id], row.commit_hash, row.chain_digest, row.created_at)
        for row in await approvals.live(session, waiting.id)
        if row.provider_account_id in found.persons
    )


async def _note(tx: Transaction, where: Place, row: Deployment, verdict: Verdict) -> None:
    """Keep the verdict, and tell it if it is another one than before."""
    tree = as_json(verdict)
    if row.gates == tree:
        return
    before, row.gates, row.message = row.message, tree, summary(verdict) or None
    await tx.session.flush()
    await deployments.say(tx, where, row, status=row.message != before)
