"""In which order the files of tests are handed out to the processes that run them."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FIRST = (
    *("e2e/test_servers.py", "e2e/test_failures.py", "e2e/test_gate.py", "e2e/test_crashes.py", "e2e/test_pins.py"),
    *("e2e/test_outage.py", "e2e/test_pushes.py", "e2e/test_story.py"),
    *("test_image.py", "flows/test_reliability.py", "sandbox/test_demo.py", "sandbox/test_story.py"),
    *("flows/test_grown.py", "migrations/test_migrations.py"),
)
"""Files that take long, the longest first; all others come after them, in any order."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that all processes end at about the same time."""
    places = {TESTS / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
