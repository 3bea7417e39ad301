"""Everything that stands before an effect, decided from plain facts; one verdict for comment, `/why`, API and log."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from bot.core import freeze, people, quorum
from bot.core.conversation import code, escape
from bot.core.deployments import short
from bot.core.people import Person
from bot.core.ports import PullRequest
from bot.core.prunes import Pruned
from bot.core.quorum import Voice
from bot.core.reasons import Reason, Verdict, as_json, codes, from_json, markdown, passes, refuses, summary
from bot.core.roles import Role
from bot.core.rules import Rules

__all__ = ["Facts", "Reason", "Verdict", "as_json", "codes", "from_json", "judge", "markdown", "summary"]

LISTED = 10  # objects that are named in one reason
PUSH = "push"  # as a command: what a push to the environment's branch wants
MERGED = "merged"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The pull request that something was said on, as the forge tells it now."""

    number: int
    state: str = "open"  # open | closed | merged
    draft: bool = False
    fork: bool = False  # from another repository, or from one that cannot be seen any more


def request_of(change: PullRequest, repository_id: str) -> Request:
    """The request as the gates want it, in the repository that it is to be merged to."""
    fork = not change.comes_from(repository_id)
    return Request(number=change.number, state=change.state, draft=change.draft, fork=fork)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A lock, or a hold: somebody keeps the environment as it is."""

    owner: str
    owner_id: str = ""
    reason: str | None = None
    until: datetime | None = None


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """An environment of `after`: the inputs that it has by this commit, and those that succeeded there last."""

    name: str
    wanted: str
    live: str | None = None  # None: nothing succeeded there yet
    commit: str | None = None  # the one that succeeded


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision depends on; collected anew each time, from the forge and the database.

    `command` is a slash command, or `push`. `waiting`: a deployment that waits already is judged again; then the person
    is not asked for once more, and what time or others can mend is waited for.
    """

    command: str
    environment: str  # as people call it
    commit: str = ""
    now: datetime
    rules: Rules = Rules()
    waiting: bool = False
    person: Person | None = None  # who asks; None: nobody does
    asked_by: str = ""  # the account that asked for a waiting deployment; "": a push brought it
    opened_by: str = ""  # the login for which it waits
    request: Request | None = None
    named: bool = False  # the command named its commit
    on_branch: bool = True  # the commit lies on the environment's branch
    behind: bool = False  # it lacks commits of that branch
    behind_said: bool = False  # `--behind`
    path_missing: bool = False
    pruned: Pruned | None = None  # what it takes out of the environment; None: there is nothing in it yet
    prunes_confirmed: tuple[str, ...] = ()  # what somebody said may go
    deployed_here: bool = True  # a deployment of this commit succeeded in this environment
    lock: Claim | None = None
    hold: Claim | None = None
    before: tuple[Before, ...] = ()
    checks: Mapping[str, str] = {}  # by name: success | pending | failure
    voices: tuple[Voice, ...] = ()
    chain: str = ""
    barred: Mapping[str, str] = {}  # quorum.barred
    unknown_authors: int = 0

    @property
    def patient(self) -> bool:
        """Whether what is missing is waited for, instead of refused to a person who can ask again."""
        return self.waiting or self.command == PUSH


Gate = Callable[[Facts], Reason | None]  # None: the rules do not ask for it


def judge(facts: Facts) -> Verdict:
    """Every gate of the command, with its answer."""
    answers = (gate(facts) for gate in GATES[facts.command])
    return Verdict(tuple(answer for answer in answers if answer is not None))


def needed(facts: Facts) -> int:
    """How many approvals it takes; a fork's commit is never deployed without one."""
    fork = facts.request is not None and facts.request.fork and not facts.on_branch
    return max(facts.rules.approvals, 1 if fork and facts.command in DEPLOYS else 0)


# Who asks, and where.


def _deployer(facts: Facts) -> Reason | None:
    return None if facts.person is None else people.may_deploy(facts.person, facts.rules)


def _writer(facts: Facts) -> Reason | None:
    """What changes no wish is not narrowed by the lists."""
    return None if facts.person is None else people.has_role(facts.person, Role.DEPLOYER)


def _approver(facts: Facts) -> Reason | None:
    return None if facts.person is None else people.may_approve(facts.person, facts.rules)


def _owner(facts: Facts) -> Reason | None:
    """What somebody asked for, or locked, is ended by them or by an admin."""
    if facts.person is None or facts.person.id == _owned_by(facts):
        return None
    if facts.person.role >= Role.ADMIN:
        return passes("not_permitted", f"{code(facts.person.login, 60)} has the role admin")
    whose = facts.lock.owner if facts.command == "unlock" and facts.lock else facts.opened_by
    whom = f"{code(whose, 60)} or an admin" if whose else "an admin"
    return refuses("not_permitted", f"only {whom} can do this; ask one of them")


