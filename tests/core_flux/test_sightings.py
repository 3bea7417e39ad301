"""Of two sightings of an object, which is the newer."""

import pytest

from bot.core.sightings import VERSION, Sighting, has_reached, is_late, is_newer, noted

CASES = [  # seen, known, late, newer
    ("the first", ("a", "5"), (None, None), False, True),
    ("the same again", ("a", "5"), ("a", "5"), False, False),
    ("a later one", ("a", "10"), ("a", "9"), False, True),
    ("an earlier one", ("a", "9"), ("a", "10"), True, False),
    ("what is gone by now", ("a", "5"), (None, "5"), True, False),
    ("made anew", ("b", "6"), (None, "5"), False, True),
    ("another, of before", ("b", "4"), ("a", "5"), True, False),
    ("no number: what is told last counts", ("a", "x"), ("a", "9"), False, True),
]


@pytest.mark.parametrize(("seen", "known", "late", "newer"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_which_is_newer(seen: tuple[str, str], known: tuple[str | None, str | None], late: bool, newer: bool) -> None:
    one, other = Sighting(*seen), noted(known[0], {VERSION: known[1]} if known[1] else {})
    assert (is_late(one, other), is_newer(one, other)) == (late, newer)


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("9", "10", False),
        ("10", "10", True),
        ("11", "10", True),
        (None, "10", False),
        (None, None, True),
        ("9", None, True),
    ],
)
def test_whether_a_write_was_seen(version: str | None, wanted: str | None, expected: bool) -> None:
    assert has_reached(version, wanted) is expected
