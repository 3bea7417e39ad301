"""Wait for a condition with a deadline; nothing in the tests sleeps for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


OFTEN, SELDOM = 0.05, 0.5
"""Seconds between two looks: at the beginning, and at what takes long."""


def until(check: Callable[[], T | None], seconds: float, what: str, every: float | None = None) -> T:
    """What the check answers as soon as that is anything but None, False or empty; TimeoutError after these seconds.

    The longer it takes, the less often it is looked at, unless `every` says how often: each look is work for the
    servers that are waited for.
    """
    began = time.monotonic()
    while True:
        answer = check()
        if answer:
            return answer
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(every or min(max(OFTEN, waited / 8), SELDOM))
