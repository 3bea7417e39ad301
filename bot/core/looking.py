"""When a deployment that waits is looked at again, should nobody ring for it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from bot.core import freeze
from bot.core.gates import Facts
from bot.core.reasons import Verdict

OFTEN, SELDOM = timedelta(minutes=1), timedelta(minutes=5)
SPACING = timedelta(seconds=15)  # for each that waits: all together are looked at 240 times an hour at most
SLOWER = 4  # an interval is this part of the time that it has waited
TROUBLE, TROUBLE_SPACING = timedelta(seconds=10), timedelta(seconds=1)  # where the forge did not answer


def due(facts: Facts, verdict: Verdict, *, since: datetime, waiting: int) -> datetime:
    """When to look again at one that waits since `since`; `waiting` are all that wait.

    What people and other deployments do rings by itself. So does a check, but a webhook may lack that event. What ends
    by the clock is looked at then.
    """
    seldom = max(SELDOM, SPACING * waiting)
    often = max(OFTEN, SPACING * waiting, (facts.now - since) / SLOWER)
    checks = any(reason.code == "checks_missing" for reason in verdict.missing())
    return min([facts.now + (min(often, seldom) if checks else seldom), *_ends(facts)])


def after_trouble(now: datetime, *, delay: float, waiting: int) -> datetime:
    """The same where the forge could not be asked, which wants to be left alone for `delay` seconds."""
    return now + max(TROUBLE, TROUBLE_SPACING * waiting, timedelta(seconds=delay))


def _ends(facts: Facts) -> Iterator[datetime]:
    """When that ends which keeps it now, as far as it is known."""
    for end in (facts.lock.until if facts.lock else None, freeze.until(facts.rules.freeze, facts.now)):
        if end is not None and end > facts.now:
            yield end
