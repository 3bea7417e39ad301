"""Whose yes counts, and how many there must be."""

from datetime import UTC, datetime, timedelta

import pytest

from bot.core.people import Person
from bot.core.quorum import Voice, barred, count
from bot.core.roles import Role
from bot.core.rules import Rules

NOW = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
NOBODY: dict[str, str] = {}


def voices(words: str) -> list[Voice]:
    """`bob` an approver, `bob:deployer` another role, `bob=2` by account 2, `bob@old` for another state."""
    said = []
    for number, word in enumerate(words.split()):
        word, _, chain = word.partition("@")
        word, _, account = word.partition("=")
        login, _, role = word.partition(":")
        person = Person(login, account or login, Role[(role or "approver").upper()])
        said.append(Voice(person, "c" * 40, chain or "now", NOW + timedelta(seconds=number)))
    return said


CASES = [
    # said, needed, barred, unknown authors, enough
    ("", 0, "", 0, True),
    ("", 1, "", 0, False),
    ("bob", 1, "", 0, True),
    ("bob", 2, "", 0, False),
    ("bob carol", 2, "", 0, True),
    ("bob bob", 2, "", 0, False),  # one person, two voices
    ("bob=1 robert=1", 2, "", 0, False),  # who took another name meanwhile is still one
    ("bob=1 bob=2", 2, "", 0, True),
    ("bob:admin", 1, "", 0, True),
    ("bob:deployer", 1, "", 0, False),  # the role was lost
    ("bob:none carol", 1, "", 0, True),
    ("bob@old", 1, "", 0, False),
    ("bob@old carol", 2, "", 0, False),
    ("bob bob@old", 1, "", 0, False),  # the later voice is the one that is live
    ("bob", 1, "bob", 0, False),
    ("bob carol", 1, "bob", 0, True),
    ("bob carol", 2, "bob", 0, False),
    ("bob carol dave", 2, "bob", 0, True),
    ("bob", 1, "", 1, False),  # somebody unknown wrote a part of it: it could have been bob
    ("bob carol", 1, "", 1, True),
    ("bob carol", 1, "", 5, True),  # how many, nobody can tell: one more
    ("bob carol", 2, "", 1, False),
]


@pytest.mark.parametrize(("said", "needed", "kept_out", "unknown", "enough"), CASES)
def test_quorum(said: str, needed: int, kept_out: str, unknown: int, enough: bool) -> None:
    """Distinct accounts that may approve, said yes to exactly this, and had no part in it."""
    because = dict.fromkeys(kept_out.split(), "wrote a part of it")
    reason = count(
        voices(said), needed=needed, chain="now", rules=Rules(approvals=needed), barred=because, unknown_authors=unknown
    )
    assert reason.passed is enough
    assert reason.waits is not enough


def test_the_order_of_voices_does_not_matter() -> None:
    """They are counted in the order in which they were given, not that of the database."""
    said = voices("bob bob@old")
    rules = Rules(approvals=1)
    for each in (said, said[::-1]):
        assert not count(each, needed=1, chain="now", rules=rules, barred=NOBODY).passed


PARTS = [
    ({"author": "1"}, {"1": "opened the request"}),
    ({"asked_by": "1"}, {"1": "asked for the deployment"}),
    ({"pushed": ["1", "2"]}, {"1": "pushed to it", "2": "pushed to it"}),
    ({"wrote": ["1"]}, {"1": "wrote a part of it"}),
    ({"author": "1", "asked_by": "1", "pushed": ["1"], "wrote": ["1"]}, {"1": "opened the request"}),
    ({"author": None, "asked_by": "", "pushed": [""], "wrote": []}, {}),
]


@pytest.mark.parametrize(("part", "kept_out"), PARTS)
def test_who_had_a_part_in_it(part: dict, kept_out: dict[str, str]) -> None:
    """By account, with the plainest reason; an unknown account bars nobody."""
    assert barred(**part) == kept_out
