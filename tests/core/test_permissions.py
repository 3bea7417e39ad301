"""Who may do what: roles × commands × where the request comes from, each cell once."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bot import registry
from bot.core.gates import GATES, Claim, Facts, Request, judge, request_of
from bot.core.people import Person, may_approve, may_deploy, teams_named
from bot.core.ports import PullRequest
from bot.core.roles import Role, open_to_forks
from bot.core.rules import Rules, stricter

NOW = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)
SRE = frozenset({"acme/sre"})
LISTS = ("user:Named", "team:ACME/sre")
PERSONS = {
    "none": Person("nobody", "0", Role.NONE),
    "viewer": Person("vera", "1", Role.VIEWER),
    "deployer": Person("dora", "2", Role.DEPLOYER),
    "approver": Person("april", "3", Role.APPROVER),
    "admin": Person("adam", "4", Role.ADMIN),
    "named": Person("named", "5", Role.DEPLOYER),
    "team": Person("tim", "6", Role.DEPLOYER, SRE),
    "named-viewer": Person("named", "7", Role.VIEWER, SRE),
}
# + may, - may not. On `cancel` and `unlock` it is about what somebody else asked for, or locked.
NO_LISTS = """
            none viewer deployer approver admin named team named-viewer
deploy      -    -      +        +        +     +     +    -
promote     -    -      +        +        +     +     +    -
rollback    -    -      +        +        +     +     +    -
resume      -    -      +        +        +     +     +    -
sync        -    -      +        +        +     +     +    -
lock        -    -      +        +        +     +     +    -
approve     -    -      -        +        +     -     -    -
reject      -    -      -        +        +     -     -    -
cancel      -    -      -        -        +     -     -    -
unlock      -    -      -        -        +     -     -    -
"""
WITH_LISTS = """
            none viewer deployer approver admin named team named-viewer
deploy      -    -      -        -        -     +     +    -
promote     -    -      -        -        -     +     +    -
rollback    -    -      -        -        -     +     +    -
resume      -    -      -        -        -     +     +    -
sync        -    -      +        +        +     +     +    -
lock        -    -      -        -        -     +     +    -
approve     -    -      -        -        -     +     +    -
reject      -    -      -        -        -     +     +    -
cancel      -    -      -        -        +     -     -    -
unlock      -    -      -        -        +     -     -    -
"""
HERE = "100"  # the repository's id
WHERE = {"own": HERE, "fork": "200", "private fork": None}  # in which the forge says that the head lies


def request(where: str, state: str = "open") -> Request:
    """A pull request as the forge tells it; of a private fork it does not say which repository it is."""
    change = PullRequest(
        number=1,
        state=state,
        head="c" * 40,
        head_branch="topic",
        head_repository_id=WHERE[where],
        base_branch="main",
        author="eve",
    )
    return request_of(change, HERE)


OWN = request("own")
FORKS = ("fork", "private fork")


def cells(table: str) -> Iterator[tuple[str, str, bool]]:
    head, *rows = [line.split() for line in table.strip().splitlines()]
    for command, *signs in rows:
        yield from ((command, person, sign == "+") for person, sign in zip(head, signs, strict=True))


def facts(command: str, person: Person, rules: Rules, request: Request) -> Facts:
    lock = Claim(owner="owner", owner_id="99") if command == "unlock" else None
    return Facts(
        command=command,
        environment="production",
        commit="c" * 40,
        now=NOW,
        rules=rules,
        person=person,
        asked_by="99" if command in ("cancel", "unlock") else "",
        opened_by="owner",
        request=request,
        on_branch=False,
        lock=lock,
    )


@pytest.mark.parametrize(("command", "person", "may"), [*cells(NO_LISTS)])
def test_by_role(command: str, person: str, may: bool) -> None:
    """Without lists the forge's role decides."""
    check(facts(command, PERSONS[person], Rules(), OWN), may=may)


@pytest.mark.parametrize(("command", "person", "may"), [*cells(WITH_LISTS)])
def test_by_lists(command: str, person: str, may: bool) -> None:
    """Lists narrow all but `sync`: not even an admin is let in who is not named, and nobody who may not write."""
    check(facts(command, PERSONS[person], Rules(approvers=(LISTS,), deployers=(LISTS,)), OWN), may=may)


def check(given: Facts, *, may: bool) -> None:
    verdict = judge(given)
    if may:
        assert verdict.outcome == "go"
    else:
        assert verdict.first
        assert (verdict.outcome, verdict.first.code) == ("refuse", "not_permitted")


def test_the_tables_have_every_command() -> None:
    """A new command is put into them."""
    for table in (NO_LISTS, WITH_LISTS):
        assert {command for command, _, _ in cells(table)} | {"push"} == set(GATES)


