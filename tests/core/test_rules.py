"""The rules of an environment, and the stricter of two."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core import rules
from bot.core.config_changes import WEAKER
from bot.core.repoconfig import Environment
from bot.core.rules import Rules, stricter

WORDS = st.lists(st.sampled_from(["user:a", "user:b", "team:a/b"]), max_size=2, unique=True).map(tuple)
NAMES = st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True).map(tuple)
RULES = st.builds(
    Rules,
    auto_sync=st.booleans(),
    approvals=st.integers(0, 3),
    approvers=WORDS.map(lambda words: (words,)),
    deployers=WORDS.map(lambda words: (words,)),
    reviews_count=st.booleans(),
    after=NAMES,
    deploy_from=st.sampled_from([None, "pull_request", "merged"]),
    forks=st.booleans(),
    name_commit=st.booleans(),
    up_to_date=st.booleans(),
    checks=NAMES,
    freeze=st.just(()),
)
ENVIRONMENT = Environment(name="production", path="deploy", branch="main", service_account="x")

PROTECTING: list[dict[str, Any]] = [
    {"auto_sync": False},
    {"approvals": 1},
    {"after": ("staging",)},
    {"deploy_from": "merged"},
    {"deploy_from": "pull_request"},
    {"freeze": ("Fri 16:00 - Mon 08:00 UTC",)},
    {"checks": ("ci/test",)},
]
NOT_PROTECTING: list[dict[str, Any]] = [
    {},
    {"approvers": (("user:a",),)},
    {"deployers": (("user:a",),)},
    {"reviews_count": True},
    {"forks": True},
    {"name_commit": True},
    {"up_to_date": True},
]


@pytest.mark.parametrize("more", PROTECTING)
def test_what_must_not_follow(more: dict[str, Any]) -> None:
    """Each gate that a push could slip by while Sluice is down keeps the environment from following."""
    assert Rules(**more).protected


@pytest.mark.parametrize("more", NOT_PROTECTING)
def test_what_may_follow(more: dict[str, Any]) -> None:
    """Who may ask says nothing about pushes."""
    assert Rules(**more).follows


STRICTER: list[tuple[str, Any, Any, Any]] = [
    ("auto_sync", True, False, False),
    ("approvals", 1, 2, 2),
    ("approvers", (("user:a",),), ((),), ((), ("user:a",))),
    ("approvers", (("user:a",),), (("user:b",),), (("user:a",), ("user:b",))),
    ("deployers", (("user:a",),), (("user:a",),), (("user:a",),)),
    ("reviews_count", True, False, False),
    ("after", ("staging",), ("testing",), ("staging", "testing")),
    ("deploy_from", None, "pull_request", "pull_request"),
    ("deploy_from", "merged", "pull_request", "merged"),
    ("deploy_from", "merged", None, "merged"),
    ("forks", True, False, False),
    ("name_commit", False, True, True),
    ("up_to_date", False, True, True),
    ("checks", ("a", "b"), ("b", "c"), ("a", "b", "c")),
    ("freeze", ("Fri 16:00 - Mon 08:00 UTC",), (), ("Fri 16:00 - Mon 08:00 UTC",)),
]


@pytest.mark.parametrize(("field", "one", "other", "both"), STRICTER)
def test_the_stricter_of_two(field: str, one: Any, other: Any, both: Any) -> None:
    """Whichever is the newer."""
    assert getattr(stricter(Rules(**{field: one}), Rules(**{field: other})), field) == both
    assert getattr(stricter(Rules(**{field: other}), Rules(**{field: one})), field) == both


def test_every_field_has_its_row() -> None:
    """A new field is put into the table."""
    assert {field for field, *_ in STRICTER} == set(Rules.__struct_fields__)


@given(RULES, RULES)
def test_nothing_gets_weaker(one: Rules, other: Rules) -> None:
    """By the same table that tells people what of their change weakens."""
    both = stricter(one, other)
    assert both == stricter(other, one) == stricter(both, one)
    assert stricter(one, one) == one
    assert both.protected or (one.follows and other.follows)
    for field in (
        "auto_sync",
        "approvals",
        "reviews_count",
        "deploy_from",
        "forks",
        "name_commit",
        "up_to_date",
        "checks",
    ):
        for each in (one, other):
            assert not WEAKER[field](getattr(each, field), getattr(both, field)), field


@given(RULES)
def test_they_are_kept_in_the_database(one: Rules) -> None:
    """What goes in comes out."""
    kept = msgspec.json.decode(msgspec.json.encode(rules.to_config(one)))
    assert rules.from_config(kept) == one
    assert kept == rules.to_config(one)


def test_what_was_never_written_follows() -> None:
    """An environment from before there were rules."""
    assert rules.from_config(None) == Rules() == rules.of(ENVIRONMENT)


def test_the_file_counts_where_it_is_stricter() -> None:
    """And where it cannot be read, what was applied."""
    applied = Rules(approvals=2)
    wild = msgspec.structs.replace(ENVIRONMENT, approvals=1, after="staging", approvers=("user:a",))
    assert rules.in_force(applied, None) == applied
    both = rules.in_force(applied, wild)
    assert (both.approvals, both.after, both.approvers) == (2, ("staging",), ((), ("user:a",)))
