"""What an event makes of an environment's stand: pure decisions, whose changes are applied in one transaction.

What the forge knows is collected first. Then, with the environment's row locked, the stand is read, `gates.judge` asked
with what the database says now, the event made of its verdict, and `decide` called: so no decision is older than the
stand that it changes. Called again with the same event it finds done what was done; only that something is `Wanted`
at once, rolled back or resumed, is kept to once by its run.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from bot.core.binding import moved_text
from bot.core.deployments import TERMINAL, Phase
from bot.core.reasons import GO, REFUSE, Verdict

PUSH, DEPLOY = "push", "deploy"
BY_BRANCH = frozenset({PUSH, "resume"})  # triggers that bring the branch's newest revision


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that has not ended, as far as decisions go."""

    id: UUID
    number: int
    phase: Phase
    commit: str
    inputs: str
    chain: str
    trigger: str
    own: bool = True  # by the environment's own source; False: by the shared one
    source: UUID | None = None
    request: int | None = None
    base: str | None = None  # the branch that its request was to be merged to
    approved: frozenset[str] = frozenset()  # the accounts with a live voice


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """An environment as the database has it. `lines` are at most one that waits, and those under way."""

    lines: tuple[Line, ...] = ()
    pin: str | None = None  # the commit of the live pin; None: it follows its branch
    live_inputs: str | None = None  # of the newest deployment that was let through
    held: bool = False
    displaced: UUID | None = None  # what the branch's newest push brought, if what was asked for took its place

    @property
    def waiting(self) -> Line | None:
        """The one that waits."""
        return next((line for line in self.lines if line.phase is Phase.WAITING), None)

    @property
    def running(self) -> tuple[Line, ...]:
        """Those under way: one, but for followers, where several can go live together."""
        return tuple(line for line in self.lines if line.phase is not Phase.WAITING and line.phase not in TERMINAL)


# Events.


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A push, or somebody, wants a commit here. `own`: by the environment's own source, which pins it."""

    commit: str
    inputs: str
    chain: str
    trigger: str
    verdict: Verdict = Verdict()
    request: int | None = None
    own: bool = True
    source: UUID | None = None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The waiting deployment was looked at again: `chain` is what it is bound to now, `moved` what differs.

    `lost` are the accounts that may not approve any more.
    """

    id: UUID
    chain: str
    verdict: Verdict
    moved: tuple[str, ...] = ()
    lost: frozenset[str] = frozenset()


class Rejected(msgspec.Struct, frozen=True):
    """Somebody who may said no."""

    id: UUID
    text: str = ""


class Cancelled(msgspec.Struct, frozen=True):
    """Somebody who may took it back."""

    id: UUID
    text: str = ""


class RequestMoved(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request got another head, another base, or became a draft; None: that stayed as it was.

    Deliveries come late and in any order: head and base are those that the forge tells now.
    """

    number: int
    head: str | None = None
    base: str | None = None
    draft: bool = False