@pytest.mark.parametrize("where", FORKS)
@pytest.mark.parametrize(("command", "person", "may"), [*cells(NO_LISTS)])
def test_on_a_fork(command: str, person: str, may: bool, where: str) -> None:
    """Nobody may anything there; where forks are let in, everybody what they may elsewhere, and heads need a yes."""
    closed = judge(facts(command, PERSONS[person], Rules(), request(where)))
    assert closed.outcome == "refuse"
    assert closed.first
    assert closed.first.code == ("fork_not_allowed" if may else "not_permitted")
    opened = judge(facts(command, PERSONS[person], Rules(forks=True), request(where)))
    wanted = "wait" if command in ("deploy", "promote") else "go"
    assert opened.outcome == (wanted if may else "refuse")


# + runs, and the environments decide; ! is refused, whatever the role and the environments say.
ON_FORKS = """
          own fork private
help      +   +    +
status    +   +    +
history   +   +    +
why       +   +    +
deploy    +   +    +
promote   +   +    +
rollback  +   +    +
resume    +   +    +
sync      +   +    +
lock      +   +    +
unlock    +   +    +
approve   +   +    +
reject    +   +    +
cancel    +   +    +
enable    +   !    !
disable   +   !    !
"""


def test_which_commands_run_on_forks_at_all() -> None:
    """The table has every command, and a private fork's column is a fork's."""
    rows = {name: signs for name, *signs in (line.split() for line in ON_FORKS.strip().splitlines()[1:])}
    assert rows == {
        name: ["+", *(["+" if open_to_forks(each.needs, asks_environments=each.asks_environments) else "!"] * 2)]
        for name, each in registry.commands().items()
    }


@pytest.mark.parametrize("where", FORKS)
@pytest.mark.parametrize("command", ["approve", "reject", "rollback", "lock", "resume", "unlock", "cancel"])
def test_on_a_fork_that_was_merged(command: str, where: str) -> None:
    """What was merged is the repository's own."""
    merged = request(where, "merged")
    assert judge(facts(command, PERSONS["admin"], Rules(), merged)).outcome == "go"


@pytest.mark.parametrize("where", FORKS)
def test_a_squashed_fork_is_still_a_fork(where: str) -> None:
    """Its head never came to the branch, only a commit of the same."""
    merged = request(where, "merged")
    verdict = judge(facts("deploy", PERSONS["admin"], Rules(), merged))
    assert verdict.first
    assert verdict.first.code == "fork_not_allowed"


@pytest.mark.parametrize("command", ["cancel", "unlock"])
def test_ones_own_may_be_ended(command: str) -> None:
    """Whatever the role has become."""
    owner = Person("owner", "99", Role.VIEWER)
    assert judge(facts(command, owner, Rules(), OWN)).outcome == "go"


@pytest.mark.parametrize("command", ["deploy", "approve", "unlock"])
def test_nobody_is_not_the_owner_of_what_has_none(command: str) -> None:
    """An account without an id is nobody's."""
    given = facts(command, Person("ghost", "", Role.NONE), Rules(), OWN)
    given = Facts(**{**{name: getattr(given, name) for name in given.__struct_fields__}, "lock": None, "asked_by": ""})
    assert judge(given).outcome == "refuse"


ROLE_WORDS = [
    ("role:read", Role.VIEWER, False),
    ("role:read", Role.DEPLOYER, True),
    ("role:write", Role.DEPLOYER, True),
    ("role:maintain", Role.DEPLOYER, False),
    ("role:maintain", Role.APPROVER, True),
    ("role:admin", Role.APPROVER, False),
    ("role:admin", Role.ADMIN, True),
]


@pytest.mark.parametrize(("word", "role", "may"), ROLE_WORDS)
def test_words_for_roles(word: str, role: Role, may: bool) -> None:
    """They mean this role and those above it, and never less than the right to write."""
    person = Person("x", "9", role)
    assert may_deploy(person, Rules(deployers=((word,),))).passed is may
    assert may_approve(person, Rules(approvers=((word,),))).passed is may


def test_each_of_two_lists_must_allow() -> None:
    """Until the change is enabled, the old list and the new one."""
    both = stricter(Rules(approvers=(("user:named",),)), Rules(approvers=(("team:acme/sre",),)))
    assert not may_approve(PERSONS["named"], both).passed
    assert not may_approve(PERSONS["team"], both).passed
    assert may_approve(Person("named", "8", Role.DEPLOYER, SRE), both).passed
    assert teams_named(both.approvers, both.deployers) == {"acme/sre"}


def test_a_new_list_lets_no_writer_in_before_it_is_enabled() -> None:
    """No list at all asks for the role approver, and goes on doing so."""
    both = stricter(Rules(), Rules(approvers=(("user:named",),)))
    assert not may_approve(PERSONS["named"], both).passed
    assert not may_approve(PERSONS["approver"], both).passed
    assert may_approve(Person("named", "8", Role.APPROVER), both).passed
