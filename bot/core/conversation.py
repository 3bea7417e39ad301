"""Writes the one comment of a pull request and the texts of its statuses; disarms what comes from outside."""

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec

from bot.core import initialization
from bot.core.deployments import Phase, short
from bot.core.initialization import Stand

OPEN_RESULTS = 5  # more than these are folded
RESULT_LIMIT = 4_000  # characters of one result
MESSAGE_LIMIT = 300  # characters of one environment's message
STATUS_LIMIT = 140
MARKER = "<!-- sluice:v1 "

SYMBOLS = {
    Phase.QUEUED: "…",
    Phase.WAITING: "…",
    Phase.APPLYING: "…",
    Phase.RECONCILING: "…",
    Phase.SUCCEEDED: "✓",
    Phase.FAILED: "✗",
    Phase.TIMED_OUT: "✗",
    Phase.SUPERSEDED: "–",
    Phase.REJECTED: "–",
    Phase.CANCELLED: "–",
}
STEP_SYMBOLS = {
    initialization.PENDING: "·",
    initialization.RUNNING: "…",
    initialization.COMPLETED: "✓",
    initialization.FAILED: "✗",
}
WORDS = {Phase.SUCCEEDED: "live", Phase.TIMED_OUT: "timed out"}

_JOINER = "\u200d"
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_TO_ENTITY, _TO_BACKSLASH, _TO_JOINER = r"([<>|`\\\[\]&])", r"([*_~$])", r"([@#!](?=[\w\[/-])|\bGH-(?=\d))"
_SPECIAL = re.compile(f"{_TO_ENTITY}|{_TO_BACKSLASH}|{_TO_JOINER}", re.I)
_LINE_START = re.compile(r"[-+=/#:]|\d{1,9}(?=[.)])")
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_CODE = re.compile(r"(?<![\\`])(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_OURS = re.compile(
    r"\\?([@#!](?=[\w\[/-])|\bGH-(?=\d))|\\[!-/:-@\[-`{-~]|&(?:#(?:38|60|62|9[1236]|124)|amp|lt|gt);|</?code>|([<>|`\[\]&])",
    re.I,
)
_OUR_START = re.compile(r" {0,3}(?=[#=/]|-{2}|-\s*$|~{3})")
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9._:/=-]{1,200}", re.ASCII)


class PastRow(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that another one followed."""

    number: int
    phase: Phase
    commit: str
    by: str
    when: datetime | None = None
    message: str = ""


class EnvironmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An environment as the table shows it. `pinned_to` is a pull request's number or a few words; else it follows."""

    name: str
    phase: Phase | None = None  # None: nothing was deployed yet
    commit: str | None = None
    branch: str | None = None
    pinned_to: int | str | None = None
    when: datetime | None = None
    message: str = ""
    gates: str = ""  # while it waits: what is there and what is missing, as Markdown of ours
    past: tuple[PastRow, ...] = ()  # what this request brought there before, newest first
    older: bool = False  # there were more than these


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one command. `text` is Markdown of ours; `code` is the reason code of a refusal."""

    command: str
    by: str
    text: str
    code: str | None = None
    failed: bool = False  # it was not refused, but could not be brought to a good end
    when: datetime | None = None


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """One step of setting a project up. `said` and `error` are Markdown of ours; `code` is a failure's reason code."""

    title: str
    weight: int
    status: str
    progress: int = 0
    seconds: float | None = None
    said: str = ""
    error: str = ""
    code: str | None = None


class SetupProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a project's setting up is."""

    project: str
    steps: tuple[StepRow, ...]


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """All that the comment shows. `key` goes into the hidden marker; `results` may come in any number, newest first."""

    key: str
    project: str
    setups: tuple[SetupProgress, ...] = ()
    environments: tuple[EnvironmentRow, ...] = ()
    configuration: str = ""  # what is said of a changed .sluice.yaml, as Markdown of ours
    results: tuple[CommandResult, ...] = ()
    more: int = 0  # results that were not even read from the database


def marker(key: str) -> str:
    """The hidden line by which the comment is found again."""
    if not _KEY.fullmatch(key) or "--" in key:
        raise ValueError("a marker's key is made of letters, digits and . _ : / = -")
    return f"{MARKER}{key} -->"


def calling(key: str, login: str, text: str) -> str:
    """A comment that calls one person, and nobody else whatever the text says."""
    who = f"@{login}" if _LOGIN.fullmatch(login) else escape(login, 60)
    return f"{marker(key)}\n{who}: {tame(text)}"


# Making texts harmless.


def plain(text: str, limit: int = 0) -> str:
    """One line without control, invisible and direction-changing characters, at most `limit` characters long."""
    line = " ".join(_UNSEEN.sub("", text).split())
    return line if not limit or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int = 0) -> str:
    """A text from outside as one line of Markdown that shows it, in a table as well, and does nothing else.

    A joiner that nobody sees keeps @names and #numbers from telling or linking anybody.
    """
    line = _SPECIAL.sub(_disarmed, plain(text, limit))
    start = _LINE_START.match(line)
    if start is None:
        return line
    return f"\\{line}" if not start.group().isdigit() else f"{start.group()}\\{line[start.end() :]}"