class RequestClosed(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request was closed."""

    number: int
    merged: bool


class Overtaken(msgspec.Struct, frozen=True, kw_only=True):
    """A branch that is followed brought it, and has a newer `head` already; `alike`: of the same inputs."""

    wanted: Wanted
    head: str
    alike: bool


class RolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants back what had succeeded here before; `gates.judge` let it."""

    wanted: Wanted
    reason: str | None = None


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """The hold ends. `wanted` is the newest revision, judged as if it had ended; None: nothing is to come by itself."""

    wanted: Wanted | None = None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Flux's objects say how it ended; or, of any that has not, that Sluice gave it up."""

    id: UUID
    phase: Phase
    reason: str | None = None
    text: str | None = None
    live: str | None = None


class Disabled(msgspec.Struct, frozen=True):
    """GitOps is taken away here."""


Event = (
    Wanted
    | Judged
    | Rejected
    | Cancelled
    | RequestMoved
    | RequestClosed
    | Overtaken
    | RolledBack
    | Resumed
    | Settled
    | Disabled
)


# Changes, in the order in which they are to be made.


class End(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment ends; it ends only once. `by` is the commit that took its place."""

    id: UUID
    phase: Phase
    reason: str | None = None
    text: str | None = None
    by: str | None = None


class VoidVoices(msgspec.Struct, frozen=True, kw_only=True):
    """Approvals count no more; None: all of the deployment."""

    id: UUID
    reason: str
    accounts: frozenset[str] | None = None


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A new deployment of what was wanted, with the next number: `waiting`, or `queued`."""

    phase: Phase


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What was wanted is written down as superseded by another commit, before anything was done for it."""

    by: str


class Release(msgspec.Struct, frozen=True):
    """The waiting deployment gets the next number and is queued."""

    id: UUID


class Pin(msgspec.Struct, frozen=True):
    """The environment's own source is to say this commit, under the number just given."""

    commit: str


class Unpin(msgspec.Struct, frozen=True):
    """The environment follows its branch again."""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """The environment stays at what was just opened until it is resumed."""

    reason: str | None = None


class EndHold(msgspec.Struct, frozen=True):
    """It may move again."""


class Reopen(msgspec.Struct, frozen=True):
    """The branch's newest revision is wanted again: what had taken its place ended, and was not let through."""

    id: UUID  # of what had been opened for it


Change = End | VoidVoices | Open | Record | Release | Pin | Unpin | Hold | EndHold | Reopen


def decide(stand: Stand, event: Event) -> list[Change]:
    """What an event changes; nothing where it was decided already, or is of no concern here."""
    changes = _decided(stand, event)
    return [*changes, *_reopened(stand, changes)]


def _reopened(stand: Stand, changes: Sequence[Change]) -> Iterable[Change]:
    """Nobody said no to what a push had brought, only to what took its place."""
    line = stand.waiting
    if stand.displaced is None or line is None or line.trigger in BY_BRANCH:
        return ()
    ended = (change for change in changes if isinstance(change, End) and change.id == line.id)
    return [Reopen(stand.displaced) for end in ended if end.by is None and end.reason != "disabled"]


def _decided(stand: Stand, event: Event) -> list[Change]:
    match event:
        case Wanted():
            return _wanted(stand, event)
        case Judged():
            return _judged(stand, event)
        case Rejected():
            return _end_waiting(stand, event.id, Phase.REJECTED, "rejected", event.text)
        case Cancelled():
            return _end_waiting(stand, event.id, Phase.CANCELLED, "cancelled", event.text)
        case RequestMoved():
            return _request_moved(stand, event)
        case RequestClosed():
            return _request_closed(stand, event)
        case Overtaken():
            return _at_once(stand, event.wanted) if event.alike else [Record(by=event.head)]
        case RolledBack():
            return [*_at_once(stand, event.wanted), Hold(reason=event.reason)]
        case Resumed():
            return _resumed(stand, event)
        case Settled():
            return _settled(stand, event)
        case Disabled():
            return [change for line in stand.lines for change in _disabled(line)]


# Something is wanted.


def _wanted(stand: Stand, wanted: Wanted) -> list[Change]:
    waiting = stand.waiting
    went_back = wanted.trigger == PUSH and wanted.inputs == stand.live_inputs
    if went_back or wanted.verdict.outcome == REFUSE:
        older = waiting is not None and waiting.trigger == wanted.trigger == PUSH
        return _overtaken(waiting, wanted) if older else []  # the branch has left it behind
    if wanted.verdict.outcome == GO:
        return _at_once(stand, wanted)
    if waiting is not None and _same(waiting, wanted):
        return []
    return [*_overtaken(waiting, wanted), Open(phase=Phase.WAITING)]


def _same(waiting: Line, wanted: Wanted) -> bool:
    """What waits already is not asked for twice; of a branch the newest that differs is asked for."""
    if waiting.trigger == wanted.trigger == PUSH:
        return waiting.inputs == wanted.inputs
    if wanted.trigger == PUSH:  # the push that brought what somebody asked for already, as after an edit of ours
        return waiting.chain == wanted.chain
    return waiting.chain == wanted.chain and waiting.request == wanted.request


def _at_once(stand: Stand, wanted: Wanted) -> list[Change]:
    """It overtakes what waits and what is under way; its number is taken from them."""
    pin: list[Change] = [Pin(wanted.commit)] if wanted.own else [Unpin()] if stand.pin is not None else []
    running = [line for line in stand.running if not _goes_along(line, wanted)]
    return [*_overtaken(stand.waiting, wanted), *_supersede(running, wanted.commit), Open(phase=Phase.QUEUED), *pin]


def _goes_along(line: Line, wanted: Wanted) -> bool:
    """On a branch that is followed, what is the same for the environment goes live together.

    By two sources they would switch what applies it to and fro.
    """
    shared = not line.own and not wanted.own and line.source == wanted.source
    return shared and line.inputs == wanted.inputs and line.commit != wanted.commit


def _overtaken(waiting: Line | None, wanted: Wanted) -> list[Change]:
    if waiting is None:
        return []
    return [
        *_supersede([waiting], wanted.commit),
        *([VoidVoices(id=waiting.id, reason="overtaken")] if waiting.approved else []),
    ]


def _supersede(lines: Iterable[Line], by: str) -> list[Change]:
    return [End(id=line.id, phase=Phase.SUPERSEDED, by=by) for line in lines]


# Something waits.


def _judged(stand: Stand, judged: Judged) -> list[Change]:
    line = stand.waiting
    if line is None or line.id != judged.id:
        return []
    if judged.chain != line.chain:
        return _void(line, "ref_changed", moved_text(judged.moved or ("what it is made of",), again(line)))
    first = judged.verdict.first
    if judged.verdict.outcome == REFUSE and first is not None:
        return _void(line, first.code, first.text)
    if judged.verdict.outcome == GO:
        return [*_supersede(stand.running, line.commit), Release(line.id), Pin(line.commit)]
    lost = judged.lost & line.approved
    return [VoidVoices(id=line.id, reason="role_lost", accounts=lost)] if lost else []


def again(line: Line) -> str:
    """What to write, now that a deployment ended because something moved."""
    return "a newer one opens by itself" if line.trigger == PUSH else f"`/{line.trigger}` it again"


def _request_moved(stand: Stand, event: RequestMoved) -> list[Change]:
    """Only what was asked for as this request's own is bound to it."""
    line = stand.waiting
    if line is None or line.request != event.number or line.trigger != DEPLOY:
        return []
    moved = []
    if event.head is not None and event.head != line.commit:
        moved.append(f"the head of #{event.number}")
    if event.base is not None and event.base != line.base:
        moved.append(f"the branch that #{event.number} goes to")
    if event.draft:
        return _void(line, "ref_changed", f"#{event.number} became a draft, and the approvals are void")
    return _void(line, "ref_changed", moved_text(moved, again(line))) if moved else []


def _request_closed(stand: Stand, event: RequestClosed) -> list[Change]:
    """What was merged is still wanted; what was thrown away is not."""
    line = stand.waiting
    if event.merged or line is None or line.request != event.number or line.trigger == PUSH:
        return []
    return _end_waiting(stand, line.id, Phase.CANCELLED, "request_closed", f"#{event.number} was closed")


def _end_waiting(stand: Stand, id: UUID, phase: Phase, reason: str, text: str) -> list[Change]:
    line = stand.waiting
    if line is None or line.id != id:
        return []
    return [End(id=id, phase=phase, reason=reason, text=text or None), *_voices(line, reason)]


def _void(line: Line, reason: str, text: str) -> list[Change]:
    return [End(id=line.id, phase=Phase.SUPERSEDED, reason=reason, text=text), *_voices(line, reason)]


def _voices(line: Line, reason: str) -> Sequence[Change]:
    return [VoidVoices(id=line.id, reason=reason)] if line.approved else []


# The rest.


def _resumed(stand: Stand, event: Resumed) -> list[Change]:
    ended: list[Change] = [EndHold()] if stand.held else []
    if event.wanted is None or (event.wanted.own and event.wanted.inputs == stand.live_inputs):
        return ended
    if event.wanted.verdict.outcome == REFUSE:
        return []
    return [*ended, *_wanted(msgspec.structs.replace(stand, held=False), event.wanted)]


def _settled(stand: Stand, event: Settled) -> list[Change]:
    """What waits goes by nothing of Flux's: it can only be given up."""
    line = next((line for line in stand.lines if line.id == event.id), None)
    if line is None or (line is stand.waiting and event.phase is not Phase.FAILED):
        return []
    end = End(id=line.id, phase=event.phase, reason=event.reason, text=event.text, by=event.live)
    return [end, *_voices(line, event.reason or event.phase)] if line is stand.waiting else [end]


def _disabled(line: Line) -> list[Change]:
    end = End(id=line.id, phase=Phase.CANCELLED, reason="disabled", text="GitOps is being disabled")
    return [end, *_voices(line, "disabled")]
