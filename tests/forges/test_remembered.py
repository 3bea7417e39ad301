"""What never changes is asked for once."""

import asyncio

import pytest

from bot.forges.remembered import remembered


class Library:
    """Answers slowly, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = False

    @remembered(2)
    async def read(self, title: str) -> str:
        """The text of a book."""
        self.asked.append(title)
        await asyncio.sleep(0)
        if self.broken:
            raise OSError("closed")
        return f"text of {title}"


async def test_those_who_ask_together_ask_once() -> None:
    library = Library()
    texts = await asyncio.gather(*(library.read("a") for _ in range(5)))
    assert texts == ["text of a"] * 5
    assert await library.read("a") == "text of a"
    assert library.asked == ["a"]


async def test_the_oldest_answer_goes_first() -> None:
    library = Library()
    for title in ("a", "b", "a", "c", "a", "b"):
        await library.read(title)
    assert library.asked == ["a", "b", "c", "b"]


async def test_a_failure_is_told_to_all_and_not_kept() -> None:
    library = Library()
    library.broken = True
    failures = await asyncio.gather(library.read("a"), library.read("a"), return_exceptions=True)
    assert [type(failure) for failure in failures] == [OSError, OSError]
    library.broken = False
    assert await library.read("a") == "text of a"
    assert library.asked == ["a", "a"]


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others() -> None:
    library = Library()
    impatient, patient = asyncio.create_task(library.read("a")), asyncio.create_task(library.read("a"))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await patient == "text of a"


async def test_each_library_has_its_own_answers() -> None:
    one, other = Library(), Library()
    await one.read("a")
    await other.read("a")
    assert (one.asked, other.asked) == (["a"], ["a"])
