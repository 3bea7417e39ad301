"""Weekly times in which nothing is deployed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.freeze import until

WEEKEND = "Fri 16:00 - Mon 08:00 UTC"
BERLIN = "Fri 16:00 - Mon 08:00 Europe/Berlin"
SPRING = "Sun 02:30 - Sun 05:00 Europe/Berlin"  # begins in an hour that is not there on 29 March 2026
AUTUMN = "Sun 02:30 - Sun 02:45 Europe/Berlin"  # in an hour that comes twice on 25 October 2026
NIGHT = "Tue 22:00 - Wed 06:00 UTC"
ALWAYS = "Mon 00:00 - Mon 00:00 UTC"

CASES = [
    ((), "2026-11-20 17:00", None),
    ((WEEKEND,), "2026-11-20 15:59", None),
    ((WEEKEND,), "2026-11-20 16:00", "2026-11-23 08:00"),
    ((WEEKEND,), "2026-11-22 23:00", "2026-11-23 08:00"),  # over the end of the week
    ((WEEKEND,), "2026-11-23 07:59", "2026-11-23 08:00"),
    ((WEEKEND,), "2026-11-23 08:00", None),
    ((BERLIN,), "2026-11-20 15:00", "2026-11-23 07:00"),  # winter: an hour before
    ((BERLIN,), "2026-07-03 13:59", None),
    ((BERLIN,), "2026-07-03 14:00", "2026-07-06 06:00"),  # summer: two
    ((BERLIN,), "2026-03-27 15:00", "2026-03-30 06:00"),  # the clocks change meanwhile
    ((BERLIN,), "2026-10-23 14:00", "2026-10-26 07:00"),
    ((SPRING,), "2026-03-29 00:30", "2026-03-29 03:00"),  # frozen by either reading
    ((SPRING,), "2026-03-29 00:29", None),
    ((AUTUMN,), "2026-10-25 00:30", "2026-10-25 01:45"),
    ((AUTUMN,), "2026-10-25 01:44", "2026-10-25 01:45"),
    ((AUTUMN,), "2026-10-25 01:45", None),
    ((NIGHT,), "2026-11-17 23:00", "2026-11-18 06:00"),
    ((NIGHT, "Wed 05:00 - Wed 07:00 UTC"), "2026-11-17 23:00", "2026-11-18 07:00"),  # overlapping
    ((NIGHT, "Wed 06:00 - Wed 07:00 UTC"), "2026-11-17 23:00", "2026-11-18 07:00"),  # one after the other
    ((NIGHT, "Wed 06:01 - Wed 07:00 UTC"), "2026-11-17 23:00", "2026-11-18 06:00"),
    ((NIGHT, WEEKEND), "2026-11-21 12:00", "2026-11-23 08:00"),
]


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


@pytest.mark.parametrize(("windows", "now", "end"), CASES)
def test_until(windows: tuple[str, ...], now: str, end: str | None) -> None:
    """When it ends, or that there is none."""
    at = moment(now)
    assert at
    assert until(windows, at) == moment(end)


@pytest.mark.parametrize("windows", [(ALWAYS,), ("Mon 00:00 - Thu 00:00 UTC", "Thu 00:00 - Mon 00:00 UTC")])
def test_a_freeze_without_end(windows: tuple[str, ...]) -> None:
    """It answers, and with a time that is far enough away."""
    now = datetime(2026, 11, 18, tzinfo=UTC)
    end = until(windows, now)
    assert end
    assert (end - now).days >= 7


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TIMES = st.builds("{} {:02}:{:02}".format, st.sampled_from(DAYS), st.integers(0, 23), st.integers(0, 59))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
WINDOWS = st.builds("{} - {} {}".format, TIMES, TIMES, ZONES)
MOMENTS = st.integers(0, 365 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@given(st.lists(WINDOWS, max_size=3), MOMENTS)
def test_by_the_clocks(windows: list[str], now: datetime) -> None:
    """Frozen is when some window's clocks say so; where they are unsteady it is frozen by either reading."""
    if any(_by_the_clock(window, now) for window in windows):
        assert until(windows, now) is not None
    elif not any(_is_unsteady(window, now) for window in windows):
        assert until(windows, now) is None


def _by_the_clock(window: str, now: datetime) -> bool:
    times, zone = window.rpartition(" ")[::2]
    local = now.astimezone(ZoneInfo(zone))
    first, second = (_minutes(text) for text in times.split(" - "))
    at = local.weekday() * 1440 + local.hour * 60 + local.minute
    return first <= at < second if first < second else at >= first or at < second


def _minutes(text: str) -> int:
    day, clock = text.split()
    return DAYS.index(day) * 1440 + int(clock[:2]) * 60 + int(clock[3:])


def _is_unsteady(window: str, now: datetime) -> bool:
    """Whether the zone's clocks change within two days."""
    zone = ZoneInfo(window.rpartition(" ")[2])
    return len({datetime.fromtimestamp(now.timestamp() + h * 3600, zone).utcoffset() for h in range(-48, 49)}) > 1
