"""What stands before an effect."""

from datetime import UTC, datetime

import pytest

from bot.core.gates import Before, Claim, Facts, Request, judge
from bot.core.people import Person
from bot.core.quorum import Voice
from bot.core.roles import Role
from bot.core.rules import Rules

NOW = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)  # a Friday
ALICE = Person("alice", "1", Role.DEPLOYER)
BOB = Person("bob", "2", Role.APPROVER)


def facts(command: str = "deploy", **more: object) -> Facts:
    given = {"environment": "production", "commit": "c" * 40, "now": NOW, "person": ALICE, "chain": "x"}
    return Facts(command=command, **{**given, **more})  # type: ignore[arg-type]


TIMELY = [
    ({"lock": Claim(owner="bob", owner_id="2")}, "lock_conflict"),
    ({"hold": Claim(owner="bob")}, "held"),
    ({"rules": Rules(freeze=("Fri 16:00 - Mon 08:00 UTC",))}, "frozen"),
    ({"before": (Before(name="staging", wanted="a", live="b"),)}, "order_failed"),
    ({"before": (Before(name="staging", wanted="a"),)}, "order_failed"),
    ({"rules": Rules(checks=("ci/test",)), "checks": {"ci/test": "pending"}}, "checks_missing"),
    ({"rules": Rules(checks=("ci/test",)), "checks": {"ci/test": "failure"}}, "checks_missing"),
    ({"rules": Rules(checks=("ci/test",))}, "checks_missing"),
]
ALWAYS = [
    ({"request": Request(number=1, draft=True)}, "draft"),
    ({"request": Request(number=1, fork=True)}, "fork_not_allowed"),
    ({"request": Request(number=1, state="closed")}, "wrong_state"),
    ({"rules": Rules(deploy_from="merged"), "on_branch": False}, "not_merged"),
    ({"rules": Rules(up_to_date=True), "on_branch": False, "behind": True}, "behind"),
    ({"path_missing": True}, "path_missing"),
]


@pytest.mark.parametrize(("more", "code"), TIMELY)
def test_what_time_can_mend_is_refused_to_a_person_and_waited_for_by_a_push(more: dict, code: str) -> None:
    """The same gate, two ways: who can ask again is told to."""
    asked, pushed = judge(facts(**more)), judge(facts("push", person=None, **more))
    waiting = judge(facts(waiting=True, person=None, **more))
    assert [(each.outcome, each.first.code) for each in (asked, pushed, waiting) if each.first] == [
        ("refuse", code),
        ("wait", code),
        ("wait", code),
    ]


@pytest.mark.parametrize(
    ("more", "codes"),
    [
        ({}, ["commit_required"]),
        ({"named": True}, []),
        ({"waiting": True}, []),
        ({"command": "promote"}, []),
        ({"command": "push", "person": None}, []),
        ({"rules": Rules()}, []),
    ],
)
def test_where_a_commit_is_wanted_only_a_deploy_must_name_it(more: dict, codes: list[str]) -> None:
    """The head that somebody sees may be another one than the head that Sluice knows."""
    verdict = judge(facts(**{"rules": Rules(name_commit=True), **more}))
    assert [each.code for each in verdict.reasons if not each.passed] == codes


@pytest.mark.parametrize(("more", "code"), ALWAYS)
def test_what_only_the_author_can_mend_is_always_refused(more: dict, code: str) -> None:
    """It is no use to wait for it."""
    for each in (judge(facts(**more)), judge(facts(waiting=True, person=None, **more))):
        assert each.first
        assert (each.outcome, each.first.code) == ("refuse", code)


def test_missing_approvals_are_waited_for() -> None:
    """The only gate that a person's /deploy opens a waiting deployment for."""
    rules = Rules(approvals=1)
    verdict = judge(facts(rules=rules))
    assert verdict.first
    assert (verdict.outcome, verdict.first.code) == ("wait", "approvals_missing")
    there = (Voice(BOB, "c" * 40, "x", NOW),)
    assert judge(facts(rules=rules, voices=there)).outcome == "go"
    assert judge(facts(rules=rules, voices=there, chain="y")).outcome == "wait"
