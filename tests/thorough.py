"""How much is tried of what takes long: a sample of it with the other tests, all of it with `make thorough`."""

import os
from typing import TypeVar

T = TypeVar("T")

THOROUGH = bool(os.environ.get("THOROUGH"))


def sample(few: T, all: T) -> T:
    """What the tests try: few where somebody waits for them, all of them where nobody does."""
    return all if THOROUGH else few
