"""Each sentence of the design's "Ready, truthfully" and "Contained, superseded" as a case; [tried] ones are marked."""

from datetime import timedelta
from typing import Any

import pytest

from bot.core.fluxobjects import clean
from bot.core.settling import (
    Facts,
    Fail,
    NeedRelation,
    Relation,
    RequestKustomization,
    RequestSource,
    Step,
    Succeed,
    Supersede,
    SwitchSource,
    TimeOut,
    Wait,
    settle,
)
from tests.core_flux.objects import (
    BUILD_FAILED,
    CONFLICT,
    FORBIDDEN,
    HEALTH_FAILED,
    LATER,
    OLD,
    PATH_NOT_FOUND,
    SECOND,
    START,
    TOKEN,
    R,
    facts,
    failed,
    kustomization,
    progressing,
    source,
)

NOW = "2026-11-22T08:01:00.000000Z"
PIN = {"source_name": "pin-development", "pinned": True}
OLD_READY = kustomization(OLD)
CLEAN_FORBIDDEN = " ".join(FORBIDDEN.split())
CLEAN_PATH = "kustomization path not found: stat deploy/dev: no such file or directory"
NO_ANSWER = "failed to checkout and determine revision: unable to clone 'https://git/acme/web': connection refused"
FETCH_FAILED = (
    "failed to checkout and determine revision: unable to clone 'https://git/acme/web': authentication required"
)


def pin(held: str | None = R, **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"name": "pin-development", "pin": R, "number": 7, "generation": 3}
    return source(held, **(usual | more))


def own(applied: str | None = R, **more: Any) -> dict[str, Any]:
    return kustomization(applied, name="pin-development", **more)


