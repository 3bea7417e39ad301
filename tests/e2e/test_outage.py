"""The API server goes away for a minute, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.harness import Shop, Sluice
from tests.e2e.test_crashes import DEADLINE, log_is_whole
from tests.e2e.test_pushes import LITTLE, development, one_end, settle
from tests.servers.control_plane import ControlPlane
from tests.servers.waiting import until

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(400)
def test_the_api_server_is_away_for_a_minute(control_plane: ControlPlane, own_sluice: Callable[..., Sluice]) -> None:
    """What was pushed meanwhile ends green, and the observer sees what happens again."""
    shop = Shop(own_sluice(), LITTLE)
    shop.enable(["development"])
    settle(shop)
    control_plane.stop_api_server()
    since = time.monotonic()
    try:
        commit = shop.push(development("1"))
        shop.pending(commit, "development")
        until(lambda: time.monotonic() - since >= 60, 90, "a minute has passed", every=0.5)
        assert [state for state, _ in shop.statuses(commit, "development")] == ["pending"]
    finally:
        control_plane.start_api_server()
    shop.pending(commit, "development", "Reconciling")
    control_plane.restart_flux()  # as it does itself where it loses its lease; else it stays away for another minute
    assert shop.ended(commit, "development", DEADLINE)[0] == "success"
    again = shop.push(development("2"))
    assert shop.ended(again, "development")[0] == "success"
    settle(shop)
    for each in (commit, again):
        assert one_end(shop, each, "development")[0] == "success"
    shop.until(lambda: _seen(shop, "kustomization", "development") == ("ready", again), "the observer has seen it")
    log_is_whole(shop)


def _seen(shop: Shop, type: str, name: str) -> tuple[Any, str]:
    """What Sluice's observer knows of an object: its state, and the commit that it has applied."""
    ((status, revision),) = shop.sluice.query(
        "SELECT status, last_applied_revision FROM gitops_resources WHERE type = ? AND name = ? AND namespace = ?",
        type,
        name,
        shop.namespace,
    )
    return status, str(revision).rpartition(":")[2]