def _disarmed(match: re.Match[str]) -> str:
    character = match.group()
    if match[1]:
        return f"&#{ord(character)};"
    return f"\\{character}" if match[2] else character + _JOINER


def code(text: str, limit: int = 0) -> str:
    """A text from outside as a code span, in a table as well; it may hold any number of backticks."""
    line = plain(text, limit)
    if not line:
        return "` `"
    if "|" in line or "\\" in line:
        return f"<code>{escape(line)}</code>"
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    blank = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{blank}{line}{blank}{fence}"


def tame(markdown: str, limit: int = RESULT_LIMIT) -> str:
    """Markdown of ours that may hold something from outside: code, emphasis and lists stay, the rest is made harmless.

    HTML (but <code>), links, images, mentions and references are disarmed, and a fence that is open is closed.
    """
    lines: list[str] = []
    fence = ""
    for line in _clipped(_UNSEEN.sub("", markdown), limit).split("\n"):
        found = _FENCE.match(line)
        if fence:
            fence = "" if found and line.strip().startswith(fence) and not line.strip().strip(fence[0]) else fence
            lines.append(line)
        elif found:
            fence = found[1] or found[2]
            lines.append(fence + re.sub(r"[^\w-]", "", line[len(fence) :]))
        else:
            lines.append(_tame_line(line))
    return "\n".join([*lines, fence] if fence else lines).strip("\n")


def _tame_line(line: str) -> str:
    """One line outside fences: its code spans as they are, the text between them disarmed."""
    start = _OUR_START.match(line)
    indent = start.group() if start else ""
    parts, position = [f"{indent}\\" if start else ""], len(indent)
    for span in _CODE.finditer(line, position):
        parts += [_OURS.sub(_tamed, line[position : span.start()]), span.group()]
        position = span.end()
    return "".join([*parts, _OURS.sub(_tamed, line[position:])])


def _tamed(match: re.Match[str]) -> str:
    if match[1]:
        return match[1] + _JOINER
    return f"&#{ord(match[2])};" if match[2] else match.group()


def _clipped(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()}… ({len(text) - limit:,} more characters were left out)"


# The comment.