READY_TRUTHFULLY: dict[str, tuple[Facts, Step]] = {
    "request the source only": (
        facts(source=source(OLD), kustomization=OLD_READY, source_token=None),
        RequestSource(NOW),
    ),
    "source done: not while its Ready condition is of an older generation": (
        facts(source=source(R, generation=2, observed=1), kustomization=OLD_READY),
        Wait("Flux is fetching"),
    ),
    "source done: not before our token is handled": (
        facts(source=source(OLD, handled="2026-11-22T07:59:00Z"), kustomization=OLD_READY),
        Wait("Flux is fetching"),
    ),
    "source done: another's token written after ours counts, too": (
        facts(source=source(R, handled=SECOND, requested=SECOND), kustomization=OLD_READY),
        RequestKustomization(NOW),
    ),
    "source done: not by a token that was handled before ours was written": (
        facts(source=source(R, handled="2026-11-22T07:59:59+00:00"), kustomization=OLD_READY),
        Wait("Flux is fetching"),
    ),
    "an older token took the place of ours: asked again": (
        facts(
            source=source(R, handled="2026-11-22T07:59:59+00:00", requested="2026-11-22T07:59:59+00:00"),
            kustomization=OLD_READY,
        ),
        RequestSource(NOW),
    ),
    "an older token is there: ours may not be seen yet": (
        facts(
            source=source(R, handled="2026-11-22T07:59:59Z", requested="2026-11-22T07:59:59Z"),
            kustomization=OLD_READY,
            now=START + timedelta(seconds=1.25),
        ),
        Wait("asking Flux", again=0.75),
    ),
    "an older token took the place of ours at the Kustomization: asked again": (
        facts(kustomization=kustomization(OLD, handled=TOKEN), kustomization_token=SECOND),
        RequestKustomization(NOW),
    ),
    "source Ready=False under the same conditions fails the deployment with its message": (
        facts(source=source(OLD, ready=("False", "GitOperationFailed", FETCH_FAILED)), kustomization=OLD_READY),
        Fail("source_failed", FETCH_FAILED),
    ),
    "source Ready=False of before our token says nothing": (
        facts(
            source=source(OLD, ready=("False", "GitOperationFailed", FETCH_FAILED), handled="2026-11-22T07:00:00Z"),
            kustomization=OLD_READY,
        ),
        Wait("Flux is fetching"),
    ),
    "source Stalled fails": (
        facts(
            source=source(None, ready=("False", "URLInvalid", "no scheme"))
            | {
                "status": {
                    "conditions": [
                        {
                            "type": "Stalled",
                            "status": "True",
                            "reason": "URLInvalid",
                            "message": "no scheme",
                            "observedGeneration": 1,
                        }
                    ]
                }
            },
            kustomization=OLD_READY,
        ),
        Fail("source_failed", "no scheme"),
    ),
    "only when the source holds R and lastAttemptedRevision is not R is the Kustomization requested": (
        facts(kustomization=OLD_READY),
        RequestKustomization(NOW),
    ),
    "Flux hands a new artifact on by itself: it gets a moment": (
        facts(source=source(updated="2026-11-22T08:01:00Z"), kustomization=OLD_READY),
        Wait("Flux has fetched", again=1.5),
    ),
    "lastAttemptedRevision is R: not requested": (
        facts(kustomization=kustomization(OLD, attempted=R)),
        Wait("Flux is applying"),
    ),
    "requested once": (facts(kustomization=OLD_READY, kustomization_token=SECOND), Wait("Flux is applying")),
    "succeeded": (facts(), Succeed(None, True)),
    "succeeded: the branch in the revision says nothing": (
        facts(**PIN, source=pin(), kustomization=own()),
        Succeed(None, True),
    ),
    "succeeded: not while status.observedGeneration is older": (
        facts(kustomization=kustomization(observed=1)),
        Wait("Flux is applying"),
    ),
    "succeeded: not while Ready's own observedGeneration is older": (
        facts(kustomization=kustomization(condition_observed=1)),
        Wait("Flux is applying"),
    ),
    "succeeded: not while lastAppliedRevision is another": (
        facts(kustomization=kustomization(OLD, attempted=R)),
        Wait("Flux is applying"),
    ),
    "[tried] a suspended Kustomization with a missing path passes without the condition's own observedGeneration": (
        facts(kustomization=kustomization(suspend=True, condition_observed=1)),
        Fail("suspended", "Kustomization development is suspended: Flux leaves it alone"),
    ),
    "suspended answers suspended, also when R is applied": (
        facts(kustomization=kustomization(suspend=True)),
        Fail("suspended", "Kustomization development is suspended: Flux leaves it alone"),
    ),
    "a suspended source answers suspended": (
        facts(source=source(OLD, suspend=True), kustomization=OLD_READY),
        Fail("suspended", "GitRepository branch-main is suspended: Flux leaves it alone"),
    ),
    "failed: Stalled=True": (
        facts(
            kustomization=failed(
                "InvalidCELExpression",
                "x",
                stalled=("InvalidCELExpression", "Reconciliation failed terminally: bad CEL"),
            )
        ),
        Fail("stalled", "Reconciliation failed terminally: bad CEL"),
    ),
    "failed: Stalled of an older generation says nothing": (
        facts(kustomization=kustomization(OLD, stalled=("AccessDenied", "x"), condition_observed=1)),
        Wait("Flux is applying"),
    ),
    "the first is shown as failing, Flux retries": (
        facts(kustomization=failed("ReconciliationFailed", FORBIDDEN)),
        Wait(f"failing, Flux retries: {CLEAN_FORBIDDEN}", failing=True, failure_seen=f"{R}@2026-11-22T08:00:03Z"),
    ),
    "the first, seen again, is still the first": (
        facts(kustomization=failed("ReconciliationFailed", FORBIDDEN), failure_seen=f"{R}@2026-11-22T08:00:03Z"),
        Wait(f"failing, Flux retries: {CLEAN_FORBIDDEN}", failing=True, failure_seen=f"{R}@2026-11-22T08:00:03Z"),
    ),
    "the second is final": (
        facts(
            kustomization=failed("ReconciliationFailed", FORBIDDEN, at="08:00:33"),
            failure_seen=f"{R}@2026-11-22T08:00:03Z",
        ),
        Fail("apply_failed", CLEAN_FORBIDDEN),
    ),
    "the second of another revision is a first": (
        facts(
            kustomization=failed("ReconciliationFailed", FORBIDDEN, at="08:00:33"),
            failure_seen=f"{OLD}@2026-11-22T08:00:03Z",
        ),
        Wait(f"failing, Flux retries: {CLEAN_FORBIDDEN}", failing=True, failure_seen=f"{R}@2026-11-22T08:00:33Z"),
    ),
    "between two failures it progresses, and is not asked": (
        facts(
            kustomization=progressing(text="Detecting drift for revision main@sha1:aa with a timeout of 5m0s"),
            failure_seen=f"{R}@2026-11-22T08:00:03Z",
        ),
        Wait("Detecting drift for revision main@sha1:aa with a timeout of 5m0s"),
    ),
    "a later Ready=True at R within the deadline wins": (
        facts(failure_seen=f"{R}@2026-11-22T08:00:03Z"),
        Succeed(None, True),
    ),
    "[tried] a wrong path never sets lastAttemptedRevision: about R by a token handled after the source held R": (
        facts(
            kustomization=failed("ArtifactFailed", PATH_NOT_FOUND, attempted=OLD, handled=SECOND),
            kustomization_token=SECOND,
        ),
        Fail("path_not_found", CLEAN_PATH),
    ),
    "[tried] a wrong path, before our token was handled, may be an older revision's": (
        facts(kustomization=failed("ArtifactFailed", PATH_NOT_FOUND, attempted=OLD)),
        RequestKustomization(NOW),
    ),
    "a wrong path, our token written and not yet handled": (
        facts(
            kustomization=failed("ArtifactFailed", PATH_NOT_FOUND, attempted=OLD, requested=SECOND),
            kustomization_token=SECOND,
        ),
        Wait("Flux is applying"),
    ),
    "BuildFailed is final": (
        facts(kustomization=failed("BuildFailed", BUILD_FAILED)),
        Fail("build_failed", clean(BUILD_FAILED)),
    ),
    "HealthCheckFailed is final": (
        facts(kustomization=failed("HealthCheckFailed", HEALTH_FAILED)),
        Fail("health_check_failed", HEALTH_FAILED),
    ),
    "a bad revision's late failure is not R's, though our token was handled": (
        facts(
            kustomization=failed("HealthCheckFailed", HEALTH_FAILED, attempted=OLD, handled=SECOND),
            kustomization_token=SECOND,
        ),
        Wait("Flux is applying"),
    ),
    "a fix pushed after a bad revision ends green without a red flash": (
        facts(kustomization=failed("BuildFailed", BUILD_FAILED, attempted=OLD)),
        RequestKustomization(NOW),
    ),
    "a failure of R that an earlier deployment left is remembered": (
        facts(source_token=None, kustomization=failed("BuildFailed", BUILD_FAILED)),
        RequestSource(NOW, f"before {R}@2026-11-22T08:00:03Z"),
    ),
    "a failure of R that an earlier deployment left is tried again": (
        facts(kustomization=failed("BuildFailed", BUILD_FAILED), failure_seen=f"before {R}@2026-11-22T08:00:03Z"),
        RequestKustomization(NOW),
    ),
    "a failure of R that an earlier deployment left, after our own try, is ours": (
        facts(
            kustomization=failed("HealthCheckFailed", HEALTH_FAILED, at="08:00:50"),
            failure_seen=f"before {R}@2026-11-22T08:00:03Z",
            kustomization_token=SECOND,
        ),
        Fail("health_check_failed", HEALTH_FAILED),
    ),
    "the loop never requests an object that progresses": (
        facts(kustomization=progressing(OLD, "Running health checks for revision main@sha1:00")),
        Wait("Running health checks for revision main@sha1:00"),
    ),
    "while health checks run, lastAppliedRevision is still the old one": (
        facts(kustomization=progressing(R, "Running health checks for revision main@sha1:aa")),
        Wait("Running health checks for revision main@sha1:aa"),
    ),
    "without wait the status reads applied (health not checked)": (
        facts(kustomization=kustomization(wait=False)),
        Succeed(None, False),
    ),
    "without the Kustomization": (facts(kustomization=None), Wait("waiting for the Kustomization to exist")),
    "without the source": (
        facts(source=None, kustomization=OLD_READY),
        Wait("waiting for the GitRepository branch-main to exist"),
    ),
}

