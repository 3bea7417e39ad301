"""Why something may or may not be done: a tree of reasons, and its three ways of being shown."""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from bot.core.conversation import plain

GO, WAIT, REFUSE = "go", "wait", "refuse"
SUMMARY_LIMIT = 100
_MARKS = re.compile(r"`|\*\*|</?code>|\\(?=[^\w\s])")  # what is only there for Markdown


class Reason(msgspec.Struct, frozen=True):
    """One gate, passed or not, in Markdown of ours that names the cause and what to do.

    `code` is the stable reason code, the same whether it passed or not. `waits`: time or others can still open it.
    """

    code: str
    passed: bool
    text: str
    waits: bool = False
    reasons: tuple["Reason", ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """All gates together, in the order in which they are asked."""

    reasons: tuple[Reason, ...] = ()

    @property
    def outcome(self) -> str:
        """`go`, `wait` (all that is missing can still come) or `refuse`."""
        if all(reason.passed for reason in self.reasons):
            return GO
        return WAIT if all(reason.passed or reason.waits for reason in self.reasons) else REFUSE

    @property
    def first(self) -> Reason | None:
        """The first that failed; what refuses comes before what waits."""
        failed = self.missing()
        return next((reason for reason in failed if not reason.waits), next(iter(failed), None))

    def missing(self) -> tuple[Reason, ...]:
        """Everything that failed."""
        return tuple(reason for reason in self.reasons if not reason.passed)


def passes(code: str, text: str, reasons: Iterable[Reason] = ()) -> Reason:
    """A gate that is open."""
    return Reason(code, True, text, reasons=tuple(reasons))


def refuses(code: str, text: str, reasons: Iterable[Reason] = (), *, waits: bool = False) -> Reason:
    """A gate that is closed."""
    return Reason(code, False, text, waits, tuple(reasons))


def markdown(verdict: Verdict) -> str:
    """The tree as a Markdown list, for the comment and for `/why`."""
    return "\n".join(line for reason in verdict.reasons for line in _lines(reason, ""))


def summary(verdict: Verdict, limit: int = SUMMARY_LIMIT) -> str:
    """One plain line for a status: what is missing, the most important first; "" if nothing is."""
    first = verdict.first
    if first is None:
        return ""
    others = len(verdict.missing()) - 1
    more = f" (+{others} more)" if others else ""
    return plain(html.unescape(_MARKS.sub("", first.text)), limit - len(more)) + more


def as_json(verdict: Verdict) -> list[dict[str, Any]]:
    """The tree as plain data, for the database, the API and the event log."""
    data: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(verdict.reasons))
    return data  # with lists in it, not tuples: it is compared with what the database gives back


def from_json(data: Sequence[Any] | None) -> Verdict:
    """The tree that was stored; none is an empty one."""
    return Verdict(msgspec.convert(data or [], tuple[Reason, ...]))


def codes(verdict: Verdict) -> tuple[str, ...]:
    """The reason codes of all that failed, the tree's leaves included."""
    return tuple(dict.fromkeys(reason.code for reason in _all(verdict.reasons) if not reason.passed))


def _all(reasons: Iterable[Reason]) -> Iterator[Reason]:
    for reason in reasons:
        yield reason
        yield from _all(reason.reasons)


def _lines(reason: Reason, indent: str) -> Iterator[str]:
    sign = "✓" if reason.passed else "…" if reason.waits else "✗"
    told = reason.text if reason.passed else f"{reason.text} (`{reason.code}`)"
    yield f"{indent}- {sign} {told}"
    for inner in reason.reasons:
        yield from _lines(inner, f"{indent}  ")
