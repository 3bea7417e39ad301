"""A whole chain in memory: forge, people, database and Flux, driven step by step through the pure core.

The steps are those of the world: pushes, comments, merges, lost roles, edited rules, results of Flux; and crashes: here
deliveries that come twice, runs carried out twice, and decisions of which the facts have grown old.
What must always be true is counted here anew, by other code than the core's.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import msgspec

from bot.core import binding, gates, lifecycle, quorum
from bot.core import releases as core
from bot.core.binding import Parts
from bot.core.deployments import TERMINAL, Phase
from bot.core.gates import Before, Claim, Facts, Request
from bot.core.people import Person, may_approve
from bot.core.quorum import Voice
from bot.core.reasons import GO, REFUSE, WAIT
from bot.core.releases import Line, Stand, Wanted
from bot.core.roles import Role
from bot.core.rules import Rules, stricter

T = TypeVar("T")
PEOPLE = ("alice", "bob", "carol", "dave", "eve")
RESERVE = ("xi", "yan", "zoe")  # they say nothing until the end, when everything is to come to one
UNKNOWN = 5  # an author whom the forge does not know
START = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)  # a Wednesday
ASKED = ("deploy", "promote")  # triggers that a person's command stands behind
SRE = frozenset({"acme/sre"})
RULES = (
    Rules(approvals=1),
    Rules(approvals=2),
    Rules(approvals=1, approvers=(("team:acme/sre", "user:bob"),), reviews_count=True),
    Rules(approvals=2, reviews_count=True),
    Rules(approvals=1, auto_sync=False, deploy_from="merged"),
    Rules(approvals=1, up_to_date=True, forks=True),
    Rules(auto_sync=False, forks=True),
    Rules(freeze=("Fri 16:00 - Mon 08:00 UTC",)),
    Rules(checks=("ci",), after=("staging",)),
    Rules(),
)


@dataclass
class Pull:
    """A pull request."""

    number: int
    fork: bool = False
    head: str = ""
    base: str = "main"
    draft: bool = False
    state: str = "open"
    commits: list[str] = field(default_factory=list)
    grown_from: int = 0  # how long the branch was when it last took all of it in
    reviews: dict[str, tuple[str, bool]] = field(default_factory=dict)  # by account: of which commit, and yes or no
    ledger: list[tuple[int, str, str]] = field(default_factory=list)  # when a delivery told of a head, and who pushed


@dataclass
class Row:
    """A deployment."""

    id: uuid.UUID
    number: int
    phase: Phase
    wanted: Wanted
    asked_by: str
    created: int
    parts: Parts
    bound: object = None
    pushed_by: str = ""
    base: str | None = None
    voices: dict[str, str] = field(default_factory=dict)  # by account: the chain that was approved
    reviewed: set[str] = field(default_factory=set)  # whose voices came by reviews
    past: list[Phase | None] = field(default_factory=lambda: [None])
    displaced: bool = False  # by something that was wanted, not because it moved


@dataclass(frozen=True)
class Said:
    """A command in a comment."""

    id: int
    command: str
    who: str
    number: int
    at: int
    named: str | None = None


@dataclass(frozen=True)
class Dossier:
    """What the forge knew when it was asked."""

    facts: Facts
    parts: Parts
    rules: Rules
    both: tuple[Rules, Rules]  # what was applied, and what the file says
    bound: object  # what approvals are given to, in other words than the core's
    people: dict[str, Person]
    pushed_by: str = ""
    base: str | None = None
    moved: core.RequestMoved | core.RequestClosed | None = None
    row: uuid.UUID | None = None
    reviews: tuple[str, ...] = ()  # who approves exactly this commit by a review

    @property
    def chain(self) -> str:
        return binding.chain(self.parts)


class Chain:
    """One environment, `production`, and everything around it."""

    def __init__(self, rules: int = 0) -> None:
        # The forge.
        self.roles = {"alice": Role.DEPLOYER, "bob": Role.APPROVER, "carol": Role.APPROVER, "dave": Role.ADMIN}
        self.roles |= {"eve": Role.DEPLOYER} | dict.fromkeys(RESERVE, Role.APPROVER)
        self.teams = {"carol": SRE} | dict.fromkeys(RESERVE, SRE)
        self.inputs: dict[str, str] = {}
        self.authors: dict[str, str | None] = {}
        self.brings: dict[str, list[str]] = {}
        self.main: list[str] = []
        self.pulls = {1: Pull(1), 2: Pull(2, fork=True)}
        self.green: dict[str, str] = {}
        self.file = self.applied = RULES[rules % len(RULES)]
        self.policy = 0
        # The database.
        self.tick = 0
        self.now = START
        self.rows: list[Row] = []
        self.former: list[Row] = []  # of before GitOps was disabled
        self.last_number = 0
        self.pin: tuple[str, int] | None = None
        self.hold = False
        self.lock: str | None = None
        self.lock_ends: datetime | None = None
        self.done: set[object] = set()  # runs that opened something
        # Flux.
        self.cluster: tuple[str, int] | None = None
        self.live: str | None = None
        self.staging: str | None = None
        # What is under way.
        self.deliveries: list[tuple[str, object]] = []
        self.runs: list[Said] = []
        self.old: list[tuple[Said, Dossier]] = []
        self.old_looks: list[Dossier] = []
        self.said = 0
        # What was seen.
        self.justified: set[str] = set()  # commits that may be pinned
        self.succeeded: set[str] = set()
        self.counts: dict[str, int] = {}
        self._commit("alice", 0)
        for pull in self.pulls.values():
            self.push_request(pull.number, 0, 1)

    # Steps of the world. Each takes whole numbers and makes of them what it can.

    def push(self, a: int, b: int, c: int) -> None:
        """Somebody pushes to the branch."""
        self._commit(_pick((*PEOPLE, None), a), b % 3)
        self.deliveries.append(("push", (self.main[-1], _pick(PEOPLE, c))))

    def push_request(self, a: int, b: int, c: int) -> None:
        """Somebody pushes to a pull request; now and then it takes in its base, or is set back by force."""
        pull, pusher = self._pull(a), _pick(PEOPLE, b)
        if c % 7 == 0 and len(pull.commits) > 1:
            pull.commits.pop()
        else:
            commit = self._new(_pick((*PEOPLE, None), b + c), c % 3)
            pull.commits.append(commit)
        if c % 2 or not pull.grown_from:
            pull.grown_from = len(self.main)
        pull.head = pull.commits[-1]
        self.deliveries.append(("request", (pull.number, pull.head, pusher)))

    def change_request(self, a: int, b: int, c: int) -> None:
        """It is retargeted, made a draft, made ready, closed, reopened or merged."""
        pull, what = self._pull(a), b % 6
        if what == 0:
            pull.base = "main" if pull.base == "other" else "other"
        elif what in (1, 2):
            pull.draft = what == 1
        elif what == 3 and pull.state != "merged":
            pull.state = "closed" if pull.state == "open" else "open"
        elif what >= 4 and pull.state == "open" and pull.base == "main":
            self._merge(pull, squash=what == 4, by=_pick(PEOPLE, c))
        self.deliveries.append(("request", (pull.number, pull.head, "")))

    def say(self, a: int, b: int, c: int) -> None:
        """Somebody comments."""
        pull, self.said = self._pull(b), self.said + 1
        command = _pick(COMMANDS, a)
        named = _pick(pull.commits, a) if c % 4 == 0 else None
        self.runs.append(Said(self.said, command, _pick(PEOPLE, c), pull.number, self._tick(), named))

    def agree(self, a: int, b: int, c: int) -> None:
        """Somebody says yes to what waits, on its request or its commit."""
        row, self.said = self.waiting, self.said + 1
        if row is not None:
            named = row.wanted.commit if row.wanted.request is None or b % 2 else None
            who = _pick(("bob", "carol", "dave", "bob", "carol", *PEOPLE), c)
            self.runs.append(Said(self.said, "approve", who, row.wanted.request or 1, self._tick(), named))
            if a % 3:
                self.execute(len(self.runs) - 1, a, c)

    def review(self, a: int, b: int, c: int) -> None:
        """Somebody reviews the head of a request, or takes that back."""
        pull = self._pull(a)
        pull.reviews[_pick(("bob", "carol", "dave", *PEOPLE), c)] = (pull.head, b % 4 != 0)
        self.deliveries.append(("request", (pull.number, pull.head, "")))

    def catch_up(self, a: int, b: int, c: int) -> None:
        """Everything that came in is worked off."""
        for _ in range(len(self.deliveries)):
            self.deliver(0, 1, c)
        for _ in range(len(self.runs)):
            self.execute(0, b, c)

    def deliver(self, a: int, b: int, c: int) -> None:
        """A delivery is opened; one in four comes again."""
        if self.deliveries:
            kind, about = self.deliveries[a % len(self.deliveries)]
            if b % 4:
                self.deliveries.remove((kind, about))
            self._open_delivery(kind, about)

    def execute(self, a: int, b: int, c: int) -> None:
        """A run is carried out; one in four is carried out again, as after a crash."""
        if self.runs:
            said = self.runs[a % len(self.runs)]
            if b % 4:
                self.runs.remove(said)
            dossier = self._collect_said(said)
            if dossier is not None:
                self._carry_out(said, dossier)

    def hesitate(self, a: int, b: int, c: int) -> None:
        """A run has asked the forge, and the world goes on before it decides."""
        if self.runs:
            said = self.runs[a % len(self.runs)]
            dossier = self._collect_said(said)
            if dossier is not None:
                self.old.append((said, dossier))

    def go_on(self, a: int, b: int, c: int) -> None:
        """A run decides by what it asked some time ago."""
        if self.old:
            said, dossier = self.old.pop(a % len(self.old))
            if said in self.runs:
                self.runs.remove(said)
            self._carry_out(said, dossier)

    def look(self, a: int, b: int, c: int) -> None:
        """What waits is judged again, now or by facts that will have grown old."""
        waiting = self.waiting
        if self.old_looks and b % 3 == 0:
            self._looked(self.old_looks.pop(a % len(self.old_looks)))
        elif waiting is not None:
            dossier = self._collect_look(waiting)
            if b % 3 == 1:
                self.old_looks.append(dossier)
            else:
                self._looked(dossier)

    def people(self, a: int, b: int, c: int) -> None:
        """Somebody gets another role, or is in the team or not."""
        waiting = self.waiting
        who = _pick(tuple(waiting.voices) if waiting and waiting.voices and c % 2 else PEOPLE, a)
        if b % 3:
            self.roles[who] = _pick((*Role, Role.APPROVER, Role.APPROVER, Role.ADMIN), c)
        else:
            self.teams[who] = SRE if c % 2 else frozenset()

    def rules(self, a: int, b: int, c: int) -> None:
        """The configuration's file is edited, or an admin applies it, or the operator changes the policy."""
        if a % 4 == 0:
            self.policy = b % 2
        elif a % 2:
            self.file = _pick(RULES, b)
        else:
            self._enable()

    def outside(self, a: int, b: int, c: int) -> None:
        """A check reports, staging gets something else, or time passes."""
        if a % 3 == 0:
            commits = list(self.inputs)
            self.green[commits[b % len(commits)]] = _pick(("success", "pending", "failure", "success"), c)
        elif a % 3 == 1:
            known = list(self.inputs)
            self.staging = known[b % len(known)]
        else:
            self.now += timedelta(hours=1 + b % 60)
            if self.lock_ends is not None and self.now >= self.lock_ends:
                self.lock = self.lock_ends = None
                self._count("lock expired")
                self._freed()

    def flux(self, a: int, b: int, c: int) -> None:
        """Sluice writes the pin, or Flux comes to an end with it."""
        running = self.running
        if self.pin is not None and (self.cluster is None or self.cluster[1] < self.pin[1]):
            self._write_pin()
        elif running:
            row = running[a % len(running)]
            phase = _pick((Phase.SUCCEEDED, Phase.SUCCEEDED, Phase.FAILED, Phase.TIMED_OUT), b)
            self._settle(row, phase)

    STEPS = (
        "push",
        "push_request",
        "change_request",
        *["say"] * 4,
        *["agree"] * 4,
        "review",
        *["deliver"] * 3,
        "catch_up",
    )
    STEPS += (*["execute"] * 4, "hesitate", "go_on", *["look"] * 3, "people", "rules", "outside", *["flux"] * 3)
    STEPS += ("disable",)

    def step(self, name: str, a: int, b: int, c: int) -> None:
        """One step, after which everything that must be true is true."""
        getattr(self, name)(a, b, c)
        self.check()

    # What must always be true.

    def check(self) -> None:
        """The invariants."""
        own = [row for row in self.running if row.wanted.own]
        shared = [row for row in self.running if not row.wanted.own]
        assert sum(row.phase is Phase.WAITING for row in self.rows) <= 1
        assert len(own) <= 1
        assert not (own and shared)
        assert len({row.wanted.inputs for row in shared}) <= 1
        for pin in (self.pin, self.cluster):
            assert pin is None or pin[0] in self.justified, "a pin holds what nobody let"
        for row in self.rows:
            assert all(after and lifecycle.allowed(before, after) for before, after in pairwise(row.past)), row.past
            assert sum(phase in TERMINAL for phase in row.past) <= 1

    def finish(self) -> None:
        """Whatever hinders goes away; then everything that began comes to its one end."""
        self.lock, self.hold = None, False
        self.now = START + timedelta(weeks=50)
        for _ in range(40):
            while self.deliveries:
                self.deliver(0, 1, 0)
            while self.old:
                self.go_on(0, 0, 0)
            while self.runs:
                self.execute(0, 1, 0)
            while self.running:
                self.flux(0, 0, 0)
                self.check()
            waiting = self.waiting
            if waiting is None:
                break
            self._let(waiting)
            self.check()
        assert all(row.phase in TERMINAL for row in self.rows), [row.phase for row in self.rows]
        assert all(sum(phase in TERMINAL for phase in row.past) == 1 for row in self.rows)

    def _let(self, waiting: Row) -> None:
        self.lock, self.hold = None, False
        self.green[waiting.wanted.commit], self.staging = "success", waiting.wanted.commit
        for who in RESERVE:
            waiting.voices[who] = waiting.wanted.chain
        self._looked(self._collect_look(waiting))

    def _justify(self, row: Row, dossier: Dossier) -> None:
        """A deployment of its own was let through: was it rightly?"""
        assert row.bound == dossier.bound, "something moved, and nobody saw it"
        for rules in dossier.both:
            self._justify_by(row, dossier, rules)
        self._count(f"let {dossier.facts.command}")
        self.justified.add(row.wanted.commit)

    def _justify_by(self, row: Row, dossier: Dossier, rules: Rules) -> None:
        facts, command = dossier.facts, dossier.facts.command
        pull = self.pulls.get(facts.request.number) if facts.request else None
        wanted = rules.approvals
        if pull is not None and pull.fork and not facts.on_branch and command in ASKED:
            assert rules.forks
            wanted = max(wanted, 1)
        unasked = {row.asked_by, row.pushed_by, *(who for who in facts.barred)}
        good = {who for who in row.voices if who not in unasked and _may_approve(dossier.people[who], rules)}
        assert rules.reviews_count or not good & row.reviewed
        if wanted:
            assert len(good) >= wanted + bool(facts.unknown_authors), (good, wanted)
        assert not self.hold
        assert self.lock in (None, row.asked_by)
        assert not (rules.freeze and _frozen(self.now))
        assert not rules.checks or facts.checks.get("ci") == "success"
        assert not rules.after or self.inputs.get(self.staging or "") == dossier.parts.inputs
        assert rules.deploy_from != "merged" or facts.on_branch
        assert self.inputs[row.wanted.commit], "there is nothing to deploy"

    # The forge.

    def _new(self, author: str | None, inputs: int) -> str:
        commit = f"{len(self.inputs):040x}"
        gone = len(self.inputs) % 9 == 8  # the environment's folder
        self.inputs[commit], self.authors[commit] = "" if gone else str(inputs), author
        return commit

    def _commit(self, author: str | None, inputs: int) -> None:
        commit = self._new(author, inputs)
        self.main.append(commit)
        self.brings[commit] = [commit]

    def _merge(self, pull: Pull, *, squash: bool, by: str) -> None:
        """The head itself lands on the branch, or a new commit of the same."""
        pull.state = "merged"
        if squash:
            self._commit(by, int(self.inputs[pull.head] or 0))
        else:
            self.main.append(pull.head)
        self.brings[self.main[-1]] = [*pull.commits, self.main[-1]]
        self.deliveries.append(("push", (self.main[-1], by)))

    def _merged_as(self, commit: str) -> Pull | None:
        """The request that was merged as this very commit."""
        return next((each for each in self.pulls.values() if each.state == "merged" and each.head == commit), None)

    def _pull(self, number: int) -> Pull:
        return self.pulls[1 + number % 2]

    def _tick(self) -> int:
        self.tick += 1
        return self.tick

    def _person(self, who: str) -> Person:
        return Person(who, who, self.roles[who], self.teams.get(who, frozenset()))

    # Asking the forge.

    @property
    def in_force(self) -> Rules:
        """The rules that hold."""
        return stricter(self.applied, self.file)

    def _collect(
        self, command: str, commit: str, pull: Pull | None, *, who: str = "", row: Row | None = None, **more: object
    ) -> Dossier:
        rules = self.in_force
        on_branch = commit in self.main
        parts = Parts(
            commit=commit,
            inputs=self.inputs[commit],
            config=binding.configuration("spec", rules),
            policy=str(self.policy),
        )
        pushed_by = row.pushed_by if row else str(more.pop("pushed_by", ""))
        wrote = self._wrote(command, commit, pull)
        barred = quorum.barred(
            author="alice" if pull else None,
            asked_by=row.asked_by if row else who,
            pushed=[*(pusher for _, _, pusher in (pull.ledger if pull else ())), pushed_by],
            wrote=[each for each in wrote if each],
        )
        facts = Facts(
            command=command,
            environment="production",
            commit=commit,
            now=self.now,
            rules=rules,
            waiting=row is not None,
            person=self._person(who) if who and row is None else None,
            asked_by=row.asked_by if row else who,
            request=Request(number=pull.number, state=pull.state, draft=pull.draft, fork=pull.fork) if pull else None,
            on_branch=on_branch,
            path_missing=not self.inputs[commit],
            behind=not on_branch and pull is not None and pull.grown_from < len(self.main),
            checks={"ci": self.green[commit]} if commit in self.green else {},
            chain=binding.chain(parts),
            barred=barred,
            unknown_authors=sum(each is None for each in wrote),
            **more,  # type: ignore[arg-type]
        )
        people = {each: self._person(each) for each in (*PEOPLE, *RESERVE)}
        base = pull.base if pull and command != "push" else None
        both, bound = (self.applied, self.file), (commit, self.inputs[commit], rules, self.policy)
        return Dossier(facts, parts, rules, both, bound, people, pushed_by, base, row=row.id if row else None)

    def _wrote(self, command: str, commit: str, pull: Pull | None) -> list[str | None]:
        """The authors of everything that it brings."""
        if command in ASKED and pull is not None:
            own = pull.commits[: pull.commits.index(commit) + 1] if commit in pull.commits else [commit]
            return [self.authors[each] for each in own]
        last = next((row for row in reversed(self._let_through()) if row.wanted.commit in self.main), None)
        since = self.main.index(last.wanted.commit) + 1 if last else 0
        brought = [each for landed in self.main[since:] for each in self.brings[landed]]
        return [self.authors[each] for each in (*brought, commit)]

    def _collect_said(self, said: Said) -> Dossier | None:
        """What a command depends on; None: it was refused for its words."""
        pull = self.pulls[said.number]
        if said.command == "deploy":
            known = [head for at, head, _ in pull.ledger if at <= said.at]
            if said.named is None and (not known or known[-1] != pull.head):
                self._count("ref_changed")
                return None
            commit = said.named or pull.head
            if commit not in pull.commits and commit not in self.main:
                return None
            return self._collect("deploy", commit, pull, who=said.who, named=said.named is not None, behind_said=True)
        if said.command == "promote":
            return self._collect("promote", self.staging, pull, who=said.who, named=True) if self.staging else None
        if said.command == "resume":
            return self._collect("push", self.main[-1], self._merged_as(self.main[-1]), pushed_by=said.who)
        return self._collect(said.command, pull.head, pull, who=said.who)

    def _collect_look(self, row: Row) -> Dossier:
        """What a waiting deployment depends on."""
        pull = self.pulls.get(row.wanted.request or 0)
        command = row.wanted.trigger if row.wanted.trigger in ASKED else "push"
        dossier = self._collect(command, row.wanted.commit, pull, row=row)
        reviews = pull.reviews.items() if pull else ()
        yes = tuple(who for who, (commit, good) in reviews if good and commit == row.wanted.commit)
        return replace(dossier, moved=self._moved(row, pull), reviews=yes)

    def _moved(self, row: Row, pull: Pull | None) -> core.RequestMoved | core.RequestClosed | None:
        if pull is None:
            return None
        if pull.state != "open":
            return core.RequestClosed(number=pull.number, merged=pull.state == "merged")
        known = [head for at, head, _ in pull.ledger if at <= row.created]
        now = pull.ledger[-1][1] if pull.ledger else None
        moved = next((head for head in (pull.head, now) if known and head not in (None, known[-1])), None)
        base = pull.base if pull.base != row.base else None
        return core.RequestMoved(number=pull.number, head=moved, base=base, draft=pull.draft)

    # The database.

    @property
    def waiting(self) -> Row | None:
        """What waits."""
        return next((row for row in self.rows if row.phase is Phase.WAITING), None)

    @property
    def running(self) -> list[Row]:
        """What is under way."""
        return [row for row in self.rows if row.phase not in TERMINAL and row.phase is not Phase.WAITING]

    def _let_through(self) -> list[Row]:
        kept_out = (Phase.WAITING, Phase.SUPERSEDED, Phase.REJECTED, Phase.CANCELLED)
        return sorted((row for row in self.rows if row.phase not in kept_out), key=lambda row: row.number)

    def _stand(self) -> Stand:
        last = self._let_through()
        return Stand(
            lines=tuple(
                Line(
                    id=row.id,
                    number=row.number,
                    phase=row.phase,
                    commit=row.wanted.commit,
                    inputs=row.wanted.inputs,
                    chain=row.wanted.chain,
                    trigger=row.wanted.trigger,
                    own=row.wanted.own,
                    request=row.wanted.request,
                    base=row.base,
                    approved=frozenset(row.voices),
                )
                for row in self.rows
                if row.phase not in TERMINAL
            ),
            pin=self.pin[0] if self.pin else None,
            live_inputs=last[-1].wanted.inputs if last else None,
            held=self.hold,
            displaced=self._displaced(last[-1].number if last else 0),
        )

    def _displaced(self, since: int) -> uuid.UUID | None:
        brought = [row for row in self.rows if row.wanted.trigger in core.BY_BRANCH]
        newest = max(brought, key=lambda row: row.number, default=None)
        return newest.id if newest is not None and newest.displaced and newest.number >= since else None

    def _verdict(self, dossier: Dossier) -> gates.Verdict:
        """The forge's facts with those of the database now."""
        row = self._row(dossier.row) if dossier.row else None
        voices = row.voices if row else {}
        before = Before(name="staging", wanted=dossier.parts.inputs, live=self.inputs.get(self.staging or ""))
        return gates.judge(
            msgspec.structs.replace(
                dossier.facts,
                now=self.now,
                lock=Claim(owner=self.lock, owner_id=self.lock) if self.lock else None,
                hold=Claim(owner="bob") if self.hold else None,
                before=(before,) if dossier.rules.after else (),
                voices=tuple(Voice(dossier.people[who], "", chain, self.now) for who, chain in voices.items()),
            )
        )

    def _row(self, id: uuid.UUID) -> Row:
        return next(row for row in (*self.rows, *self.former) if row.id == id)

    def _apply(self, changes: list[core.Change], dossier: Dossier | None = None, wanted: Wanted | None = None) -> None:
        """One transaction."""
        made: Row | None = None
        for change in changes:
            self._count(type(change).__name__)
            match change:
                case core.End():
                    self._move(self._row(change.id), change.phase)
                    self._row(change.id).displaced = change.phase is Phase.SUPERSEDED and change.reason is None
                case core.VoidVoices():
                    voices = self._row(change.id).voices
                    for who in change.accounts or tuple(voices):
                        voices.pop(who, None)
                case core.Open():
                    assert wanted is not None
                    made = self._insert(wanted, dossier, change.phase)
                case core.Record():
                    assert wanted is not None
                    self._move(self._insert(wanted, dossier, Phase.QUEUED), Phase.SUPERSEDED)
                case core.Release():
                    made = self._row(change.id)
                    made.number = self._number()
                    self._move(made, Phase.QUEUED)
                    assert dossier is not None
                    self._justify(made, dossier)
                case core.Pin():
                    assert made is not None
                    assert made.wanted.commit == change.commit
                    self.pin = (change.commit, made.number)
                case core.Unpin():
                    self.pin = self.cluster = None
                case core.Hold():
                    self.hold = True
                case core.EndHold():
                    self.hold = False
                case core.Reopen():
                    assert self.waiting is None, "what is to be opened again has its place taken"
                    self.deliveries.append(("push", (self.main[-1], self._row(change.id).pushed_by)))

    def _insert(self, wanted: Wanted, dossier: Dossier | None, phase: Phase) -> Row:
        facts = dossier.facts if dossier else None
        row = Row(
            id=uuid.UUID(int=len(self.rows) + len(self.former) + 1),
            number=self._number(),
            phase=phase,
            wanted=wanted,
            asked_by=facts.asked_by if facts and wanted.trigger in ASKED else "",
            created=self._tick(),
            parts=dossier.parts if dossier else Parts(commit=wanted.commit, inputs=wanted.inputs, config="", policy=""),
            bound=dossier.bound if dossier else None,
            pushed_by=dossier.pushed_by if dossier else "",
            base=dossier.base if dossier else None,
        )
        row.past.append(phase)
        self.rows.append(row)
        if phase is Phase.QUEUED and wanted.own and wanted.trigger in ("push", "resume", *ASKED):
            assert dossier is not None
            self._justify(row, dossier)
        return row

    def _number(self) -> int:
        self.last_number += 1
        return self.last_number

    def _move(self, row: Row, phase: Phase) -> None:
        assert lifecycle.allowed(row.phase, phase), (row.phase, phase)
        row.phase = phase
        row.past.append(phase)

    # What is done with what comes in.

    def _open_delivery(self, kind: str, about: object) -> None:
        assert isinstance(about, tuple)
        if kind == "push":
            self._pushed(*about)
            return
        number, head, pusher = about
        pull = self.pulls[number]
        if pusher:
            pull.ledger.append((self._tick(), head, pusher))
        pull.ledger.append((self._tick(), pull.head, ""))
        waiting = self.waiting
        if waiting is not None and waiting.wanted.request == number:
            self._looked(self._collect_look(waiting))

    def _pushed(self, brought: str, pusher: str) -> None:
        """A push is a hint: the branch's head is read. On a follower what it brought goes along, or is told of."""
        commit = self.main[-1]
        if self.applied.follows:
            if self.pin is None:
                self._overtaken(brought, commit)
                self._shared(commit, "push")
            return
        rules = self.in_force
        if rules.auto_sync or rules.approvals:
            pull = self._merged_as(commit)
            self._want(self._collect("push", commit, pull, pushed_by=pusher), "push", pull)

    def _overtaken(self, brought: str, head: str) -> None:
        if brought == head or any(row.wanted.commit == brought for row in self.rows):
            return
        wanted = self._by_branch(brought, "push")
        alike = self.inputs[brought] == self.inputs[head]
        self._apply(core.decide(self._stand(), core.Overtaken(wanted=wanted, head=head, alike=alike)), None, wanted)
        assert alike or all(row.wanted.commit != brought for row in self.running), "the past is under way"

    def _shared(self, commit: str, trigger: str) -> None:
        """By the source that followers share."""
        wanted = self._by_branch(commit, trigger)
        self._apply(core.decide(self._stand(), wanted), None, wanted)
        assert self.pin is None

    def _by_branch(self, commit: str, trigger: str) -> Wanted:
        return Wanted(commit=commit, inputs=self.inputs[commit], chain="", trigger=trigger, own=False)

    def _want(self, dossier: Dossier, trigger: str, pull: Pull | None) -> None:
        verdict = self._verdict(dossier)
        wanted = Wanted(
            commit=dossier.parts.commit,
            inputs=dossier.parts.inputs,
            chain=dossier.chain,
            trigger=trigger,
            verdict=verdict,
            request=pull.number if pull else None,
        )
        self._count(f"{trigger} {verdict.outcome}")
        waiting = self.waiting
        self._apply(core.decide(self._stand(), wanted), dossier, wanted)
        if waiting is not None and verdict.outcome == WAIT and _alike(waiting.wanted, wanted):
            assert self.waiting is waiting, "what waits was asked for twice"

    def _looked(self, dossier: Dossier) -> None:
        assert dossier.row is not None
        row = self._row(dossier.row)
        waits = row.phase is Phase.WAITING
        if waits and dossier.rules.reviews_count:
            self._heed(row, dossier)
        changes = core.decide(self._stand(), dossier.moved) if dossier.moved and waits else []
        if not changes:
            lost = {who for who in row.voices if not may_approve(dossier.people[who], dossier.rules).passed}
            judged = core.Judged(
                id=row.id,
                chain=dossier.chain,
                verdict=self._verdict(dossier),
                moved=tuple(binding.moved(row.parts, dossier.parts)),
                lost=frozenset(lost),
            )
            changes = core.decide(self._stand(), judged)
        assert waits or not changes, "a look at what waits no more changed something"
        self._apply(changes, dossier)
        if row.wanted.trigger == "push" and row.phase is Phase.SUPERSEDED:
            self.deliveries.append(("push", (self.main[-1], row.pushed_by)))

    def _heed(self, row: Row, dossier: Dossier) -> None:
        """A review of exactly this commit is a voice; one that was taken back is none any more."""
        for who in row.reviewed - set(dossier.reviews):
            row.voices.pop(who, None)
        for who in dossier.reviews:
            if who not in row.voices and may_approve(dossier.people[who], dossier.rules).passed:
                row.voices[who] = row.wanted.chain
                row.reviewed.add(who)
                self._count("review")

    def _carry_out(self, said: Said, dossier: Dossier) -> None:
        if said.id in self.done:
            return
        getattr(self, f"_{said.command}")(said, dossier)

    def _deploy(self, said: Said, dossier: Dossier) -> None:
        if self.applied.follows and self.in_force.follows and not dossier.facts.rules.follows:
            return
        self.done.add(said.id)
        self._want(dossier, "deploy", self.pulls[said.number])

    def _promote(self, said: Said, dossier: Dossier) -> None:
        """What runs in staging."""
        self.done.add(said.id)
        self._want(dossier, "promote", self.pulls[said.number])

    def _approve(self, said: Said, dossier: Dossier) -> None:
        row = self._meant(said, dossier)
        if row is not None and self._verdict(dossier).outcome == GO:
            row.voices[said.who] = row.wanted.chain
            row.reviewed.discard(said.who)
            self._count("voice")
            self._looked(self._collect_look(row))

    def _reject(self, said: Said, dossier: Dossier) -> None:
        row = self._meant(said, dossier)
        if row is not None and self._verdict(dossier).outcome == GO:
            self._apply(core.decide(self._stand(), core.Rejected(row.id)))

    def _meant(self, said: Said, dossier: Dossier) -> Row | None:
        """What waited for this request when the comment came in, at the head that was known then."""
        row, pull = self.waiting, self.pulls[said.number]
        if row is None or row.wanted.request not in (None, said.number) or row.created > said.at:
            return None
        known = [head for at, head, _ in pull.ledger if at <= said.at]
        if said.named is not None:
            return row if said.named == row.wanted.commit else None
        if row.wanted.request is None:
            return None  # it takes a comment on the commit
        if pull.state == "open" and row.wanted.trigger == "deploy" and (not known or known[-1] != row.wanted.commit):
            return None
        return row

    def _cancel(self, said: Said, dossier: Dossier) -> None:
        row = self.waiting
        if row is not None and (said.who == row.asked_by or dossier.people[said.who].role >= Role.ADMIN):
            self._apply(core.decide(self._stand(), core.Cancelled(row.id)))

    def _lock(self, said: Said, dossier: Dossier) -> None:
        """A follower is pinned to what it has."""
        if self._verdict(dossier).outcome != GO and self.lock not in (None, said.who):
            return
        if dossier.people[said.who].role < Role.DEPLOYER or (self.applied.follows and not self._stay("lock")):
            return
        if self.lock is None:
            self.lock, self.lock_ends = said.who, self.now + timedelta(hours=12) if said.at % 2 else None

    def _unlock(self, said: Said, dossier: Dossier) -> None:
        if self.lock == said.who or dossier.people[said.who].role >= Role.ADMIN:
            self.lock = self.lock_ends = None
            self._freed()

    def _rollback(self, said: Said, dossier: Dossier) -> None:
        """To a commit that succeeded here, at once."""
        good = [row for row in self.rows if row.phase is Phase.SUCCEEDED]
        if not good or self._verdict(dossier).outcome != GO:
            return
        self.done.add(said.id)
        old = good[said.at % len(good)].wanted
        wanted = Wanted(commit=old.commit, inputs=old.inputs, chain="", trigger="rollback", request=said.number)
        assert old.commit in self.succeeded
        self.justified.add(old.commit)
        self._apply(core.decide(self._stand(), core.RolledBack(wanted=wanted)), dossier, wanted)
        assert self.hold
        assert self.waiting is None

    def _resume(self, said: Said, dossier: Dossier) -> None:
        if dossier.people[said.who].role < Role.DEPLOYER or self.lock not in (None, said.who):
            return
        self.done.add(said.id)
        if self.applied.follows:
            goes = self.pin is not None and self.lock is None
            back = self._by_branch(self.main[-1], "unpin") if goes else None
            self._apply(core.decide(self._stand(), core.Resumed(wanted=back)), None, back)
            assert not self.hold
            assert not goes or self.pin is None
            return
        held, self.hold = self.hold, False
        verdict = self._verdict(dossier)
        self.hold = held
        parts = dossier.parts
        wanted = Wanted(
            commit=parts.commit, inputs=parts.inputs, chain=dossier.chain, trigger="resume", verdict=verdict
        )
        self._count(f"resume {verdict.outcome}")
        self._apply(core.decide(self._stand(), core.Resumed(wanted=wanted)), dossier, wanted)
        assert self.hold == (held and verdict.outcome == REFUSE), "what is refused changes nothing"

    def _freed(self) -> None:
        """A follower follows again when nothing keeps it."""
        if self.applied.follows and self.pin is not None and not self.hold and self.lock is None:
            self._shared(self.main[-1], "unpin")

    def _stay(self, trigger: str) -> bool:
        """Pin a follower to what it has; False where it has nothing yet."""
        if self.pin is not None:
            return True
        if self.live is None or self.running:
            return False
        wanted = Wanted(commit=self.live, inputs=self.inputs[self.live], chain="", trigger=trigger)
        self.justified.add(self.live)
        self._apply(core.decide(self._stand(), wanted), None, wanted)
        return True

    def _enable(self) -> None:
        """An admin applies the file: turning protection on pins what is there, turning it off unpins."""
        was, self.applied = self.applied, self.file
        if was.follows and not self.applied.follows and self.live is not None:
            for row in self.running:
                self._settle(row, Phase.SUCCEEDED)
            self._stay("enable")
        elif self.applied.follows and not was.follows:
            self._freed()

    def disable(self, a: int, b: int, c: int) -> None:
        """GitOps is taken away; a little later it is set up anew, and nothing is known of what was before."""
        if a % 4:
            return
        self._apply(core.decide(self._stand(), core.Disabled()))
        assert all(row.phase in TERMINAL for row in self.rows)
        self.former += self.rows
        self.rows, self.pin, self.cluster, self.live = [], None, None, None
        self.hold, self.lock, self.lock_ends, self.applied = False, None, None, self.file
        self.succeeded, self.justified = set(), set()
        if self.applied.follows:
            self._shared(self.main[-1], "enable")
        else:
            self.deliveries.append(("push", (self.main[-1], "")))

    # Flux.

    def _write_pin(self) -> None:
        assert self.pin is not None
        if self.cluster is not None:
            assert self.pin[1] > self.cluster[1]
        self.cluster = self.pin
        for row in self.running:
            if row.number == self.pin[1] and row.phase is Phase.QUEUED:
                self._move(row, Phase.APPLYING)
                self._move(row, Phase.RECONCILING)

    def _settle(self, row: Row, phase: Phase) -> None:
        if phase is Phase.SUCCEEDED:
            self.succeeded.add(row.wanted.commit)
            self.live = row.wanted.commit
        self._apply(core.decide(self._stand(), core.Settled(id=row.id, phase=phase)))
        for phase in (Phase.FAILED, Phase.SUCCEEDED):
            assert core.decide(self._stand(), core.Settled(id=row.id, phase=phase)) == [], "it ends only once"

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