TRANSIENT = {
    "DependencyNotReady": "dependency 'project-abcd1234/database' is not ready",
    "HealthCheckCanceled": "New reconciliation triggered by GitRepository/project-abcd1234/branch-main",
    "ArtifactFailed": "Source artifact not found, retrying in 5s",
    "ReconciliationFailed": CONFLICT,
}

PINNED: dict[str, tuple[Facts, Step]] = {
    "[tried] a Kustomization is switched to another source only after that source holds R": (
        facts(**PIN, source=pin(None, handled=None), kustomization=OLD_READY),
        Wait("Flux is fetching"),
    ),
    "[tried] switched once it does": (facts(**PIN, source=pin(), kustomization=OLD_READY), SwitchSource()),
    "switched also when the old source has applied R": (
        facts(**PIN, source=pin(), kustomization=kustomization(R)),
        SwitchSource(),
    ),
    "after the switch Flux starts by itself": (
        facts(**PIN, source=pin(), kustomization=own(OLD, generation=3, condition_observed=2, observed=2)),
        Wait("Flux is applying"),
    ),
    "a rollback: what is applied is newer, and is no answer": (
        facts(**PIN, source=pin(), kustomization=own(LATER)),
        RequestKustomization(NOW),
    ),
    "[tried] a rollback while the bad one progresses without the gate": (
        facts(**PIN, source=pin(), kustomization=own(OLD, attempted=LATER, ready=("Unknown", "Progressing", "…"))),
        Wait("Flux is applying"),
    ),
    "the pin is back at R, but its source still holds what Flux may apply next": (
        facts(**PIN, source=pin(LATER, handled=None), kustomization=own(R)),
        Wait("Flux is fetching"),
    ),
    "pin moves are serialised: a newer number took it": (
        facts(**PIN, source=pin(pin=LATER, number=8), kustomization=own(R)),
        Supersede(LATER),
    ),
    "a pin that moved by another hand": (
        facts(**PIN, source=pin(pin=LATER), kustomization=own(R)),
        Fail("gate_broken", "the pin pin-development was moved by another hand: it says commit ccccccc"),
    ),
    "a pin that lost its commit by another hand": (
        facts(**PIN, source=pin() | {"spec": {"ref": {"branch": "main"}}}, kustomization=own(R)),
        Fail("gate_broken", "the pin pin-development was moved by another hand: it says no commit"),
    ),
    "a pin not yet moved": (
        facts(**PIN, source=pin(OLD, pin=OLD, number=6), kustomization=own(OLD)),
        Wait("waiting for the pin to move"),
    ),
    "[tried] a commit that no branch reaches": (
        facts(
            **PIN,
            source=pin(OLD, ready=("False", "GitOperationFailed", "object not found")),
            kustomization=own(OLD),
        ),
        Fail("source_failed", "object not found"),
    ),
    "a pin, and the Git server does not answer": (
        facts(**PIN, source=pin(OLD, ready=("False", "GitOperationFailed", NO_ANSWER)), kustomization=own(OLD)),
        Wait(f"failing, Flux retries: {NO_ANSWER}", failing=True),
    ),
    "a commit that no branch reaches, in an environment that followed its branch": (
        facts(
            **PIN, source=pin(OLD, ready=("False", "GitOperationFailed", "object not found")), kustomization=OLD_READY
        ),
        Fail("source_failed", "object not found; it goes by branch-main as before, so a push reaches it"),
    ),
    "a pin, the Git server does not answer, and R is there still": (
        facts(**PIN, source=pin(R, ready=("False", "GitOperationFailed", NO_ANSWER)), kustomization=own(R)),
        Succeed(None, True),
    ),
    "a deleted branch under a pin: R is live, fetching fails": (
        facts(
            **PIN,
            source=pin(R, ready=("False", "GitOperationFailed", "couldn't find remote ref refs/heads/topic")),
            kustomization=own(R),
        ),
        Succeed(None, True),
    ),
}

