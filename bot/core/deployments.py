"""The states of a deployment and the words for them."""

import re
from datetime import timedelta
from enum import StrEnum


class Phase(StrEnum):
    """Where a deployment is. The last six are terminal: each deployment ends in exactly one of them."""

    QUEUED = "queued"
    WAITING = "waiting"
    APPLYING = "applying"
    RECONCILING = "reconciling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


PHASES = tuple(Phase)
TERMINAL = frozenset(
    {Phase.SUCCEEDED, Phase.FAILED, Phase.TIMED_OUT, Phase.SUPERSEDED, Phase.REJECTED, Phase.CANCELLED}
)
UNSETTLED = tuple(phase for phase in Phase if phase not in TERMINAL)


def short(commit: str) -> str:
    """A commit as people read it."""
    return commit[:7]


def commit_of(revision: str | None) -> str | None:
    """The commit of a Flux revision (`main@sha1:<sha>`, `sha1:<sha>`); the part before the colon says nothing to us."""
    if not revision:
        return None
    return revision.rsplit(":", 1)[-1] or None


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> timedelta:
    """A duration as Flux writes it: `90s`, `1h30m`."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", text)
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
