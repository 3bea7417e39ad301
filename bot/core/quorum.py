"""Counts approvals: distinct people who may approve, and had no part in the change."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from bot.core.conversation import code
from bot.core.people import Person, may_approve
from bot.core.reasons import Reason, passes, refuses
from bot.core.rules import Rules


class Voice(msgspec.Struct, frozen=True):
    """Somebody's live yes: `person` as the forge tells it now, `chain` what was looked at."""

    person: Person
    commit: str
    chain: str
    at: datetime


def barred(
    *, author: str | None = None, asked_by: str | None = None, pushed: Iterable[str] = (), wrote: Iterable[str] = ()
) -> dict[str, str]:
    """Whose voice does not count, by account id, and why."""
    parts = (
        *((each, "wrote a part of it") for each in wrote),
        *((each, "pushed to it") for each in pushed),
        *((each, "asked for the deployment") for each in (asked_by,)),
        *((each, "opened the request") for each in (author,)),
    )
    return {account: why for account, why in parts if account}


def count(
    voices: Sequence[Voice],
    *,
    needed: int,
    chain: str,
    rules: Rules,
    barred: Mapping[str, str],
    unknown_authors: int = 0,
) -> Reason:
    """Whether enough people approved exactly this.

    A commit whose author the forge does not know could be anybody's, also an approver's: it costs one more approval.
    """
    judged = {
        voice.person.id: _voice(voice, chain, rules, barred) for voice in sorted(voices, key=lambda each: each.at)
    }
    counted = sum(reason.passed for reason in judged.values())
    wanted = needed + (1 if unknown_authors else 0)
    reasons = (*judged.values(), *_unknown(unknown_authors))
    if counted >= wanted:
        return passes("approvals_missing", f"{counted} of {wanted} approvals are there", reasons)
    who = " or ".join(dict.fromkeys(_who(words) for words in rules.approvers))
    text = f"{counted} of {wanted} approvals are there; {who} can write `/approve`"
    return refuses("approvals_missing", text, reasons, waits=True)


def own_change(person: Person, why: str) -> Reason:
    """The voice of somebody who had a part in it; somebody else's would count."""
    return refuses("own_change", f"{code(person.login, 60)} {why}, so somebody else must approve", waits=True)


def _voice(voice: Voice, chain: str, rules: Rules, barred: Mapping[str, str]) -> Reason:
    name = code(voice.person.login, 60)
    if voice.chain != chain:
        return refuses("ref_changed", f"{name} approved another state of it; `/approve` again", waits=True)
    if voice.person.id in barred:
        return own_change(voice.person, barred[voice.person.id])
    allowed = may_approve(voice.person, rules)
    if not allowed.passed:
        return refuses("role_lost", f"the approval does not count: {allowed.text}", waits=True)
    return passes("approved", f"{name} approved")


def _unknown(authors: int) -> tuple[Reason, ...]:
    if not authors:
        return ()
    what = "a commit has an author" if authors == 1 else f"{authors} commits have authors"
    return (passes("unknown_author", f"{what} whom the forge does not know: one more approval is needed"),)


def _who(words: Sequence[str]) -> str:
    return ", ".join(code(word, 80) for word in words) or "people with the role approver"