COMMANDS = (
    *["deploy"] * 4,
    *["promote"] * 2,
    "approve",
    "reject",
    "cancel",
    "lock",
    "lock",
    "unlock",
    *["rollback"] * 3,
    "resume",
    "resume",
)


def play(seed: int, steps: int, count: Callable[[dict[str, int]], None] = lambda counts: None) -> None:
    """One sequence of random steps, to its end; the seed plays it again."""
    chance = random.Random(seed)
    chain = Chain(seed)
    for _ in range(steps):
        chain.step(chance.choice(Chain.STEPS), chance.randrange(840), chance.randrange(840), chance.randrange(840))
    chain.finish()
    count(chain.counts)


def violations(first: int, sequences: int, steps: int = 60) -> list[str]:
    """Many sequences; those that broke something, with what plays them again."""
    broken = []
    for seed in range(first, first + sequences):
        try:
            play(seed, steps)
        except AssertionError as error:
            broken.append(f"tests.model.chain.play({seed}, {steps}): {error}")
    return broken


def _pick(several: Sequence[T], number: int) -> T:
    return several[number % len(several)]


def _alike(one: Wanted, other: Wanted) -> bool:
    return (one.chain, one.request, one.trigger) == (other.chain, other.request, other.trigger)


def _frozen(now: datetime) -> bool:
    hours = now.weekday() * 24 + now.hour
    return hours >= 4 * 24 + 16 or hours < 8


def _may_approve(person: Person, rules: Rules) -> bool:
    """As the docs say it, once more."""
    if person.role < Role.DEPLOYER:
        return False
    for words in rules.approvers:
        named = {f"user:{person.login}", *(f"team:{team}" for team in person.teams)} & set(words)
        if not named if words else person.role < Role.APPROVER:
            return False
    return True
