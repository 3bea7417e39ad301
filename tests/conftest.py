"""In which order the files of tests are handed out to the processes that run them, and where tests put their files."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fixtures import control_plane, gitea

__all__ = ["control_plane", "gitea"]

TESTS = Path(__file__).parent
FIRST = (
    *("e2e/test_failures.py", "e2e/test_gate.py", "e2e/test_outage.py", "e2e/test_rollback.py"),
    *("e2e/test_initialization.py", "e2e/test_approvals.py", "e2e/test_servers.py", "e2e/test_pins.py"),
    *("e2e/test_pushes.py", "e2e/test_crashes.py", "e2e/test_story.py", "forges/test_gitea_real.py"),
    *("e2e/test_enable.py", "e2e/test_enable_killed.py", "e2e/test_helm.py"),
    *("flows/test_approvals.py", "model/test_chain.py"),
    *("flows/test_enable_steps.py", "flows/test_pins.py", "flows/test_push.py", "flows/test_roles.py"),
    *("flows/test_comments.py", "flows/test_enable.py", "flows/test_heads.py", "flows/test_rollback.py"),
    *("flows/test_protected.py", "flows/test_reliability.py", "flows/test_races.py", "flows/test_grown.py"),
    *("flows/test_planted_secrets.py", "flows/test_stories.py", "flows/test_disable.py", "flows/test_helm.py"),
    *("flows/test_gate.py", "flows/test_edits.py", "flows/test_locks.py", "flows/test_adoption.py"),
    *("sandbox/test_story.py", "migrations/test_migrations.py", "migrations/test_data.py", "store/test_editing.py"),
)
"""Files that take long, longest first, and what mostly waits between what mostly computes; the others come after.

A process is given its next file while two tests of the one before are left. So one long test is not to follow another.
"""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that all processes end at about the same time."""
    places = {TESTS / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder for the test alone; where the machine has one, in memory, so that no write waits for a disk."""
    quick = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sluice-test-", dir=quick, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
