"""What counts as a command in a comment: the corpus, properties, and the work that hostile comments cause."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bot.core.comments import BODY_LIMIT, COMMAND_LIMIT, LINE_LIMIT, NearMiss, Spoken, distance, nearest, spoken

KNOWN = frozenset(
    [
        *("help", "enable", "disable", "deploy", "sync", "approve", "reject", "promote", "rollback"),
        *("lock", "unlock", "resume", "cancel", "diff", "status", "history", "why"),
    ]
)
ERROR = re.compile(r" !(?=[A-Za-z])")
CORPUS = Path(__file__).parents[1] / "corpus" / "comments.yaml"
GROUPS: dict[str, list[list[str]]] = yaml.safe_load(CORPUS.read_text())
CASES = [
    pytest.param(case[0], case[1:], id=f"{group} {number}")
    for group, cases in GROUPS.items()
    for number, case in enumerate(cases, 1)
]


def told(found: Spoken | NearMiss) -> str:
    if isinstance(found, NearMiss):
        return f"{found.line} ? {found.word} -> {found.suggestion}"
    words = "|".join(found.words)
    return f"{found.line} {found.name} {words}" if found.words else f"{found.line} {found.name}"


def check(body: str, expected: list[str]) -> None:
    """Every expectation is met, and nothing else was found."""
    found = spoken(body, KNOWN)
    errors = [ERROR.split(line) for line in expected if ERROR.search(line)]
    for start, part in errors:
        line, name = start.split()
        assert any(
            isinstance(one, Spoken) and (one.line, one.name) == (int(line), name) and part in (one.error or "")
            for one in found
        ), found
    said = [line for line in expected if not ERROR.search(line)]
    broken = {start for start, _ in errors}
    sound = [one for one in found if f"{one.line} {getattr(one, 'name', '')}" not in broken]
    assert all(isinstance(one, NearMiss) or one.error is None for one in sound), found
    assert {told(one) for one in sound} <= set(said), found
    assert set(said) <= {told(one) for one in found}, found


@pytest.mark.parametrize(("body", "expected"), CASES)
def test_corpus(body: str, expected: list[str]) -> None:
    check(body, expected)


def test_corpus_is_large_and_has_no_case_twice() -> None:
    bodies = [case[0] for cases in GROUPS.values() for case in cases]
    assert len(bodies) >= 500
    assert len(set(bodies)) == len(bodies)


SILENCERS: dict[str, Callable[[str], str]] = {
    "quoted": lambda body: "".join(f"> {line}\n" for line in lines_of(body)),
    "quoted twice": lambda body: "".join(f">> {line}\n" for line in lines_of(body)),
    "indented": lambda body: "".join(f"    {line}\n" for line in lines_of(body)),
    "behind a word": lambda body: "".join(f"x {line}\n" for line in lines_of(body)),
    "in a long fence": lambda body: "`" * 99 + f"\n{body}\n" + "`" * 99,
    "in an open fence": lambda body: "~" * 99 + f"\n{body}",
}


def lines_of(body: str) -> list[str]:
    return body.replace("\r\n", "\n").replace("\r", "\n").split("\n")


@pytest.mark.parametrize("silencer", SILENCERS)
def test_each_case_is_silent_when_it_is_only_shown(silencer: str) -> None:
    for cases in GROUPS.values():
        for body, *_ in cases:
            assert spoken(SILENCERS[silencer](body), KNOWN) == [], body


def test_each_case_means_the_same_with_any_line_ending() -> None:
    for cases in GROUPS.values():
        for body, *_ in cases:
            found = spoken(body, KNOWN)
            for ending in ("\n", "\r\n", "\r"):
                assert spoken(ending.join(lines_of(body)), KNOWN) == found, (body, ending)


# Limits.


def test_a_long_line_is_an_error() -> None:
    [found] = spoken("/deploy " + "x" * LINE_LIMIT, KNOWN)
    assert isinstance(found, Spoken)
    assert found.error == "the line is longer than 1,000 characters"
    assert found.words == ()


def test_a_comment_holds_ten_commands() -> None:
    found = spoken("/sync\n" * 13, KNOWN)
    assert found[:COMMAND_LIMIT] == [Spoken(line, "sync") for line in range(1, 11)]
    assert found[COMMAND_LIMIT:] == [
        Spoken(11, "sync", (), "a comment may hold 10 commands; 3 from line 11 on were left out")
    ]


def test_a_comment_beyond_the_limit_does_nothing_and_says_so() -> None:
    [found] = spoken("/sync\n/help\n" + "x" * BODY_LIMIT, KNOWN)
    assert isinstance(found, Spoken)
    assert "longer than 1,000,000 characters" in (found.error or "")
    assert spoken("x" * (BODY_LIMIT + 1) + "\n/sync", KNOWN) == []


def test_only_known_names_count() -> None:
    assert spoken("/deploy web", {"sync"}) == []
    assert spoken("/deploy web", set()) == []
    assert spoken("/sluice", {"sluice"}) == [Spoken(1, "sluice")]


# Slips.


@pytest.mark.parametrize(
    ("left", "right", "slips"),
    [
        ("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ab", 1),
        ("abc", "abcd", 1), ("abc", "abd", 1), ("abcd", "badc", 2), ("ca", "abc", 3),
    ],
)  # fmt: skip
def test_distance(left: str, right: str, slips: int) -> None:
    assert distance(left, right) == distance(right, left) == slips


def test_short_names_have_no_near_misses() -> None:
    assert nearest("wyy", {"why"}) is None
    assert nearest("synx", {"sync"}) == "sync"
    assert nearest("rlback", {"rollback"}) == "rollback"


# Properties.

PIECES = st.sampled_from(
    [
        *("/deploy web", "/deploy web", "/sync", "/deplyo", "> ", ">", "- ", "1. ", "2) ", " ", "  ", "    ", "\t"),
        *("```", "~~~", "````", "text", "<!-- ", "-->", "<div>", "</div>", "<pre>", "</pre>", "<b>", "<code>", "`"),
        *("***", "===", "---", "| a | b |", "|---|---|", "# h", "[a]: x", "](", "![", "<a b=\"", "$$", "\\", "\u200b"),
        *("\n", "\n", "\n", "\n", "\n\n", "\r\n", "\r"),
    ]
)  # fmt: skip
BODIES = st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=200)


@given(BODIES)
def test_never_raises_and_is_in_order(body: str) -> None:
    found = spoken(body, KNOWN)
    assert [one.line for one in found] == sorted({one.line for one in found})


@given(BODIES)
def test_quoting_silences(body: str) -> None:
    assert spoken("".join(f"> {line}\n" for line in lines_of(body)), KNOWN) == []


@given(BODIES, BODIES)
def test_nothing_in_a_fence_counts(before: str, body: str) -> None:
    fence = "`" * (body.count("`") + 3)
    inside = f"{fence}\n{body}\n{fence}\n"
    assert spoken(inside, KNOWN) == []
    if "<" in before or "```" in before or "~~~" in before:
        return  # what is open before may end in the fence
    first = before.count("\n") + before.count("\r") + 2
    assert [one for one in spoken(f"{before}\n\n{fence}\n{body}", KNOWN) if one.line > first + 1] == []


@given(BODIES)
def test_line_endings_do_not_matter(body: str) -> None:
    found = spoken(body, KNOWN)
    assert spoken("\r\n".join(lines_of(body)), KNOWN) == spoken("\r".join(lines_of(body)), KNOWN) == found


@given(BODIES, st.text(" \t\n", max_size=5))
def test_trailing_blanks_do_not_matter(body: str, blanks: str) -> None:
    assert spoken(f"{body}\n{blanks}", KNOWN) == spoken(f"{body}\n", KNOWN)


MARKDOWN = MarkdownIt("commonmark").enable("table")


def lines_of_text(body: str) -> set[int]:
    """The lines that an independent implementation of CommonMark shows in a paragraph or heading outside quotes."""
    numbers: set[int] = set()
    opened: list[str] = []
    for part in MARKDOWN.parse("\n".join(lines_of(body))):
        if part.nesting == 1:
            opened.append(part.type)
        elif part.nesting == -1:
            opened.pop()
        elif part.type == "inline" and opened[-1] in ("paragraph_open", "heading_open") and part.map is not None:
            numbers |= set(range(part.map[0] + 1, part.map[1] + 1)) if "blockquote_open" not in opened else set()
    return numbers


@given(BODIES)
def test_what_counts_is_what_commonmark_shows_as_text(body: str) -> None:
    if "\0" not in body:
        assert {one.line for one in spoken(body, KNOWN)} <= lines_of_text(body)


# Work: counted in lines of Python that run, not in seconds.

HOSTILE: dict[str, Callable[[int], str]] = {
    "lines": lambda size: "/deplyoo x\n" * size,
    "blank lines": lambda size: "\n" * size + "/sync",
    "one paragraph": lambda size: "text\n" * size + "/sync",
    "deep quotes": lambda size: ">" * size + "\n" + "/sync\n" * size,
    "deep lists": lambda size: "- " * size + "\n/sync",
    "stairs of lists": lambda size: "".join(" " * (2 * (i % 60)) + "- a\n" for i in range(size)) + "\n/sync",
    "quotes again and again": lambda size: "> > > > x\n\n" * size + "/sync",
    "fences": lambda size: "```\n" * size + "/sync",
    "backticks": lambda size: " ".join("`" * (i % 90 + 1) for i in range(size)) + "\n/sync",
    "comments without end": lambda size: "x" + "<!-- " * size + "\n/sync",
    "tags without end": lambda size: "x" + "<a b='" * size + "\n/sync",
    "images without end": lambda size: "![" * size + "\n/sync",
    "links without end": lambda size: "](" * size + "\n/sync",
    "titles without end": lambda size: "[a]: b '\n" * size + "/sync",
    "brackets": lambda size: "[" * size + "\n/sync",
    "backslashes": lambda size: "\\" * size + "\n/sync",
    "formulas": lambda size: "$$ " * size + "\n/sync",
    "tables": lambda size: "| a | b |\n|---|---|\n" * size + "/sync",
    "delimiters": lambda size: "/sync\n" + "|-" * size,
    "candidates between tags": lambda size: "x\n" + "/sync <b>\n" * size,
    "open blockquotes": lambda size: "<blockquote>\n\n/sync\n\n" * size,
    "rules that are none": lambda size: "* " * size + "x\n/sync",
    "quotes in a line": lambda size: "/sync " + "'\"" * min(size, 400),
}


def work(body: str) -> int:
    """How many lines of Python a comment makes run."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        spoken(body, KNOWN)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", HOSTILE)
def test_work_grows_with_the_text_only(name: str) -> None:
    """Four times the text is at most four times the work, and a bit."""
    small, large = work(HOSTILE[name](300)), work(HOSTILE[name](1200))
    assert large <= 4.4 * small + 2_000


@pytest.mark.parametrize("name", HOSTILE)
def test_the_regular_expressions_are_linear_too(name: str) -> None:
    """A million characters end at all (quadratic ones would need hours); the test's time limit is the bound."""
    size = BODY_LIMIT // max(1, len(HOSTILE[name](100)) // 100)
    spoken(HOSTILE[name](min(size, 100_000)), KNOWN)
