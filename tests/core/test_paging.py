"""Long answers in pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.conversation import RESULT_LIMIT, CommandResult, Conversation, EnvironmentRow, PastRow, render, tame
from bot.core.deployments import Phase
from bot.core.errors import UserError
from bot.core.paging import page, pages

LIMIT = 65_536  # of a comment on GitHub
LINES = [
    f"- **environment-{n}**: `abc1234` live; ready; follows `main`; {'much is said of it. ' * 5}" for n in range(90)
]


def test_what_fits_is_one() -> None:
    assert page("a\n\nb", 1, "/status") == "a\n\nb"
    with pytest.raises(UserError, match="there is no page 2, there is one page") as refused:
        page("a", 2, "/status")
    assert refused.value.code == "nothing_there"


def test_every_line_is_on_one_page() -> None:
    """Each says which it is and how to see the next; none is cut by the comment."""
    said, number = [], 1
    while True:
        text = page("\n".join(LINES), number, "/status")
        assert tame(text) == text
        assert len(text) <= RESULT_LIMIT
        said += [line for line in text.split("\n") if line.startswith("- ")]
        if f"`/status --page {number + 1}` shows the next" not in text:
            break
        number += 1
    assert said == LINES
    assert text.endswith(f"Page {number} of {number}.")
    with pytest.raises(UserError, match=f"there is no page {number + 1}, there is {number} pages"):
        page("\n".join(LINES), number + 1, "/status")


@given(st.lists(st.text(alphabet="ab \n-", max_size=60).map(lambda text: text.replace("\n", "")), max_size=80))
def test_no_line_is_lost(lines: list[str]) -> None:
    found = pages(lines, 100)
    assert [line for each in found for line in each.split("\n") if line] == [line for line in lines if line]
    assert all(len(each) <= 100 for each in found)


def test_the_comment_stays_under_its_limit() -> None:
    """With a page of everything in it, and a folded history that says that it is not the whole."""
    past = tuple(PastRow(number=n, phase=Phase.SUCCEEDED, commit="a" * 40, by="dave") for n in range(20))
    rows = tuple(EnvironmentRow(name=f"e{n}", phase=Phase.WAITING, past=past, older=True) for n in range(3))
    results = tuple(
        CommandResult(command="/status", by="dave", text=page("\n".join(LINES), 1, "/status")) for _ in range(30)
    )
    text = render(Conversation(key="k", project="web", environments=rows, results=results), LIMIT)
    assert len(text) <= LIMIT
    assert "the last 20 earlier deployments to e1" in text
    assert "`/history e1` lists older ones." in text
    assert "more characters were left out" not in text
