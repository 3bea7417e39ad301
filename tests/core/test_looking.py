"""How often what waits is looked at."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core import looking
from bot.core.gates import Before, Claim, Facts, asks_for, judge
from bot.core.rules import Rules

NOW = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)  # a Friday
CHECKS = {"rules": Rules(checks=("ci/test",))}
LONG = {"rules": Rules(freeze=("Fri 16:00 - Mon 08:00 UTC",))}
SHORT = {"rules": Rules(freeze=("Fri 16:00 - Fri 17:02 UTC",))}
HOUR = 60


def facts(**more: object) -> Facts:
    given = {"environment": "production", "commit": "c" * 40, "now": NOW, "waiting": True}
    return Facts(command="push", **{**given, **more})  # type: ignore[arg-type]


def minutes(given: Facts, waited: float, waiting: int) -> float:
    """After how many minutes it is looked at again."""
    due = looking.due(given, judge(given), since=NOW - timedelta(minutes=waited), waiting=waiting)
    return (due - NOW).total_seconds() / 60


@pytest.mark.parametrize(
    ("more", "waited", "waiting", "after"),
    [
        ({"rules": Rules(approvals=1)}, 0, 1, 5),  # a voice rings
        ({"rules": Rules(approvals=1)}, HOUR, 20, 5),
        ({"rules": Rules(approvals=1)}, 0, 40, 10),
        ({"hold": Claim(owner="bob")}, 0, 1, 5),
        ({"before": (Before(name="staging", wanted="a"),)}, 0, 1, 5),
        ({"lock": Claim(owner="bob")}, 0, 1, 5),
        ({"lock": Claim(owner="bob", until=NOW + timedelta(minutes=3))}, 0, 40, 3),  # to the second
        ({"lock": Claim(owner="bob", until=NOW + timedelta(hours=3))}, 0, 1, 5),
        (LONG, 0, 1, 5),
        (SHORT, 0, 1, 2),
        (CHECKS, 0, 1, 1),
        (CHECKS, 4, 1, 1),
        (CHECKS, 12, 1, 3),  # backing off
        (CHECKS, HOUR, 1, 5),
        (CHECKS, 0, 12, 3),  # several share
        (CHECKS, 0, 20, 5),
        (CHECKS, 0, 40, 10),
        ({"rules": Rules(checks=("ci/test",)), "checks": {"ci/test": "success"}}, 0, 1, 5),
        ({**CHECKS, "lock": Claim(owner="bob", until=NOW + timedelta(seconds=30))}, 0, 1, 0.5),
    ],
)
def test_when(more: dict, waited: float, waiting: int, after: float) -> None:
    """Seldom, but for checks and for what ends by the clock."""
    assert minutes(facts(**more), waited, waiting) == after


@given(waiting=st.integers(1, 2000), waited=st.floats(0, 10_000), checks=st.booleans())
def test_the_bound(waiting: int, waited: float, checks: bool) -> None:
    """However many wait, and for whatever: 240 looks an hour, and for one alone at least 12."""
    found = minutes(facts(**(CHECKS if checks else {"rules": Rules(approvals=1)})), waited, waiting)
    assert waiting * HOUR / found <= 240
    assert found <= max(5, waiting / 4)


@pytest.mark.parametrize(("delay", "waiting", "seconds"), [(5, 1, 10), (5, 40, 40), (900, 40, 900)])
def test_when_the_forge_is_in_trouble(delay: float, waiting: int, seconds: float) -> None:
    """Soon; but what a forge says of its limits holds."""
    assert (looking.after_trouble(NOW, delay=delay, waiting=waiting) - NOW).total_seconds() == seconds


@pytest.mark.parametrize(
    ("name", "asked"), [("ci/test", True), ("ci/te", False), ("ci/test2", False), ("lint `x`", True), ("other", False)]
)
def test_whose_end_rings(name: str, asked: bool) -> None:
    """Only a check that is waited for."""
    verdict = judge(facts(rules=Rules(checks=("ci/test", "lint `x`"), approvals=1)))
    assert asks_for(verdict, name) is asked
