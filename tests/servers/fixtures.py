"""The servers as pytest fixtures, each started once for a test run: ``pytest -p tests.servers.fixtures``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.control_plane import ControlPlane
from tests.servers.gitea import Gitea


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A cluster with Flux, Sluice's rights and its policies."""
    with ControlPlane() as plane:
        yield plane


@pytest.fixture(scope="session")
def gitea() -> Iterator[Gitea]:
    """A Gitea server with an owner, writers, a reader, a fork owner and the bot."""
    with Gitea() as server:
        yield server