ASKED = {"kustomization": kustomization(LATER), "source": source(LATER)}
CONTAINED: dict[str, tuple[Facts, Step]] = {
    "the source holds another commit: how does it relate?": (facts(**ASKED), NeedRelation(LATER)),
    "[tried] Flux moves all followers at each commit, also of a README: contained, live as part of R'": (
        facts(**ASKED, relations={LATER: Relation.CONTAINS}),
        Succeed(LATER, True),
    ),
    "contained, and still being applied": (
        facts(source=source(LATER), kustomization=progressing(LATER, "…"), relations={LATER: Relation.CONTAINS}),
        Wait("…"),
    ),
    "contained, and Flux was not told": (
        facts(source=source(LATER), kustomization=OLD_READY, relations={LATER: Relation.CONTAINS}),
        RequestKustomization(NOW),
    ),
    "contained, and the same inputs fail": (
        facts(
            source=source(LATER),
            kustomization=failed("BuildFailed", BUILD_FAILED, attempted=LATER),
            relations={LATER: Relation.CONTAINS},
        ),
        Fail("build_failed", clean(BUILD_FAILED)),
    ),
    "superseded when R' has other inputs": (facts(**ASKED, relations={LATER: Relation.CHANGED}), Supersede(LATER)),
    "superseded when R is no ancestor: a force push": (
        facts(**ASKED, relations={LATER: Relation.APART}),
        Supersede(LATER),
    ),
    "superseded though R' fails": (
        facts(
            source=source(LATER),
            kustomization=failed("BuildFailed", BUILD_FAILED, attempted=LATER),
            relations={LATER: Relation.CHANGED},
        ),
        Supersede(LATER),
    ),
    "R is being applied while the source has moved on: its end is awaited": (
        facts(source=source(LATER), kustomization=progressing(R, "…"), relations={LATER: Relation.CHANGED}),
        Wait("…"),
    ),
    "R was applied, and the source has moved on": (facts(source=source(LATER)), Succeed(None, True)),
    "R failed for good before the source moved on": (
        facts(
            source=source(LATER),
            kustomization=failed("BuildFailed", BUILD_FAILED),
            relations={LATER: Relation.CHANGED},
        ),
        Fail("build_failed", clean(BUILD_FAILED)),
    ),
    "R failed once, and will not be retried: superseded": (
        facts(
            source=source(LATER),
            kustomization=failed("ReconciliationFailed", FORBIDDEN),
            relations={LATER: Relation.CHANGED},
        ),
        Supersede(LATER),
    ),
    "a forge that lags gave Flux an older commit: asked again": (
        facts(source=source(OLD), kustomization=OLD_READY, relations={OLD: Relation.OLDER}),
        RequestSource(NOW),
    ),
    "a forge that lags is not asked at once": (
        facts(
            source=source(OLD),
            kustomization=OLD_READY,
            relations={OLD: Relation.OLDER},
            now=START + timedelta(seconds=4),
        ),
        Wait("Flux still gets 0000000, which is older", again=7.0),
    ),
    "the branch was set back, and that was deployed": (
        facts(source=source(OLD), kustomization=OLD_READY, relations={OLD: Relation.OLDER}, newer=OLD),
        Supersede(OLD),
    ),
    "the branch was set back to R: what is applied is newer, and is no answer": (
        facts(kustomization=kustomization(LATER)),
        RequestKustomization(NOW),
    ),
    "the branch was set back to R, which is still applied, before Flux has fetched": (
        facts(source=source(LATER, handled=None)),
        Wait("Flux is fetching"),
    ),
}

