"""The steps of /enable: how far they are, what the objects' states mean, what changed, and what to do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.core import initialization
from bot.core.deployments import Phase
from bot.core.initialization import (
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    STEPS,
    Broken,
    Difference,
    Resource,
    Stand,
    Underway,
    Verified,
    difference,
    progress,
    remedy,
    verdict,
)
from tests.test_docs import RAISED

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
STEP = {step.name: step for step in STEPS}


# How far.


def test_the_steps_of_the_design_in_their_order() -> None:
    assert [step.name for step in STEPS] == [
        *("check_access", "check_cluster", "read_config", "create_environments", "setup_credentials"),
        *("setup_gitops", "verify_resources", "report"),
    ]
    assert sum(step.weight for step in STEPS) == 100


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        ([], 0),
        ([Stand(5, PENDING), Stand(95, PENDING)], 0),
        ([Stand(5, COMPLETED), Stand(95, RUNNING)], 5),
        ([Stand(50, COMPLETED), Stand(50, RUNNING, 50)], 75),
        ([Stand(50, COMPLETED), Stand(50, FAILED, 100)], 99),
        ([Stand(999, COMPLETED), Stand(1, RUNNING, 99)], 99),
        ([Stand(50, COMPLETED), Stand(50, COMPLETED)], 100),
    ],
)
def test_a_hundred_percent_means_all(stands: list[Stand], expected: int) -> None:
    assert progress(stands) == expected


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("check_access", {}, True),
        ("read_config", {}, False),
        ("check_access", {"unfinished": False}, False),
        ("check_access", {"same_basis": False}, False),
        ("check_access", {"status": FAILED}, False),
        ("check_access", {"status": RUNNING}, False),
    ],
)
def test_what_need_not_be_done_again(name: str, facts: dict[str, Any], expected: bool) -> None:
    given = {"status": COMPLETED, "same_basis": True, "unfinished": True} | facts
    assert initialization.stands(STEP[name], **given) is expected


# What the objects say.


def found(name: str = "k", **facts: Any) -> Resource:
    return Resource(name=name, **({"status": "ready"} | facts))


LIVE = {"status": "ready", "phase": Phase.SUCCEEDED}
CASES: list[tuple[str, list[Resource], Any]] = [
    ("all are ready", [found(), found(**LIVE)], Verified("2 of 2 ready")),
    ("one is pending", [found(), found(status="pending")], Underway(50, "1 of 2 ready")),
    ("one reconciles", [found(**LIVE), found(), found(status="reconciling")], Underway(66, "2 of 3 ready")),
    ("ready, of before", [found(phase=Phase.QUEUED)], Underway(0, "0 of 1 ready")),
    (
        "live, and not seen yet",
        [found(phase=Phase.SUCCEEDED, status="failed", fresh=True)],
        Underway(0, "0 of 1 ready"),
    ),
    ("overtaken", [found(phase=Phase.SUPERSEDED)], Underway(0, "0 of 1 ready")),
    (
        "Flux's words",
        [found(), found("Kustomization `a/b`", phase=Phase.FAILED, phase_code="path_not_found", phase_message="gone")],
        Broken("path_not_found", "Kustomization `a/b`: gone"),
    ),
    ("ready, as it was before it was written", [found(current=False)], Underway(0, "0 of 1 ready")),
    (
        "failed, as it was before it was written",
        [found(status="failed", fresh=True, current=False)],
        Underway(0, "0 of 1 ready"),
    ),
    ("too late", [found(phase=Phase.TIMED_OUT, phase_message="waits")], Broken("verify_timed_out", "k: waits")),
    ("failed, of before", [found(status="failed")], Underway(0, "0 of 1 ready")),
    ("failed", [found(status="failed", fresh=True, message="no")], Broken("apply_failed", "k: no")),
    ("stalled", [found(status="stalled", fresh=True, message="no")], Broken("stalled", "k: no")),
    (
        "suspended",
        [found(status="stalled", fresh=True, reason="Suspended", message="no")],
        Broken("suspended", "k: no"),
    ),
    ("gone", [found(status="failed", fresh=True, reason="Missing")], Broken("object_missing", "k: failed")),
    (
        "failed, while it goes on",
        [found(status="failed", fresh=True, phase=Phase.APPLYING)],
        Underway(0, "0 of 1 ready"),
    ),
]


@pytest.mark.parametrize(("name", "resources", "expected"), CASES, ids=[case[0] for case in CASES])
def test_verdict(name: str, resources: list[Resource], expected: Any) -> None:
    assert verdict(resources, now=NOW, deadline=LATER) == expected


def test_the_deadline_names_what_is_not_ready() -> None:
    """Whatever is still on its way then, it did not come."""
    resources = [
        found(),
        found("GitRepository `a/b`", status="reconciling", message="cloning"),
        found(status="pending"),
    ]
    assert verdict(resources, now=LATER, deadline=LATER) == Broken(
        "verify_timed_out", "not ready in time: GitRepository `a/b`: cloning; k: pending"
    )
    assert verdict([found()], now=LATER, deadline=LATER) == Verified("1 of 1 ready")


# What changed.


def test_a_difference_names_fields_and_never_forgets_an_environment() -> None:
    before = {"a": {"path": "x", "branch": "main"}, "b": {"path": "y"}, "c": {"path": "z"}}
    now = {"a": {"path": "new", "branch": "main"}, "d": {"path": "w"}}
    assert difference(before, now, known={"a", "b", "d"}) == Difference(
        added=("d",), changed={"a": {"path": ("x", "new")}}, gone=("c",)
    )


def test_nothing_differs() -> None:
    same = {"a": {"path": "x", "kustomization": {}}}
    assert difference(same, same, known={"a"}) == Difference()


@pytest.mark.parametrize(
    ("before", "now", "shown"),
    [
        (None, "x", ("nothing", "x")),
        ({}, {"wait": False}, ("nothing", "{'wait': False}")),
        (True, False, ("true", "false")),
    ],
)
def test_values_are_shown(before: Any, now: Any, shown: tuple[str, str]) -> None:
    found = difference({"a": {"f": before}}, {"a": {"f": now}}, known={"a"})
    assert found.changed == {"a": {"f": shown}}


# What to do.


def test_every_failure_of_a_step_has_a_remedy() -> None:
    """Whatever a step raises, the comment says what helps against exactly that."""
    raised = set()
    for path in (Path(__file__).parents[2] / "bot/enabling").glob("*.py"):
        raised |= set(RAISED.findall(path.read_text()))
    assert len(raised) > 5
    assert raised - set(initialization.REMEDIES) == set()


def test_a_remedy_is_a_sentence() -> None:
    for code in (*initialization.REMEDIES, "never_heard_of"):
        assert remedy(code).endswith(".")
        assert "  " not in remedy(code)
