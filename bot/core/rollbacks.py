"""Which revision a rollback means: so many steps back, a commit, or a deployment, of those that succeeded here."""

import re
from collections.abc import Sequence
from uuid import UUID

import msgspec

from bot.core.errors import UserError

USAGE = "a rollback goes so many revisions back (`2`), to a commit (7 to 40 digits), or to a deployment (`#12`)"
_STEPS, _NUMBER, _COMMIT = re.compile(r"[1-9][0-9]{0,3}"), re.compile(r"#([0-9]{1,9})"), re.compile(r"[0-9a-f]{7,40}")
_RETURNS = frozenset({"rollback", "lock"})  # triggers that bring back what was there already


class Steps(msgspec.Struct, frozen=True):
    """So many revisions back."""

    count: int = 1


class Commit(msgspec.Struct, frozen=True):
    """A commit, or the beginning of one; also of a deployment's id."""

    prefix: str


class Number(msgspec.Struct, frozen=True):
    """A deployment, by its number in the environment."""

    number: int


class Id(msgspec.Struct, frozen=True):
    """A deployment, by its id."""

    id: UUID


Wish = Steps | Commit | Number | Id


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that succeeded."""

    number: int
    commit: str
    trigger: str


def read(word: str | None) -> Wish:
    """What was written behind the target; UserError `usage` for what is nothing of it."""
    if word is None:
        return Steps()
    if _STEPS.fullmatch(word):
        return Steps(int(word))
    if found := _NUMBER.fullmatch(word):
        return Number(int(found[1]))
    if _COMMIT.fullmatch(word.lower()):
        return Commit(word.lower())
    try:
        return Id(UUID(word))
    except ValueError:
        raise UserError("usage", USAGE) from None


def back(past: Sequence[Past], present: str | None, steps: int) -> Past | None:
    """The revision so many steps before the present one; None if that is before the first.

    `past` has the newest first. A rollback is no step of its own: rolled back once more, it goes further back, not to
    what it came from. Where the present revision never succeeded, the newest that did is the first step.
    """
    line: dict[str, Past] = {}
    for each in past:
        if each.trigger not in _RETURNS:
            line.setdefault(each.commit, each)
    commits = list(line)
    begin = commits.index(present) + 1 if present in line else 0
    chosen = commits[begin + steps - 1 :][:1]
    return line[chosen[0]] if chosen else None