def render(conversation: Conversation, limit: int) -> str:
    """The comment as Markdown, at most `limit` characters long; what does not fit is counted and said."""
    head = f"{marker(conversation.key)}\n### Sluice: {escape(conversation.project, 100)}"
    foot = "Write `/help` in a comment to see what you can ask for."
    left = limit - len(head) - len(foot) - 4
    table = _table(conversation.environments, left // 2)
    left -= len(table) + 2 if table else 0
    sections = _sections(conversation.environments, left // 2)
    left -= len(sections) + 2 if sections else 0
    configuration = _configuration(conversation.configuration)
    left -= len(configuration) + 2 if configuration else 0
    setups = _setups(conversation.setups, left * 2 // 3)
    left -= len(setups) + 2 if setups else 0
    results = _results(conversation.results, conversation.more, left - 2)
    body = "\n\n".join(part for part in (head, table, sections, setups, configuration, results, foot) if part)
    return body if len(body) <= limit else body[:limit]


def _configuration(text: str) -> str:
    return f"**Configuration**\n\n{tame(text)}" if text else ""


def _fitting(blocks: Sequence[str], room: int) -> int:
    """How many of the blocks fit, counted from the first."""
    for index, block in enumerate(blocks):
        room -= len(block) + 1
        if room < 0:
            return index
    return len(blocks)


def _table(environments: Sequence[EnvironmentRow], room: int) -> str:
    if not environments:
        return ""
    head = "| | Environment | State | Commit | Source | Since |\n|---|---|---|---|---|---|"
    rows = [_row(environment) for environment in environments]
    count = _fitting(rows, room - len(head) - 80)
    lines = [head, *rows[:count]]
    if count < len(rows):
        lines.append(f"\n{len(rows) - count} more environments do not fit here; `/status` shows them.")
    return "\n".join(lines)


def _row(row: EnvironmentRow) -> str:
    symbol = SYMBOLS[row.phase] if row.phase else "–"
    word = WORDS.get(row.phase, row.phase.value) if row.phase else "nothing deployed yet"
    state = f"{word}: {escape(row.message, MESSAGE_LIMIT)}" if row.message else word
    commit = code(short(row.commit)) if row.commit else "–"
    cells = (symbol, escape(row.name, 60), state, commit, _source(row), _when(row.when) or "–")
    return f"| {' | '.join(cells)} |"


def _source(row: EnvironmentRow) -> str:
    if row.pinned_to is not None:
        return f"pinned to {f'#{row.pinned_to}' if isinstance(row.pinned_to, int) else escape(row.pinned_to, 80)}"
    return f"follows {escape(row.branch, 80)}" if row.branch else "–"


# What waits, and what was before it.


def _sections(environments: Sequence[EnvironmentRow], room: int) -> str:
    blocks = [block for each in environments for block in (_gates(each), _past(each)) if block]
    count = _fitting(blocks, room - 80)
    if count < len(blocks):
        blocks[count:] = ["More does not fit here; `/why` and `/history` tell it."]
    return "\n\n".join(blocks)


def _gates(row: EnvironmentRow) -> str:
    if not row.gates:
        return ""
    commit = f" with {code(short(row.commit))}" if row.commit else ""
    return f"**{escape(row.name, 60)}** waits{commit}:\n\n{tame(row.gates)}"


def _past(row: EnvironmentRow) -> str:
    if not row.past:
        return ""
    count = f"{len(row.past)} earlier deployment{'' if len(row.past) == 1 else 's'} to {escape(row.name, 60)}"
    lines = "\n".join(_past_line(each) for each in row.past)
    if row.older:
        count = f"the last {count}"
        lines += f"\n\n{code(f'/history {row.name}', 100)} lists older ones."
    return f"<details><summary>{count}</summary>\n\n{lines}\n\n</details>"


def _past_line(row: PastRow) -> str:
    word = WORDS.get(row.phase, row.phase.value)
    said = f": {escape(row.message, MESSAGE_LIMIT)}" if row.message else ""
    when = f", {_when(row.when)}" if row.when else ""
    commit, by = code(short(row.commit)), escape(row.by, 60)
    return f"- {SYMBOLS[row.phase]} deployment {row.number}: {commit} by {by}{when}, {word}{said}"


# Setting up: every step while it goes on or failed, one line when it is done.


def _setups(setups: Sequence[SetupProgress], room: int) -> str:
    several = len(setups) > 1
    blocks = [_setup(setup, f" {escape(setup.project, 60)}" if several else "") for setup in setups]
    count = _fitting(blocks, room - 80)
    if count < len(blocks):
        blocks[count:] = [f"{len(blocks) - count} more projects do not fit here; `/status` shows them."]
    return "\n\n".join(blocks)


def _setup(setup: SetupProgress, name: str) -> str:
    percent = initialization.progress(Stand(step.weight, step.status, step.progress) for step in setup.steps)
    lines = "\n".join(_step(step) for step in setup.steps)
    if percent == 100:
        lasted = _lasting(sum(step.seconds or 0 for step in setup.steps))
        summary = f"✓ Set up{name}: all {len(setup.steps)} steps in {lasted}"
        return f"<details><summary>{summary}</summary>\n\n{lines}\n\n</details>"
    failed = any(step.status == initialization.FAILED for step in setup.steps)
    head = f"**Setting up{name} failed**" if failed else f"**Setting up{name}: {percent} %**"
    return f"{head}\n\n{lines}"


def _step(step: StepRow) -> str:
    """One line; below it why it failed, and what to do about that."""
    sign = STEP_SYMBOLS[step.status]
    lasted = "" if step.seconds is None else f" ({_briefly(step.seconds)})"
    said = f": {tame(step.said, MESSAGE_LIMIT)}" if step.said else ""
    if step.status == initialization.FAILED:
        why = f"{tame(step.error)}\n\n**What to do:** {initialization.remedy(step.code or '')}"
        return f"- {sign} **{step.title}**{lasted}, {code(step.code or 'failed', 60)}:\n\n{_indented(why)}\n"
    if step.status == initialization.RUNNING:
        return f"- {sign} **{step.title}**{said}"
    return f"- {sign} {step.title}{lasted}{said}"


def _briefly(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.95 else _lasting(seconds)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def _when(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC" if when else ""


def _results(results: Sequence[CommandResult], more: int, room: int) -> str:
    """The last results, newest first; all but the first few are folded, and those that do not fit are counted."""
    blocks = [_result(result) for result in results]
    count = _fitting(blocks, room - 220)
    left_out = len(blocks) - count + more
    lines = ["**Commands**", "", *blocks[: min(count, OPEN_RESULTS)]] if count else []
    if count > OPEN_RESULTS:
        folded = count - OPEN_RESULTS
        lines += [
            "",
            f"<details><summary>{folded} earlier</summary>",
            "",
            *blocks[OPEN_RESULTS:count],
            "",
            "</details>",
        ]
    if left_out:
        lines += ["", f"{left_out} older results do not fit here; `/status` shows how things are now."]
    return "\n".join(lines).strip("\n")


def _result(result: CommandResult) -> str:
    sign = "✓" if result.code is None else "✗"
    refused = "" if result.code is None else f", {'failed' if result.failed else 'refused'} ({code(result.code, 60)})"
    when = f", {_when(result.when)}" if result.when else ""
    head = f"- {sign} {code(result.command, 200)} by {escape(result.by, 60)}{when}{refused}"
    text = tame(result.text)
    if not text:
        return head
    if "\n" not in text:
        return f"{head}: {text}"
    return f"{head}:\n\n{_indented(text)}\n"


# The statuses.


def status_text(
    phase: Phase,
    *,
    commit: str = "",
    message: str = "",
    seconds: float | None = None,
    part_of: str = "",
    superseded_by: str = "",
    checked: bool = True,
    limit: int = STATUS_LIMIT,
) -> str:
    """The description of a commit status: the meaning first, Flux's own words after it, and never too long.

    `part_of` is the newer commit that this one went live with; `checked` is False where health was not waited for.
    """
    name = short(commit)
    lasted = f" in {_lasting(seconds)}" if seconds is not None else ""
    words = {
        Phase.QUEUED: f"Queued: {name}",
        Phase.WAITING: "Waiting" if message else f"Waiting: {name}",
        Phase.APPLYING: f"Applying {name}",
        Phase.RECONCILING: f"Reconciling {name}",
        Phase.SUCCEEDED: f"{'Live' if checked else 'Applied (health not checked)'}: {name}{lasted}",
        Phase.FAILED: f"Failed: {name}" if not message else "Failed",
        Phase.TIMED_OUT: f"Timed out after {_lasting(seconds)}" if seconds is not None else "Timed out",
        Phase.SUPERSEDED: f"Superseded by {short(superseded_by)}" if superseded_by else "Superseded",
        Phase.REJECTED: f"Rejected: {name}",
        Phase.CANCELLED: f"Cancelled: {name}",
    }[phase]
    if phase is Phase.SUCCEEDED and part_of:
        words = f"Live as part of {short(part_of)}{lasted}"
    said = plain(message)
    said = "" if said and said in words else said
    return plain(f"{words.rstrip(': ')}: {said}" if said else words.rstrip(": "), limit)


def _lasting(seconds: float) -> str:
    """A span of time as people say it."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