DEADLINE: dict[str, tuple[Facts, Step]] = {
    "a Git server that does not answer, and the environment followed its branch": (
        facts(**PIN, source=pin(OLD, ready=("False", "GitOperationFailed", NO_ANSWER)), kustomization=OLD_READY),
        TimeOut(
            f"not ready within 6m; last: failing, Flux retries: {NO_ANSWER}; "
            "it goes by branch-main as before, so a push reaches it"
        ),
    ),
    "a Git server that does not answer": (
        facts(**PIN, source=pin(OLD, ready=("False", "GitOperationFailed", NO_ANSWER)), kustomization=own(OLD)),
        TimeOut(f"not ready within 6m; last: failing, Flux retries: {NO_ANSWER}"),
    ),
    "nothing heard": (facts(kustomization=OLD_READY), TimeOut("not ready within 6m; last: asking Flux to apply")),
    "a failure in its words": (
        facts(kustomization=failed("ReconciliationFailed", FORBIDDEN)),
        TimeOut(f"not ready within 6m; last: failing, Flux retries: {CLEAN_FORBIDDEN}"),
    ),
    "a transient one in its words": (
        facts(kustomization=failed("DependencyNotReady", TRANSIENT["DependencyNotReady"])),
        TimeOut("not ready within 6m; last: waiting: dependency 'project-abcd1234/database' is not ready"),
    ),
    "live at the last moment": (facts(), Succeed(None, True)),
    "a final failure": (facts(kustomization=failed("BuildFailed", "b")), Fail("build_failed", "b")),
    "a question is still asked": (facts(**ASKED), NeedRelation(LATER)),
}


