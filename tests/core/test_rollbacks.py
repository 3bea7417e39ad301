"""What a rollback means: steps, commits and deployments; how far back each step goes."""

from uuid import UUID

import pytest

from bot.core.errors import UserError
from bot.core.rollbacks import Commit, Id, Number, Past, Steps, Wish, back, read

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("word", "wish"),
    [
        (None, Steps(1)),
        ("2", Steps(2)),
        ("9999", Steps(9999)),
        ("#12", Number(12)),
        ("1234567", Commit("1234567")),
        ("ABCDEF0", Commit("abcdef0")),
        ("a" * 40, Commit("a" * 40)),
        (ID, Id(UUID(ID))),
    ],
)
def test_what_is_written(word: str | None, wish: Wish) -> None:
    assert read(word) == wish


@pytest.mark.parametrize("word", ["", "0", "-1", "#", "#x", "abc", "a" * 41, "main", "12345", "v1.2"])
def test_what_is_nothing(word: str) -> None:
    with pytest.raises(UserError) as caught:
        read(word)
    assert caught.value.code == "usage"


def past(*deployments: str) -> list[Past]:
    """Of `commit` or `commit:trigger`, oldest first, with the numbers 1, 2, 3 …; as the database tells them."""
    rows = [each.partition(":") for each in deployments]
    made = [Past(number=n, commit=c, trigger=t or "push") for n, (c, _, t) in enumerate(rows, 1)]
    return made[::-1]


@pytest.mark.parametrize(
    ("before", "present", "steps", "number"),
    [
        (("a", "b"), "b", 1, 1),
        (("a", "b", "c"), "c", 2, 1),
        (("a", "b", "c"), "c", 3, None),
        (("a", "b"), "x", 1, 2),  # what is on its way never succeeded
        (("a", "b"), "x", 2, 1),
        (("a", "b"), None, 1, 2),
        ((), "x", 1, None),
        (("a",), "a", 1, None),
        (("a", "b", "b"), "b", 1, 1),  # the same revision again is no step
        (("a", "b", "a"), "a", 1, 2),  # the branch went back to a by itself
        (("a", "b", "a:rollback"), "a", 1, None),  # a rollback of a rollback goes further back
        (("z", "a", "b", "a:rollback"), "a", 1, 1),
        (("a", "b", "b:lock"), "b", 1, 1),
        (("a", "b", "a:rollback", "b:unpin"), "b", 1, 1),
        (("a:deploy", "b:promote", "c:resume"), "c", 2, 1),
    ],
)
def test_how_far(before: tuple[str, ...], present: str | None, steps: int, number: int | None) -> None:
    found = back(past(*before), present, steps)
    assert (found.number if found else None) == number
