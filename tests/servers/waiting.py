"""Wait for a condition with a deadline; nothing in the tests sleeps for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(check: Callable[[], T | None], seconds: float, what: str, every: float = 0.05) -> T:
    """What the check answers as soon as that is anything but None, False or empty; TimeoutError after these seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(every)
