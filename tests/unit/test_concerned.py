"""Whose commits change what an environment is made of: asked for many at once, never for all at once."""

import asyncio
from typing import Any, cast

import pytest

from bot.core.errors import TemporaryError
from bot.core.inputs import Inputs
from bot.core.ports import CommitAuthor
from bot.releasing import AT_ONCE, LOOKED_AT, Gatekeeper


class Asked:
    """A forge that counts how many questions are open."""

    def __init__(self, failing: str = "") -> None:
        self.open = self.most = self.count = 0
        self.failing = failing

    async def changed_paths(self, repository: str, commit: str) -> frozenset[str]:
        self.open, self.count = self.open + 1, self.count + 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if commit == self.failing:
            raise TemporaryError("the forge is down")
        return frozenset({"app/a.yaml" if int(commit) % 2 else "README.md"})


class Named:
    full_name = "acme/web"


def authors(count: int) -> list[CommitAuthor]:
    """Each commit has two of them."""
    return [CommitAuthor(commit=str(n), account_id=str(who), login=None) for n in range(count) for who in (n, n + 1000)]


async def concerned(forge: Asked, count: int) -> list[str]:
    anything = cast(Any, None)
    keeper = Gatekeeper(anything, cast(Any, forge), anything, cast(Any, Named()), {})
    found = await keeper._concerned(authors(count), Inputs(paths={"app": "1"}))
    return [each.commit for each in found]


@pytest.mark.parametrize("count", [0, 1, 7, LOOKED_AT])
async def test_a_few_at_once(count: int) -> None:
    """Each commit is asked for once."""
    forge = Asked()
    assert await concerned(forge, count) == [str(n) for n in range(count) if n % 2 for _ in range(2)]
    assert (forge.count, forge.most) == (count, min(count, AT_ONCE))


async def test_too_many_all_count() -> None:
    """Nothing is asked."""
    forge = Asked()
    assert len(await concerned(forge, LOOKED_AT + 1)) == 2 * (LOOKED_AT + 1)
    assert forge.count == 0


async def test_trouble_is_told_when_nothing_goes_on() -> None:
    forge = Asked(failing="3")
    with pytest.raises(TemporaryError, match="the forge is down"):
        await concerned(forge, 20)
    assert (forge.open, forge.count) == (0, 20)
