"""What events make of an environment's stand; above all when what waits moves between the comment and the effect."""

import uuid
from typing import Any

import msgspec
import pytest

from bot.core.binding import Parts, chain, configuration, moved, moved_text
from bot.core.deployments import Phase
from bot.core.reasons import Verdict, refuses
from bot.core.releases import (
    Cancelled,
    Change,
    Disabled,
    End,
    EndHold,
    Event,
    Hold,
    Judged,
    Line,
    Open,
    Overtaken,
    Pin,
    Record,
    Rejected,
    Release,
    Reopen,
    RequestClosed,
    RequestMoved,
    Resumed,
    RolledBack,
    Settled,
    Stand,
    Unpin,
    VoidVoices,
    Wanted,
    decide,
)
from bot.core.rules import Rules

A, B, C = "a" * 40, "b" * 40, "c" * 40
ONE, TWO, THREE = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
GO = Verdict()
WAITS = Verdict((refuses("approvals_missing", "0 of 1", waits=True),))
NO = Verdict((refuses("draft", "#7 is a draft; mark it as ready"),))


def line(**more: Any) -> Line:
    given = {"id": ONE, "number": 2, "phase": Phase.WAITING, "commit": B, "inputs": "b", "chain": "B"}
    given |= {"trigger": "deploy", "request": 7, "base": "main", "approved": frozenset({"bob"})}
    return Line(**{**given, **more})


def wanted(commit: str = C, **more: Any) -> Wanted:
    given = {"inputs": commit[0], "chain": commit[0].upper(), "trigger": "deploy", "request": 7, "verdict": WAITS}
    return Wanted(commit=commit, **{**given, **more})


WAITING = line()
PUSHED = line(trigger="push")
RUNNING = line(id=TWO, number=1, phase=Phase.RECONCILING, commit=A, inputs="a", chain="A", approved=frozenset())
FOLLOWING = line(id=TWO, number=1, phase=Phase.RECONCILING, commit=A, inputs="a", chain="", own=False, trigger="push")
BOTH = Stand(lines=(WAITING, RUNNING), pin=A, live_inputs="a")
ALONE = Stand(lines=(WAITING,))
OVERTAKEN = (End(id=ONE, phase=Phase.SUPERSEDED, by=C), VoidVoices(id=ONE, reason="overtaken"))


def judged(verdict: Verdict = WAITS, **more: Any) -> Judged:
    return Judged(**{"id": ONE, "chain": "B", "verdict": verdict, **more})


