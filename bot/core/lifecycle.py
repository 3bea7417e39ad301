"""The life of a deployment: every move that it may make, and the key under which the move's effect happens once."""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from bot.core.deployments import TERMINAL, UNSETTLED, Phase

STATUS = "deployment:{deployment}:{phase}"  # what is told of it
PIN = "environment:{environment}:pin:{number}"  # the pin, or the shared source, goes by its number
REQUEST = "deployment:{deployment}:requested"  # Flux is asked to fetch and to apply


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """From one phase (None: it does not exist yet) to another; `event` says why, `effect` is the key's pattern."""

    before: Phase | None
    event: str
    after: Phase
    effect: str = STATUS


def _moves() -> Iterable[Move]:
    waiting, queued, applying, reconciling = Phase.WAITING, Phase.QUEUED, Phase.APPLYING, Phase.RECONCILING
    yield Move(before=None, event="a gate is closed", after=waiting)
    yield Move(before=None, event="every gate is open", after=queued, effect=PIN)
    yield Move(before=waiting, event="every gate is open", after=queued, effect=PIN)
    yield Move(before=waiting, event="somebody rejects", after=Phase.REJECTED)
    yield Move(before=waiting, event="what it is bound to moved, or a newer one came", after=Phase.SUPERSEDED)
    yield Move(before=waiting, event="its request is closed, or it is cancelled", after=Phase.CANCELLED)
    yield Move(before=waiting, event="trouble did not end", after=Phase.FAILED)
    yield Move(before=queued, event="its pin is written", after=applying, effect=PIN)
    yield Move(before=reconciling, event="its pin is written anew", after=applying, effect=PIN)
    for before in (queued, applying):
        yield Move(before=before, event="Flux is asked", after=reconciling, effect=REQUEST)
    for before in (queued, applying, reconciling):
        yield Move(before=before, event="the revision is live", after=Phase.SUCCEEDED)
        yield Move(before=before, event="it cannot succeed", after=Phase.FAILED)
        yield Move(before=before, event="the deadline passed", after=Phase.TIMED_OUT)
        yield Move(before=before, event="a newer one took its place", after=Phase.SUPERSEDED)
        yield Move(before=before, event="GitOps is disabled", after=Phase.CANCELLED)


MOVES: tuple[Move, ...] = tuple(_moves())
_ALLOWED = frozenset((move.before, move.after) for move in MOVES)
_EFFECTS = {move.after: move.effect for move in MOVES}


def allowed(before: Phase | None, after: Phase) -> bool:
    """Whether a deployment may go from one phase to another; staying where it is says only something new of it."""
    return (before, after) in _ALLOWED or (before == after and after in UNSETTLED)


def sources(after: Phase) -> tuple[Phase, ...]:
    """The phases that a deployment may be in to get to this one."""
    return tuple(phase for phase in Phase if allowed(phase, after))


def effect(phase: Phase, *, deployment: UUID, environment: UUID, number: int) -> str:
    """The key of what getting to a phase does outside: done again, it finds itself done."""
    return _EFFECTS[phase].format(deployment=deployment, environment=environment, number=number, phase=phase)


def diagram() -> str:
    """The moves as a Mermaid diagram, for the docs."""
    lines = ["stateDiagram-v2"]
    drawn: dict[tuple[str, str], list[str]] = {}
    for move in MOVES:
        drawn.setdefault((move.before or "[*]", move.after), []).append(move.event)
    lines += [f"    {before} --> {after}: {' / '.join(events)}" for (before, after), events in drawn.items()]
    lines += [f"    {phase} --> [*]" for phase in Phase if phase in TERMINAL]
    return "\n".join(lines)


def table() -> str:
    """The moves as a Markdown table, with the keys of their effects."""
    rows = ["| from | when | to | the effect's key |", "|---|---|---|---|"]
    rows += [f"| {move.before or '–'} | {move.event} | {move.after} | `{move.effect}` |" for move in MOVES]
    return "\n".join(rows)