def _owned_by(facts: Facts) -> str | None:
    account = facts.lock.owner_id if facts.command == "unlock" and facts.lock else facts.asked_by
    return account or None


def _fork(facts: Facts) -> Reason | None:
    """What was merged is the repository's own, wherever it came from; a head that was squashed was not."""
    if facts.request is None or not facts.request.fork:
        return None
    if facts.request.state == MERGED and (facts.on_branch or facts.command not in DEPLOYS):
        return None
    if facts.rules.forks:
        return passes("fork_not_allowed", "this environment takes commands on requests from forks")
    return refuses(
        "fork_not_allowed",
        "this request comes from a fork, and on those nothing is done here; push the branch to the repository itself",
    )


def _request(facts: Facts) -> Reason | None:
    request = facts.request
    if request is None:
        return None
    if request.state == "closed":
        return refuses("wrong_state", f"#{request.number} is closed; reopen it first")
    if request.draft and request.state == "open":
        return refuses("draft", f"#{request.number} is a draft; mark it as ready for review first")
    if request.state == MERGED and not (facts.named or facts.waiting or facts.command == "promote"):
        return refuses("wrong_state", f"#{request.number} is merged; name the commit that you mean")
    return passes("wrong_state", f"#{request.number} is {request.state}")


# What is to be deployed.


def _named(facts: Facts) -> Reason | None:
    """Of a push, a promotion or what waits already nobody can mean another commit than everybody sees."""
    if not facts.rules.name_commit or facts.waiting or facts.command != "deploy":
        return None
    if facts.named:
        return passes("commit_required", f"{_commit(facts)} was named")
    again = code(f"/deploy {facts.environment} {_commit(facts)}", 150)
    return refuses("commit_required", f"`/deploy` must name its commit here; for {_commit(facts)} write {again}")


def _deploy_from(facts: Facts) -> Reason | None:
    if facts.rules.deploy_from != MERGED:
        return None
    if facts.on_branch:
        return passes("not_merged", f"{_commit(facts)} is merged")
    return refuses("not_merged", f"only what is merged is deployed here, and {_commit(facts)} is not; merge it first")


def _path(facts: Facts) -> Reason | None:
    if not facts.path_missing:
        return None
    return refuses("path_missing", f"the folder to deploy does not exist at {_commit(facts)}; add it there")


def _behind(facts: Facts) -> Reason | None:
    """A commit on the branch is never behind: it is the branch's own past."""
    if facts.on_branch or (facts.waiting and not facts.rules.up_to_date):
        return None
    if not facts.behind:
        return passes("behind", f"{_commit(facts)} has all commits of the branch")
    lacks = f"{_commit(facts)} lacks commits of the branch"
    if facts.rules.up_to_date:
        return refuses("behind", f"{lacks}, and this environment wants all of them; bring your branch up to date")
    if facts.behind_said:
        return passes("behind", f"{lacks}; `--behind` was said")
    return refuses(
        "behind", f"{lacks}, and deploying it would take them out; bring your branch up to date, or say `--behind`"
    )


