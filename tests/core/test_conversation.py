"""The one comment and the statuses: what they say, and that nothing from outside does anything in them."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bot.core.comments import spoken
from bot.core.conversation import (
    MARKER,
    STATUS_LIMIT,
    CommandResult,
    Conversation,
    EnvironmentRow,
    calling,
    code,
    escape,
    marker,
    plain,
    render,
    status_text,
    tame,
)
from bot.core.deployments import PHASES, Phase

MARKDOWN = MarkdownIt("commonmark").enable("table")
WHEN = datetime(2026, 11, 22, 8, 5, tzinfo=UTC)
COMMIT = "abc1234" + "0" * 33


def conversation(**fields: Any) -> Conversation:
    return Conversation(key="gitea/7/12", project="web", **fields)


def result(text: str, **fields: Any) -> CommandResult:
    return CommandResult(command="/deploy staging", by="alice", text=text, **fields)


def shown(markdown: str) -> str:
    """The text that a reader sees, without markup."""
    parts = []
    for block in MARKDOWN.parse(markdown):
        for part in block.children or []:
            parts.append(part.content if part.type in ("text", "text_special", "code_inline") else "")
    return "".join(parts)


def kinds(markdown: str) -> set[str]:
    """The kinds of Markdown that a text makes use of."""
    found = set()
    for block in MARKDOWN.parse(markdown):
        found |= {block.type, *(part.type for part in block.children or [])}
    return found - {"inline", "paragraph_open", "paragraph_close", "text", "text_special"}


def test_a_whole_comment() -> None:
    text = render(
        conversation(
            environments=(
                EnvironmentRow(name="staging", phase=Phase.SUCCEEDED, commit=COMMIT, branch="main", when=WHEN),
                EnvironmentRow(name="production", phase=Phase.FAILED, commit=COMMIT, pinned_to=12, message="no | path"),
                EnvironmentRow(name="development"),
            ),
            results=(result("is live"), result("the head moved", code="ref_changed", when=WHEN)),
        ),
        65_536,
    )
    assert text == (
        "<!-- sluice:v1 gitea/7/12 -->\n"
        "### Sluice: web\n\n"
        "| | Environment | State | Commit | Source | Since |\n"
        "|---|---|---|---|---|---|\n"
        "| ✓ | staging | live | `abc1234` | follows main | 2026-11-22 08:05 UTC |\n"
        "| ✗ | production | failed: no &#124; path | `abc1234` | pinned to #12 | – |\n"
        "| – | development | nothing deployed yet | – | – | – |\n\n"
        "**Commands**\n\n"
        "- ✓ `/deploy staging` by alice: is live\n"
        "- ✗ `/deploy staging` by alice, 2026-11-22 08:05 UTC, refused (`ref_changed`): the head moved\n\n"
        "Write `/help` in a comment to see what you can ask for."
    )


def test_an_empty_comment() -> None:
    assert render(conversation(), 65_536).splitlines()[:2] == [marker("gitea/7/12"), "### Sluice: web"]


def test_older_results_are_folded() -> None:
    text = render(conversation(results=tuple(result(f"number {n}") for n in range(8))), 65_536)
    assert "<details><summary>3 earlier</summary>" in text
    assert text.index("number 4") < text.index("<details>") < text.index("number 5")


@pytest.mark.parametrize("limit", [400, 600, 1_000, 3_000, 20_000, 65_536])
@pytest.mark.parametrize("size", [0, 10, 5_000])
def test_it_never_is_too_long_and_counts_what_is_left_out(limit: int, size: int) -> None:
    rows = tuple(EnvironmentRow(name=f"e{n}", phase=Phase.FAILED, message="|" * size) for n in range(40))
    results = tuple(result("*" * size + f" number {n}") for n in range(200))
    text = render(conversation(environments=rows, results=results, more=7), limit)
    assert len(text) <= limit
    there = len(re.findall(r"number \d+", text)) if size <= 10 else text.count("- ✓")
    assert f"{207 - there} older results do not fit here" in text
    environments = text.count("| ✗ |")
    assert environments == 40 or f"{40 - environments} more environments do not fit" in text or "| ✗ |" not in text


def test_only_commands_that_exist_are_named() -> None:
    rows = tuple(EnvironmentRow(name=f"e{n}") for n in range(99))
    text = render(conversation(environments=rows, results=(result("x"),) * 99), 4_000)
    named = set(re.findall(r"`/([a-z]+)[ `]", text))
    assert named <= {"help", "enable", "sync", "status", "deploy"}


def test_a_marker_takes_no_strange_key() -> None:
    assert marker("a/1").startswith(MARKER)
    for key in ("", "a b", "a--b", "-->", "a\n", "ä", "x" * 201):
        with pytest.raises(ValueError, match="a marker's key"):
            marker(key)


# Hostile texts.

HOSTILE = [
    "*bold* _it_ __b__ ~~no~~", "`code`", "```\nfence", "`````` `", "<b>x</b>", "<!-- x", "-->", "</details>",
    "<script>alert(1)</script>", "&lt;b&gt; &amp; &#64;", "a|b", "| a |", "a\\|b", "\\", "\\\\|", "[a](http://x)",
    "![a](http://x)", "[a]: x", "# title", "> quote", "- item", "+ item", "1. item", "1) item", "---", "===", "    x",
    "/close", "/deploy web", "@alice", "@acme/sre", "mail@example.com", "#12", "acme/web#12", "GH-12", "!12", "$$x$$",
    "a\nb\r\nc\rd", "a\x00b\x1b[31m", "a\u202eb\u200bc\ufeff", "a\u2028b", "", " ", "&#124;", "~~~", "<details>", ":",
    "\U000e0041", "\ud800", "a\n-", "a|b\n-|-", "a\n=",
    "a`b`c``d", "*", "_", "**", "<", ">", "&", "]", "[", "](", "|", "=", "=1", "+1", "-",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_an_escaped_text_shows_itself_and_does_nothing(text: str) -> None:
    written = escape(text)
    assert kinds(written) == set()
    assert shown(written).replace("\u200d", "") == plain(text)
    assert not re.search(r"[@#!]\w|GH-\d", re.sub(r"&#\d+;", "", written))
    assert "\n" not in written


@pytest.mark.parametrize("text", HOSTILE)
def test_a_code_span_shows_itself(text: str) -> None:
    written = code(text)
    assert kinds(f"x {written}") <= {"code_inline", "html_inline"}
    assert shown(written).replace("\u200d", "").strip() == plain(text)
    if "html_inline" in kinds(f"x {written}"):
        assert written.startswith("<code>")
        assert not re.search(r"[<>|`]", written[6:-7])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_keeps_its_cells(text: str) -> None:
    row = f"| a | b | c |\n|---|---|---|\n| {escape(text)} | {code(text)} | x |"
    cells = [block for block in MARKDOWN.parse(row) if block.type == "td_open"]
    assert len(cells) == 3
    inline = [block for block in MARKDOWN.parse(row) if block.type == "inline"]
    assert inline[-1].content == "x"


ALLOWED = {
    *("strong_open", "strong_close", "em_open", "em_close", "code_inline", "fence", "softbreak", "hardbreak"),
    *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "ordered_list_open"),
    *("ordered_list_close", "code_block", "hr"),
}


@given(
    st.lists(st.sampled_from([*HOSTILE, "\n", "\n", " ", "  ", "x"]), max_size=8).map("".join) | st.text(max_size=60)
)
def test_tamed_markdown_keeps_code_and_emphasis_only(text: str) -> None:
    written = tame(text)
    assert kinds(written) <= ALLOWED | {"html_inline"}
    for block in MARKDOWN.parse(written):
        assert block.type != "html_block"
        for part in block.children or []:
            assert part.type != "html_inline" or part.content in ("<code>", "</code>")
            assert part.type != "text" or not re.search(r"[@#]\w", part.content)


def test_tame_leaves_what_we_write() -> None:
    ours = "**Set up** `a | b` with `@x`:\n\n- one\n- two\n\n```yaml\nversion: 1 # <x> @y\n```\nend"
    assert tame(ours) == ours
    assert tame("```\nopen") == "```\nopen\n```"
    assert tame(escape("@a #1 <b> *c* [d]")) == escape("@a #1 <b> *c* [d]")
    assert tame("x" * 5_000).endswith("… (1,000 more characters were left out)")


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=6))
def test_a_hostile_comment_keeps_its_shape(texts: list[str]) -> None:
    text = " ".join(texts)
    markdown = render(
        Conversation(
            key="k",
            project=text,
            environments=(EnvironmentRow(name=text, phase=Phase.FAILED, commit=text, branch=text, message=text),),
            results=tuple(CommandResult(command=each, by=each, text=each, code=each) for each in texts),
        ),
        65_536,
    )
    blocks = MARKDOWN.parse(markdown)
    assert [block.type for block in blocks if block.type == "td_open"] == ["td_open"] * 6
    html = [block.content for block in blocks if block.type == "html_block"]
    html += [part.content for block in blocks for part in block.children or [] if part.type == "html_inline"]
    folds = ("<details>", "</details>")
    assert [each for each in html if each not in ("<code>", "</code>") and not each.startswith(folds)] == [
        "<!-- sluice:v1 k -->\n"
    ]
    assert spoken(markdown, {"deploy", "close"}) == []
    assert not [line for line in markdown.split("\n") if line.startswith("/")]


# Statuses.


@pytest.mark.parametrize(
    ("phase", "fields", "expected"),
    [
        (Phase.QUEUED, {}, "Queued: abc1234"),
        (Phase.WAITING, {}, "Waiting: abc1234"),
        (Phase.WAITING, {"message": "0 of 2 approvals"}, "Waiting: 0 of 2 approvals"),
        (Phase.APPLYING, {}, "Applying abc1234"),
        (Phase.RECONCILING, {}, "Reconciling abc1234"),
        (Phase.RECONCILING, {"message": "Building manifests\n"}, "Reconciling abc1234: Building manifests"),
        (Phase.SUCCEEDED, {"seconds": 3.2}, "Live: abc1234 in 3.2 s"),
        (Phase.SUCCEEDED, {"seconds": 60}, "Live: abc1234 in 1 min"),
        (Phase.SUCCEEDED, {"seconds": 3_725}, "Live: abc1234 in 1 h 2 min"),
        (Phase.SUCCEEDED, {}, "Live: abc1234"),
        (Phase.SUCCEEDED, {"seconds": 3, "checked": False}, "Applied (health not checked): abc1234 in 3.0 s"),
        (Phase.SUCCEEDED, {"checked": False, "message": "health not checked"}, "Applied (health not checked): abc1234"),
        (Phase.SUCCEEDED, {"part_of": "def5678" + "0" * 33}, "Live as part of def5678"),
        (Phase.FAILED, {"message": "path not found"}, "Failed: path not found"),
        (Phase.FAILED, {"message": "a: b: no"}, "Failed: a: b: no"),
        (Phase.FAILED, {}, "Failed: abc1234"),
        (Phase.TIMED_OUT, {"seconds": 300, "message": "waiting for x"}, "Timed out after 5 min: waiting for x"),
        (Phase.TIMED_OUT, {"seconds": 90}, "Timed out after 1 min 30 s"),
        (Phase.TIMED_OUT, {}, "Timed out"),
        (Phase.SUPERSEDED, {"superseded_by": "def5678" + "0" * 33}, "Superseded by def5678"),
        (Phase.SUPERSEDED, {}, "Superseded"),
        (Phase.REJECTED, {"message": "by alice"}, "Rejected: abc1234: by alice"),
        (Phase.CANCELLED, {}, "Cancelled: abc1234"),
    ],
)
def test_status_texts(phase: Phase, fields: dict[str, Any], expected: str) -> None:
    assert status_text(phase, commit=COMMIT, **fields) == expected


@given(st.sampled_from(PHASES), st.text(max_size=400), st.text(max_size=400))
def test_a_status_text_is_one_short_line(phase: Phase, commit: str, message: str) -> None:
    text = status_text(phase, commit=commit, message=message)
    assert len(text) <= STATUS_LIMIT
    assert text
    assert "\n" not in text


def test_a_long_status_text_is_cut_at_its_end() -> None:
    text = status_text(Phase.FAILED, commit=COMMIT, message="x" * 500)
    assert text.startswith("Failed: xxx")
    assert text.endswith("x…")
    assert len(text) == STATUS_LIMIT


@pytest.mark.parametrize(
    ("login", "text", "said"),
    [
        ("maia", "`production` is yours now", "@maia: `production` is yours now"),
        ("maia", "ask @dave and @acme/all", "@maia: ask @\u200ddave and @\u200dacme/all"),
        ("a.b-c_1", "x", "@a.b-c_1: x"),
        ("acme/all", "x", "acme/all: x"),
        ("operator:root", "x", "operator:root: x"),
        ("x\n@dave", "x", "x @\u200ddave: x"),
        ("renovate[bot]", "x", "renovate&#91;bot&#93;: x"),
    ],
)
def test_a_call_is_heard_by_one(login: str, text: str, said: str) -> None:
    """Only who is called is mentioned."""
    assert calling("github/1/2", login, text) == f"{marker('github/1/2')}\n{said}"
