"""Who keeps an environment, and how long: the words and calls around locks and holds."""

import re
from datetime import datetime, timedelta
from uuid import UUID

from bot.core.calls import Call
from bot.core.errors import UserError

LONGEST = timedelta(days=30)
FREED, TURN = "freed", "turn"  # the works that follow the end of a lock
REACH = "reach"  # the work that has a branch lead to what is pinned
_SPAN = re.compile(r"(?=.)(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,6})m)?")
_TENS = {1: "st", 2: "nd", 3: "rd"}


def span(text: str) -> timedelta:
    """How long `30m`, `2h`, `1h30m` or `3d` is; UserError `usage` for anything else."""
    found = _SPAN.fullmatch(text)
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    length = timedelta(days=days, hours=hours, minutes=minutes)
    if not timedelta() < length <= LONGEST:
        raise UserError("usage", "`--for` takes a span as `30m`, `2h` or `3d`, of 30 days at most")
    return length


def until(moment: datetime | None) -> str:
    """Until when, as people read it; empty for no end."""
    return f" until {moment:%Y-%m-%d %H:%M} UTC" if moment else ""


def nth(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    ending = "th" if number % 100 in (11, 12, 13) else _TENS.get(number % 10, "th")
    return f"{number}{ending}"


def same_person(login: str, id: str, other_login: str, other_id: str) -> bool:
    """Whether two accounts of one forge are the same: by their ids where both are known, else by their names."""
    return id == other_id if id and other_id else login.lower() == other_login.lower()


def freed_call(forge: str, repository: str, environment: UUID, cause: UUID, actor: str) -> Call:
    """What is to be done when nobody keeps an environment any more; once for what kept it."""
    return Call(
        kind="work",
        name=FREED,
        key=f"{forge}:{repository}:freed:{environment}:{cause}",
        actor=actor,
        arguments={"environment": str(environment)},
    )


def turn_call(forge: str, repository: str, lock: UUID, actor: str, number: int | None) -> Call:
    """Tell the next in line, on the request that they asked on."""
    return Call(
        kind="work",
        name=TURN,
        key=f"{forge}:{repository}:turn:{lock}",
        actor=actor,
        number=number,
        arguments={"lock": str(lock)},
    )


def reach_call(forge: str, repository: str, environment: UUID, deployment: UUID) -> Call:
    """Have a branch lead to what an environment is pinned to, once the forge answers."""
    return Call(
        kind="work",
        name=REACH,
        key=f"{forge}:{repository}:reach:{deployment}",
        actor="sluice",
        arguments={"environment": str(environment)},
    )