@pytest.mark.parametrize("name", READY_TRUTHFULLY)
def test_ready_truthfully(name: str) -> None:
    given, expected = READY_TRUTHFULLY[name]
    assert settle(given) == expected


@pytest.mark.parametrize("name", PINNED)
def test_pinned(name: str) -> None:
    given, expected = PINNED[name]
    assert settle(given) == expected


@pytest.mark.parametrize("name", CONTAINED)
def test_contained_superseded(name: str) -> None:
    given, expected = CONTAINED[name]
    assert settle(given) == expected


@pytest.mark.parametrize("reason", TRANSIENT)
def test_transient_reasons_are_waited_for(reason: str) -> None:
    """However often: only the deadline ends them."""
    given = facts(kustomization=failed(reason, TRANSIENT[reason], at="08:00:33"), failure_seen=f"{R}@earlier")
    assert settle(given) == Wait(f"waiting: {TRANSIENT[reason]}")


@pytest.mark.parametrize("name", DEADLINE)
def test_else_the_deadline(name: str) -> None:
    given, expected = DEADLINE[name]
    late = {field: getattr(given, field) for field in given.__struct_fields__} | {"now": given.deadline}
    assert settle(Facts(**late)) == expected


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Succeed(None, True), "live"),
        (Succeed(None, False), "applied (health not checked)"),
        (Succeed(LATER, True), "live as part of ccccccc"),
        (Succeed(LATER, False), "live as part of ccccccc (health not checked)"),
        (Supersede(LATER), "superseded by ccccccc"),
        (Fail("build_failed", "words"), "words"),
        (TimeOut("words"), "words"),
    ],
)
def test_texts(step: Step, text: str) -> None:
    assert step.text == text


@pytest.mark.parametrize(
    "handled", ["2026-11-22T09:00:01+01:00", "2026-11-22T08:00:01.000000001Z", "2026-11-22T08:01:00Z"]
)
def test_tokens_compare_as_times_whoever_wrote_them(handled: str) -> None:
    """The flux command writes its zone and nanoseconds."""
    given = facts(source=source(R, handled=handled, requested="manual"), kustomization=OLD_READY)
    assert isinstance(settle(given), RequestKustomization)


def test_a_token_that_is_no_time_counts_when_it_took_the_place_of_ours() -> None:
    given = facts(source=source(R, handled="manual", requested="manual"), kustomization=OLD_READY)
    assert isinstance(settle(given), RequestKustomization)


def test_ours_is_still_written_and_an_older_one_was_handled() -> None:
    given = facts(source=source(R, handled="2026-11-22T23:00:00Z", requested=TOKEN), kustomization=OLD_READY)
    assert settle(given) == Wait("Flux is fetching")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (PATH_NOT_FOUND, CLEAN_PATH),
        (
            "open /var/folders/x/kustomization-1/deploy/kustomization-2/a.yaml: no",
            "open deploy/kustomization-2/a.yaml: no",
        ),
        ("in deploy/kustomization-5/a.yaml", "in deploy/kustomization-5/a.yaml"),
        ("stat '/tmp/kustomization-1': gone", "stat '': gone"),
        ("a\n\n  b\tc\n", "a b c"),
        ("", ""),
    ],
)
def test_texts_without_temporary_folders_in_one_paragraph(message: str, expected: str) -> None:
    assert clean(message) == expected


def test_a_long_hostile_text_is_cleaned_in_no_time() -> None:
    assert len(clean("/a" * 50_000)) == 100_000


NO_ROOM = "failed to checkout and determine revision: unable to clone: write /tmp/x: no space left on device"


def test_no_room_on_a_disk() -> None:
    """Flux's own, or the Git server's: its words, and a code that says what helps."""
    held = source(OLD, ready=("False", "GitOperationFailed", NO_ROOM))
    assert settle(facts(source=held, kustomization=kustomization(OLD))) == Fail("disk_full", NO_ROOM)
    failed = kustomization(OLD, attempted=R, ready=("False", "BuildFailed", "mkdir /tmp/y: no space left on device"))
    assert settle(facts(kustomization=failed)) == Fail("disk_full", "mkdir /tmp/y: no space left on device")
