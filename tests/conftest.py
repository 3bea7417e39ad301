"""In which order the files of tests are handed out to the processes that run them, and where tests put their files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fixtures import control_plane, gitea

__all__ = ["control_plane", "gitea"]

TESTS = Path(__file__).parent
FIRST = (
    *("flows/test_stories.py", "flows/test_approvals.py", "model/test_chain.py"),
    *("e2e/test_servers.py", "e2e/test_failures.py", "e2e/test_gate.py", "e2e/test_crashes.py", "e2e/test_pins.py"),
    *("e2e/test_outage.py", "e2e/test_initialization.py", "e2e/test_credentials.py", "e2e/test_pushes.py"),
    *("flows/test_reliability.py", "flows/test_enable_steps.py", "flows/test_pins.py", "test_image.py"),
    *(
        "flows/test_push.py",
        "flows/test_disable.py",
        "sandbox/test_demo.py",
        "flows/test_grown.py",
        "flows/test_helm.py",
    ),
    *("flows/test_gate.py", "flows/test_comments.py", "flows/test_operating.py", "flows/test_heads.py"),
    *("flows/test_roles.py", "flows/test_enable.py", "flows/test_adoption.py", "flows/test_locks.py"),
    *("credentials/test_kinds.py", "flows/test_edits.py", "flows/test_reconcile.py", "flows/test_protected.py"),
    *("flows/test_rollback.py", "flux/test_observer.py"),
    *("migrations/test_command.py", "migrations/test_data.py", "migrations/test_migrations.py"),
)
"""Files that take long, the longest first; all others come after them, in any order."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that all processes end at about the same time."""
    places = {TESTS / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder for the test alone; where the machine has one, in memory, so that no write waits for a disk."""
    quick = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sluice-test-", dir=quick, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
