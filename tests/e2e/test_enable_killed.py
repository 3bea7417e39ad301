"""`/enable` is killed several times on its way through the eight steps: it goes on, and makes everything once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.e2e.harness import ENVIRONMENTS, kustomization, settings_of
from tests.e2e.test_crashes import DEADLINE, Behind, Lane, Point, log_is_whole
from tests.e2e.test_initialization import STEPS
from tests.e2e.test_pushes import settle
from tests.servers.control_plane import ControlPlane
from tests.servers.gitea import Gitea

pytestmark = pytest.mark.e2e

START = {
    "README.md": "# Shop\n",
    **{f"deploy/{name}/kustomization.yaml": kustomization("settings.yaml") for name in ENVIRONMENTS},
    **{f"deploy/{name}/settings.yaml": settings_of(name) for name in ENVIRONMENTS},
}

POINTS = (
    Point("enable", "cluster", "GET", "/customresourcedefinitions/"),
    Point("enable", "cluster", "PATCH", "/secrets/", answered=True),
    Point("enable", "cluster", "PATCH", "/kustomizations/staging", answered=True),
    Point("enable", "forge", "PATCH", "/issues/comments/", "GitOps is set up", answered=True),
)
"""Three in the run itself, which is given up when it is cut off a fourth time, and one in the report after it."""


@pytest.mark.timeout(400)
def test_killed_again_and_again(control_plane: ControlPlane, gitea: Gitea) -> None:
    """The same end as without: eight completed steps, four objects, one comment, each event once."""
    with Lane(control_plane, gitea) as lane:
        shop = Behind(lane, START)
        number = shop.pull()
        settle(shop)  # else the look at the request's configuration might meet the first trap
        _kill_at_each(shop, POINTS, number)
        for name in ENVIRONMENTS:
            assert shop.ended(shop.head(), name, DEADLINE)[0] == "success"
        shop.until(lambda: _statuses(shop) == ["completed"] * len(STEPS), "all steps are completed", DEADLINE)
        settle(shop, DEADLINE)
        _is_made_once(shop, number)
        log_is_whole(shop)


def _kill_at_each(shop: Behind, points: tuple[Point, ...], number: int) -> None:
    """The next trap is set before Sluice begins again."""
    lane = shop.lane
    trap = lane.arm(points[0], shop.repository)
    shop.say(number, "/enable")
    for following in (*points[1:], None):
        trap.wait(DEADLINE)
        lane.disarm()
        if following is not None:
            trap = lane.arm(following, shop.repository)
        lane.sluice.start(90)


def _statuses(shop: Behind) -> list[str]:
    return [row[0] for row in shop.sluice.query("SELECT status FROM project_initialization_steps ORDER BY sequence")]


def _is_made_once(shop: Behind, number: int) -> None:
    query = shop.sluice.query
    assert [row[0] for row in query("SELECT step FROM project_initialization_steps ORDER BY sequence")] == STEPS
    assert query("SELECT COUNT(*) FROM projects") == [(1,)]
    assert query("SELECT COUNT(*) FROM environments") == [(len(ENVIRONMENTS),)]
    assert Counter(row[0] for row in query("SELECT type FROM gitops_resources")) == {
        "git-repository": 1,
        "kustomization": 3,
    }
    assert query("SELECT status, code FROM runs WHERE name = 'enable'") == [("done", None)]
    kinds = {"GitRepository": 1, "Kustomization": 3, "ServiceAccount": 3, "Secret": 1}
    found = {kind: _ours(shop, kind) for kind in kinds}
    assert found == kinds
    (comment,) = shop.answers(number)
    assert "GitOps is set up" in comment
    for name in ENVIRONMENTS:
        said = shop.statuses(shop.head(), name)
        assert len(set(said)) == len(said), said
    told = Counter(query("SELECT action, resource_id FROM unified_events WHERE action LIKE 'gitops.resource.created'"))
    assert len(told) == 4
    assert set(told.values()) == {1}
    once = "SELECT COUNT(*) FROM unified_events WHERE action = ?"
    assert query(once, "project.enabled") == query(once, "project.initialization.started") == [(1,)]


def _ours(shop: Behind, kind: str) -> int:
    selector = "app.kubernetes.io/managed-by=sluice"
    listed = shop.plane.admin.list(kind, selector=selector)
    return len([one for one in listed if one["metadata"]["namespace"] == shop.namespace])