def _prunes(facts: Facts) -> Reason | None:
    """What holds data, or what everything else of its kind depends on, goes only when somebody said so by its name."""
    if facts.pruned is None:
        return None
    gone = [name for name in facts.pruned.names if name not in facts.prunes_confirmed]
    unseen = f"; what cannot be told: {_listed(facts.pruned.unseen)}" if facts.pruned.unseen else ""
    if gone:
        again = f"/deploy {facts.environment} {_commit(facts)} --prune-confirmed" if facts.patient else ""
        way = f"{code(again, 150)} does it all the same" if again else "add `--prune-confirmed` if that is meant"
        text = f"it would remove {_listed(gone)}, and all that is in there; {way}{unseen}"
        return refuses("prune_unconfirmed", text, waits=facts.patient)
    if facts.pruned.names:
        return passes("prune_unconfirmed", f"it removes {_listed(facts.pruned.names)}, which was confirmed{unseen}")
    return passes("prune_unconfirmed", f"no volume, namespace or definition goes{unseen}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(code(name, 150) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _deployed_here(facts: Facts) -> Reason:
    if facts.deployed_here:
        return passes("never_deployed_here", f"{_commit(facts)} succeeded here before")
    return refuses(
        "never_deployed_here",
        f"{_commit(facts)} never succeeded here; `/history {escape(facts.environment, 100)}` lists what did",
    )


# Whether it may now.


def _lock(facts: Facts) -> Reason | None:
    lock = facts.lock
    if lock is None:
        return None
    owner = code(lock.owner, 60)
    if lock.owner_id and lock.owner_id == (facts.person.id if facts.person else facts.asked_by):
        return passes("lock_conflict", f"{owner} keeps it, who also asks")
    if facts.command == "rollback" and facts.person is not None and facts.person.role >= Role.ADMIN:
        return passes("lock_conflict", f"{owner} keeps it, and an admin may roll back")
    ends = f" until {_time(lock.until)}" if lock.until else ""
    text = f"{owner} keeps it for themselves{ends}{_because(lock)}; ask them for `/unlock`, or write `/lock` to be next"
    return refuses("lock_conflict", text, waits=facts.patient)


def _hold(facts: Facts) -> Reason | None:
    if facts.hold is None:
        return None
    resume = f"`/resume {escape(facts.environment, 100)}` ends that"
    text = f"it is held since {code(facts.hold.owner, 60)} rolled it back{_because(facts.hold)}; {resume}"
    return refuses("held", text, waits=facts.patient)


def _freeze(facts: Facts) -> Reason | None:
    if not facts.rules.freeze:
        return None
    end = freeze.until(facts.rules.freeze, facts.now)
    if end is None:
        return passes("frozen", "no freeze is on")
    then = "it goes on then by itself" if facts.patient else "repeat it then"
    return refuses("frozen", f"nothing is deployed here until {_time(end)}; {then}", waits=facts.patient)


def _order(facts: Facts) -> Reason | None:
    """The environments before this one must have succeeded with the inputs that this commit gives them."""
    if not facts.before:
        return None
    reasons = [_succeeded(before, facts) for before in facts.before]
    failed = [before.name for before, reason in zip(facts.before, reasons, strict=True) if not reason.passed]
    if not failed:
        return passes("order_failed", "it succeeded where it must have before", reasons)
    names = ", ".join(escape(name, 60) for name in failed)
    return refuses("order_failed", f"deploy it to {names} first", reasons, waits=facts.patient)


def _succeeded(before: Before, facts: Facts) -> Reason:
    name = escape(before.name, 60)
    if before.live is None:
        return refuses("order_failed", f"{name}: nothing succeeded there yet", waits=facts.patient)
    had = f"{short(before.commit)} " if before.commit else ""
    if before.live != before.wanted:
        text = f"{name}: {had}succeeded there last, which differs from {_commit(facts)}"
        return refuses("order_failed", text, waits=facts.patient)
    return passes("order_failed", f"{name}: {had}succeeded there with the same inputs")


def _checks(facts: Facts) -> Reason | None:
    if not facts.rules.checks:
        return None
    reasons = [_check(name, facts.checks.get(name), patient=facts.patient) for name in facts.rules.checks]
    if all(reason.passed for reason in reasons):
        return passes("checks_missing", f"all checks are green on {_commit(facts)}", reasons)
    then = "it goes on when they are green" if facts.patient else "repeat it when they are green"
    return refuses("checks_missing", f"checks are not green on {_commit(facts)}; {then}", reasons, waits=facts.patient)


def asks_for(verdict: Verdict, check: str) -> bool:
    """Whether it is a check that this verdict looked at."""
    leaves = (leaf for reason in verdict.reasons if reason.code == "checks_missing" for leaf in reason.reasons)
    return any(leaf.text.startswith(f"{_shown(check)} ") for leaf in leaves)


def _check(name: str, state: str | None, *, patient: bool) -> Reason:
    shown = _shown(name)
    if state == "success":
        return passes("checks_missing", f"{shown} is green")
    if state == "failure":
        return refuses("check_failed", f"{shown} failed; mend it, or run it again", waits=patient)
    return refuses("check_pending", f"{shown} {'runs' if state else 'has not reported yet'}", waits=patient)


def _shown(check: str) -> str:
    return code(check, 100)


def _approvals(facts: Facts) -> Reason | None:
    wanted = needed(facts)
    if not wanted:
        return None
    return quorum.count(
        facts.voices,
        needed=wanted,
        chain=facts.chain,
        rules=facts.rules,
        barred=facts.barred,
        unknown_authors=facts.unknown_authors,
    )


# Which gates stand before which command. On what stands here an effect follows; the rest only shows.
_TIMELY: tuple[Gate, ...] = (_lock, _hold, _freeze, _order, _checks, _approvals)
_DEPLOYING: tuple[Gate, ...] = (_deployer, _fork, _request, _named, _deploy_from, _path, _behind, _prunes, *_TIMELY)
GATES: Mapping[str, tuple[Gate, ...]] = {
    PUSH: (_path, _prunes, *_TIMELY),
    "deploy": _DEPLOYING,
    "promote": _DEPLOYING,
    "rollback": (_deployer, _fork, _deployed_here, _prunes, _lock),
    "resume": (_deployer, _fork, _lock),
    "sync": (_writer, _fork),
    "approve": (_approver, _fork),
    "reject": (_approver, _fork),
    "lock": (_deployer, _fork),
    "unlock": (_owner, _fork),
    "cancel": (_owner, _fork),
}
DEPLOYS = frozenset({"deploy", "promote"})


def _commit(facts: Facts) -> str:
    return short(facts.commit)


def _because(claim: Claim) -> str:
    return f" ({escape(claim.reason, 120)})" if claim.reason else ""


def _time(moment: datetime) -> str:
    return f"{moment:%a %Y-%m-%d %H:%M} UTC"
