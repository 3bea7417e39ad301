"""A command's words become its arguments, or a message that says what is wrong."""

from typing import Annotated

import msgspec
import pytest

from bot.core.arguments import convert, explain, usage
from bot.core.errors import UserError


class Deploy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: Annotated[str, msgspec.Meta(description="Where to.")]
    sha: Annotated[str | None, msgspec.Meta(description="Which commit.", extra={"positional": True})] = None
    image: Annotated[tuple[str, ...], msgspec.Meta(extra={"option": True})] = ()
    reason: Annotated[str, msgspec.Meta(description="Why.", max_length=20)] = ""
    timeout: int = 60
    prune_confirmed: bool = False


class Sync(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    targets: tuple[str, ...] = ()
    now: bool = False


class Reject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: str
    words: tuple[str, ...]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["web"], Deploy("web")),
        (["web", "abc1234"], Deploy("web", "abc1234")),
        (["--prune-confirmed", "web"], Deploy("web", prune_confirmed=True)),
        (["web", "--reason", "too slow"], Deploy("web", reason="too slow")),
        (["--reason=a=b", "web"], Deploy("web", reason="a=b")),
        (["--reason=", "web"], Deploy("web", reason="")),
        (["--reason=--x", "web"], Deploy("web", reason="--x")),
        (["--timeout", "5", "web"], Deploy("web", timeout=5)),
        (["--timeout", "-5", "web"], Deploy("web", timeout=-5)),
        (["web", "--image", "a=1", "--image=b=2"], Deploy("web", image=("a=1", "b=2"))),
        (["--", "--web"], Deploy("--web")),
        (["--", "a", "b"], Deploy("a", "b")),
        (["a", "--", "b"], Deploy("a", "b")),
        (["-"], Deploy("-")),
        (["null"], Deploy("null")),
        (["web", "null", "--reason", "null"], Deploy("web", "null", reason="null")),
        (["-1"], Deploy("-1")),
        (["—"], Deploy("—")),
    ],
)
def test_words_become_arguments(words: list[str], expected: Deploy) -> None:
    assert convert(words, Deploy, "deploy") == expected


USAGE = "/deploy <target> [sha] [--image <text>]… [--reason <text>] [--timeout <number>] [--prune-confirmed]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "<target> is missing"),
        (["a", "b", "c"], "“c” is one word too many (words with blanks go into quotes)"),
        (["a", "b", "x" * 99], f"“{'x' * 59}…” is one word too many (words with blanks go into quotes)"),
        (["a", "--nope"], "there is no option --nope"),
        (["a", "--raeson", "x"], "there is no option --raeson; did you mean --reason?"),
        (["a", "--prune"], "there is no option --prune; did you mean --prune-confirmed?"),
        (["a", "—reason", "x"], "there is no option —reason; did you mean --reason?"),
        (["a", "–reason=x"], "there is no option –reason=x; did you mean --reason?"),
        (["a", "-reason"], "there is no option -reason; did you mean --reason?"),
        (["a", "-r"], "there is no option -r; did you mean --reason?"),
        (["a", "--REASON", "x"], "there is no option --REASON; did you mean --reason?"),
        (["a", "--reason"], "--reason needs a value (for one that begins with two hyphens, write --reason=…)"),
        (
            ["a", "--reason", "--timeout"],
            "--reason needs a value (for one that begins with two hyphens, write --reason=…)",
        ),
        (["a", "--reason", "x", "--reason=y"], "--reason is given twice"),
        (["a", "--prune-confirmed", "--prune-confirmed"], "--prune-confirmed is given twice"),
        (["a", "--prune-confirmed=yes"], "--prune-confirmed takes no value"),
        (["a", "--prune_confirmed"], "there is no option --prune_confirmed; did you mean --prune-confirmed?"),
        (["a", "--timeout", "soon"], "--timeout: must be a whole number"),
        (["a", "--timeout="], "--timeout: must be a whole number"),
        (["a", "--reason", "x" * 21], "--reason: expected `str` of length <= 20"),
    ],
)
def test_what_is_wrong_is_said_with_the_usage(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        convert(words, Deploy, "deploy")
    assert caught.value.code == "usage"
    assert caught.value.message == f"{message}{'' if message.endswith('?') else '.'} Usage: {USAGE}"


def test_the_rest_takes_what_is_left() -> None:
    assert convert(["a", "--now", "b"], Sync) == Sync(("a", "b"), now=True)
    assert convert([], Sync) == Sync()
    assert convert(["web", "too", "late"], Reject) == Reject("web", ("too", "late"))
    with pytest.raises(UserError, match="<words> is missing"):
        convert(["web"], Reject)
    assert convert([], Nothing) == Nothing()
    with pytest.raises(UserError, match="one word too many"):
        convert(["x"], Nothing)


def test_usage_and_explanations_come_from_the_fields() -> None:
    assert usage("deploy", Deploy) == USAGE
    assert usage("sync", Sync) == "/sync [targets…] [--now]"
    assert usage("reject", Reject) == "/reject <target> <words>…"
    assert usage("help", Nothing) == "/help"
    assert explain(Deploy) == [
        ("<target>", "Where to."),
        ("[sha]", "Which commit."),
        ("[--reason <text>]", "Why."),
    ]
    assert explain(Sync) == []