CASES: dict[str, tuple[Stand, Event, list[Change]]] = {
    # Something is wanted.
    "nothing there, approvals missing": (Stand(), wanted(), [Open(phase=Phase.WAITING)]),
    "nothing there, all gates open": (Stand(), wanted(verdict=GO), [Open(phase=Phase.QUEUED), Pin(C)]),
    "refused": (BOTH, wanted(verdict=NO), []),
    "a newer one waits": (BOTH, wanted(), [*OVERTAKEN, Open(phase=Phase.WAITING)]),
    "the same waits already": (BOTH, wanted(B), []),
    "the same, on another request": (
        ALONE,
        wanted(B, request=8),
        [
            End(id=ONE, phase=Phase.SUPERSEDED, by=B),
            VoidVoices(id=ONE, reason="overtaken"),
            Open(phase=Phase.WAITING),
        ],
    ),
    "a newer one goes at once": (
        BOTH,
        wanted(verdict=GO),
        [*OVERTAKEN, End(id=TWO, phase=Phase.SUPERSEDED, by=C), Open(phase=Phase.QUEUED), Pin(C)],
    ),
    # A push.
    "a push that changes nothing": (BOTH, wanted(trigger="push", inputs="a"), []),
    "a push that takes back what waits": (
        Stand(lines=(PUSHED,), live_inputs="a"),
        wanted(trigger="push", inputs="a"),
        [*OVERTAKEN],
    ),
    "a push that changes what waits": (
        Stand(lines=(PUSHED,), live_inputs="a"),
        wanted(trigger="push"),
        [*OVERTAKEN, Open(phase=Phase.WAITING)],
    ),
    "a push of what waits": (Stand(lines=(PUSHED,)), wanted(trigger="push", inputs="b"), []),
    "a push without the folder": (Stand(lines=(PUSHED,)), wanted(trigger="push", verdict=NO), [*OVERTAKEN]),
    "a push without the folder, somebody's waits": (ALONE, wanted(trigger="push", verdict=NO), []),
    "a push to a follower": (
        Stand(lines=(FOLLOWING,)),
        wanted(trigger="push", own=False, verdict=GO),
        [End(id=TWO, phase=Phase.SUPERSEDED, by=C), Open(phase=Phase.QUEUED)],
    ),
    "a push to a follower that goes along": (
        Stand(lines=(FOLLOWING,)),
        wanted(trigger="push", own=False, verdict=GO, inputs="a"),
        [Open(phase=Phase.QUEUED)],
    ),
    "a push by another source goes no way along": (
        Stand(lines=(FOLLOWING,)),
        wanted(trigger="push", own=False, verdict=GO, inputs="a", source=THREE),
        [End(id=TWO, phase=Phase.SUPERSEDED, by=C), Open(phase=Phase.QUEUED)],
    ),
    "a push that its branch has overtaken": (
        Stand(lines=(FOLLOWING,), live_inputs="a"),
        Overtaken(wanted=wanted(trigger="push", own=False, inputs="b", verdict=GO), head=A, alike=False),
        [Record(by=A)],
    ),
    "a push that goes live with the branch's head": (
        Stand(lines=(FOLLOWING,), live_inputs="a"),
        Overtaken(wanted=wanted(trigger="push", own=False, inputs="a", verdict=GO), head=A, alike=True),
        [Open(phase=Phase.QUEUED)],
    ),
    "a follower again": (
        Stand(lines=(RUNNING,), pin=A),
        wanted(trigger="unpin", own=False, verdict=GO),
        [End(id=TWO, phase=Phase.SUPERSEDED, by=C), Open(phase=Phase.QUEUED), Unpin()],
    ),
    # Judged again.
    "still waiting": (BOTH, judged(), []),
    "let go": (BOTH, judged(GO), [End(id=TWO, phase=Phase.SUPERSEDED, by=B), Release(ONE), Pin(B)]),
    "let go, and something moved": (
        ALONE,
        judged(GO, chain="X", moved=("the inputs", "the configuration")),
        [
            End(
                id=ONE,
                phase=Phase.SUPERSEDED,
                reason="ref_changed",
                text="the inputs and the configuration have moved since it was asked for, and the approvals are void; "
                "`/deploy` it again",
            ),
            VoidVoices(id=ONE, reason="ref_changed"),
        ],
    ),
    "became a draft meanwhile": (
        ALONE,
        judged(NO),
        [
            End(id=ONE, phase=Phase.SUPERSEDED, reason="draft", text="#7 is a draft; mark it as ready"),
            VoidVoices(id=ONE, reason="draft"),
        ],
    ),
    "an approver lost the role": (
        ALONE,
        judged(lost=frozenset({"bob", "carol"})),
        [VoidVoices(id=ONE, reason="role_lost", accounts=frozenset({"bob"}))],
    ),
    "judged after its end": (Stand(lines=(RUNNING,)), judged(GO), []),
    "another waits now": (Stand(lines=(line(id=TWO),)), judged(GO), []),
    # Its request.
    "the head moved": (
        ALONE,
        RequestMoved(number=7, head=C),
        [
            End(
                id=ONE,
                phase=Phase.SUPERSEDED,
                reason="ref_changed",
                text="the head of #7 has moved since it was asked for, and the approvals are void; `/deploy` it again",
            ),
            VoidVoices(id=ONE, reason="ref_changed"),
        ],
    ),
    "the head is told once more": (ALONE, RequestMoved(number=7, head=B), []),
    "another request's head": (ALONE, RequestMoved(number=8, head=C), []),
    "what a push brought is not its request's": (Stand(lines=(PUSHED,)), RequestMoved(number=7, head=C), []),
    "the base moved": (
        ALONE,
        RequestMoved(number=7, base="other"),
        [
            End(
                id=ONE,
                phase=Phase.SUPERSEDED,
                reason="ref_changed",
                text="the branch that #7 goes to has moved since it was asked for, and the approvals are void; "
                "`/deploy` it again",
            ),
            VoidVoices(id=ONE, reason="ref_changed"),
        ],
    ),
    "it became a draft": (
        ALONE,
        RequestMoved(number=7, draft=True),
        [
            End(
                id=ONE,
                phase=Phase.SUPERSEDED,
                reason="ref_changed",
                text="#7 became a draft, and the approvals are void",
            ),
            VoidVoices(id=ONE, reason="ref_changed"),
        ],
    ),
    "it was closed": (
        ALONE,
        RequestClosed(number=7, merged=False),
        [
            End(id=ONE, phase=Phase.CANCELLED, reason="request_closed", text="#7 was closed"),
            VoidVoices(id=ONE, reason="request_closed"),
        ],
    ),
    "it was merged": (ALONE, RequestClosed(number=7, merged=True), []),
    # What people say.
    "rejected": (
        ALONE,
        Rejected(ONE, "not today"),
        [
            End(id=ONE, phase=Phase.REJECTED, reason="rejected", text="not today"),
            VoidVoices(id=ONE, reason="rejected"),
        ],
    ),
    "rejected after its end": (Stand(), Rejected(ONE), []),
    "cancelled": (
        Stand(lines=(line(approved=frozenset()),)),
        Cancelled(ONE),
        [End(id=ONE, phase=Phase.CANCELLED, reason="cancelled")],
    ),
    "what runs is not cancelled": (Stand(lines=(RUNNING,)), Cancelled(TWO), []),
    # Back, and on again.
    "rolled back": (
        BOTH,
        RolledBack(wanted=wanted(trigger="rollback", verdict=GO)),
        [*OVERTAKEN, End(id=TWO, phase=Phase.SUPERSEDED, by=C), Open(phase=Phase.QUEUED), Pin(C), Hold()],
    ),
    "rolled back once more": (
        Stand(pin=A, held=True),
        RolledBack(wanted=wanted(trigger="rollback", verdict=GO), reason="worse"),
        [Open(phase=Phase.QUEUED), Pin(C), Hold(reason="worse")],
    ),
    "resumed": (
        Stand(pin=A, held=True),
        Resumed(wanted=wanted(trigger="resume")),
        [EndHold(), Open(phase=Phase.WAITING)],
    ),
    "resumed, nothing newer": (Stand(pin=A, held=True), Resumed(), [EndHold()]),
    "resumed, and refused": (Stand(pin=A, held=True), Resumed(wanted=wanted(verdict=NO)), []),
    "resumed twice": (Stand(pin=A), Resumed(), []),
    "resumed, and it has what the branch has": (
        Stand(pin=A, held=True, live_inputs="c"),
        Resumed(wanted=wanted(trigger="resume", inputs="c", verdict=GO)),
        [EndHold()],
    ),
    "a follower, resumed": (
        Stand(pin=A, held=True, live_inputs="c"),
        Resumed(wanted=wanted(trigger="unpin", inputs="c", own=False, verdict=GO)),
        [EndHold(), Open(phase=Phase.QUEUED), Unpin()],
    ),
    # Flux.
    "settled": (
        BOTH,
        Settled(id=TWO, phase=Phase.FAILED, reason="build_failed"),
        [End(id=TWO, phase=Phase.FAILED, reason="build_failed")],
    ),
    "settled twice": (Stand(), Settled(id=TWO, phase=Phase.SUCCEEDED), []),
    "what waits is settled by nobody": (ALONE, Settled(id=ONE, phase=Phase.SUCCEEDED), []),
    "what waits is given up": (
        ALONE,
        Settled(id=ONE, phase=Phase.FAILED, reason="gave_up", text="Sluice gave up"),
        [
            End(id=ONE, phase=Phase.FAILED, reason="gave_up", text="Sluice gave up"),
            VoidVoices(id=ONE, reason="gave_up"),
        ],
    ),
    "disabled": (
        BOTH,
        Disabled(),
        [
            End(id=ONE, phase=Phase.CANCELLED, reason="disabled", text="GitOps is being disabled"),
            VoidVoices(id=ONE, reason="disabled"),
            End(id=TWO, phase=Phase.CANCELLED, reason="disabled", text="GitOps is being disabled"),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_an_event_changes(name: str) -> None:
    """Exactly these changes, in this order."""
    stand, event, changes = CASES[name]
    assert decide(stand, event) == changes


# What an approval is bound to.

PARTS = Parts(commit=A, inputs="i", config=configuration("spec", Rules(approvals=1)), policy="p")
MOVES = [
    ({"commit": B}, ["the commit (aaaaaaa → bbbbbbb)"]),
    ({"inputs": "j"}, ["the inputs"]),
    ({"config": configuration("other", Rules(approvals=1))}, ["the configuration"]),
    ({"config": configuration("spec", Rules(approvals=2))}, ["the configuration"]),
    ({"policy": "q"}, ["the operator's policy"]),
    ({"inputs": "j", "policy": "q"}, ["the inputs", "the operator's policy"]),
]


@pytest.mark.parametrize(("more", "words"), MOVES)
def test_every_part_binds(more: dict[str, str], words: list[str]) -> None:
    """Whichever moves, the chain is another, and people are told which."""
    other = Parts(**{**{name: getattr(PARTS, name) for name in PARTS.__struct_fields__}, **more})
    assert chain(other) != chain(PARTS)
    assert moved(PARTS, other) == words
    assert all(word in moved_text(words, "`/deploy` it again") for word in words)


def test_what_did_not_move_is_the_same() -> None:
    """The digest is one of values."""
    assert chain(Parts(commit=A, inputs="i", config=PARTS.config, policy="p")) == chain(PARTS)
    assert moved(PARTS, PARTS) == []


# Between the comment and the effect: what moves, and how it ends, whichever is heard of first.

RACES: dict[str, tuple[Event, Judged]] = {
    "the head": (RequestMoved(number=7, head=C), judged(GO, chain="X", moved=("the head",))),
    "the base": (RequestMoved(number=7, base="other"), judged(GO, chain="X", moved=("the base",))),
    "a draft": (RequestMoved(number=7, draft=True), judged(NO)),
    "closed": (RequestClosed(number=7, merged=False), judged(NO)),
    "rejected": (Rejected(ONE), judged(WAITS)),
    "cancelled": (Cancelled(ONE), judged(WAITS)),
    "rolled back": (RolledBack(wanted=wanted(trigger="rollback", verdict=GO)), judged(WAITS)),
    "a newer one": (wanted(), judged(WAITS)),
}


def apply(stand: Stand, changes: list[Change]) -> Stand:
    """As far as a second decision looks."""
    gone = {change.id for change in changes if isinstance(change, End)}
    return Stand(lines=tuple(each for each in stand.lines if each.id not in gone), pin=stand.pin)


@pytest.mark.parametrize("name", RACES)
def test_the_move_is_heard_of_first(name: str) -> None:
    """Then the voice that would have been the last one finds nothing that waits."""
    event, _ = RACES[name]
    after = apply(ALONE, decide(ALONE, event))
    assert not any(isinstance(change, Release | Pin) for change in decide(after, judged(GO)))


@pytest.mark.parametrize("name", RACES)
def test_the_voice_is_heard_of_first(name: str) -> None:
    """Then what was collected shows the move already, or the move comes too late for what went rightly."""
    event, seen = RACES[name]
    assert not any(isinstance(change, Release | Pin) for change in decide(ALONE, seen))
    gone = Stand(lines=(line(phase=Phase.QUEUED),), pin=B)
    late = [change for change in decide(gone, event) if isinstance(change, End) and change.reason is not None]
    assert late == []  # only a newer one takes its place


DISPLACED = Stand(lines=(WAITING, RUNNING), pin=A, live_inputs="a", displaced=TWO)
ENDS: dict[str, tuple[Event, bool]] = {
    "rejected": (Rejected(ONE), True),
    "cancelled": (Cancelled(ONE), True),
    "its request is closed": (RequestClosed(number=7, merged=False), True),
    "its request got another head": (RequestMoved(number=7, head=C), True),
    "its request became a draft": (RequestMoved(number=7, draft=True), True),
    "its inputs are others": (judged(chain="other"), True),
    "refused meanwhile": (judged(NO), True),
    "given up": (Settled(id=ONE, phase=Phase.FAILED, reason="gave_up"), True),
    "let through": (judged(GO), False),
    "a newer one waits": (wanted(), False),
    "a newer one goes": (wanted(verdict=GO), False),
    "rolled back": (RolledBack(wanted=wanted(verdict=GO)), False),
    "disabled": (Disabled(), False),
    "still waits": (judged(), False),
    "what runs ends": (Settled(id=TWO, phase=Phase.FAILED), False),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_a_push_brought_waits_again(name: str) -> None:
    """When what had taken its place ends and did not go; and only then, and only if it had."""
    event, again = ENDS[name]
    assert (Reopen(TWO) in decide(DISPLACED, event)) is again
    assert Reopen(TWO) not in decide(BOTH, event)
    pushed = msgspec.structs.replace(DISPLACED, lines=(line(trigger="push"), RUNNING))
    assert Reopen(TWO) not in decide(pushed, event)
