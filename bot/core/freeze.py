"""Weekly times in which nothing is deployed: until when, from now."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WINDOW = re.compile(r"(\w{3}) (\d\d):(\d\d) - (\w{3}) (\d\d):(\d\d) (\S+)")
WEEK = timedelta(days=7)


def until(windows: Iterable[str], now: datetime) -> datetime | None:
    """When the freeze ends that holds now, windows that follow one another taken together; None: there is none.

    Where freezes never end the answer is more than a week away.
    """
    windows, end = tuple(windows), now
    while end - now <= WEEK:
        later = max((close for window in windows for begin, close in _around(window, end) if begin <= end), default=end)
        if later <= end:
            break
        end = later
    return end if end > now else None


def _around(window: str, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The window's times around a moment, in UTC. It begins and ends by the clocks of its zone, whatever they do."""
    found = WINDOW.fullmatch(window)
    assert found is not None, window  # config_fields.FREEZE refused anything else
    first, second = _of_week(found[1], found[2], found[3]), _of_week(found[4], found[5], found[6])
    length = (second - first) % WEEK or WEEK
    zone = ZoneInfo(found[7])
    local = moment.astimezone(zone)
    monday = local.date() - timedelta(days=local.weekday())
    for weeks in (-1, 0, 1):
        begin = _plus(monday, first + weeks * WEEK)
        yield min(_instants(begin, zone)), max(_instants(begin + length, zone))


def _of_week(day: str, hour: str, minute: str) -> timedelta:
    return timedelta(days=DAYS.index(day), hours=int(hour), minutes=int(minute))


def _plus(day: date, span: timedelta) -> datetime:
    return datetime.combine(day, time()) + span


def _instants(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The clocks show an hour twice in autumn and skip one in spring; frozen is what is frozen by either reading."""
    return tuple(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))  # type: ignore[return-value]
