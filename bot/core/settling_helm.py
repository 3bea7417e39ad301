"""Decides what to do next for a deployment by a HelmRelease, which has no `lastAppliedRevision` (design section 3).

A chart in the repository is packaged by Flux as a HelmChart whose version ends in the first 12 digits of its commit.
For a chart from elsewhere the revision is the commit whose values Sluice wrote, told by the number of the deployment.
"""

import re

from bot.core.fluxobjects import (
    Object,
    clean,
    condition_of,
    git_source,
    has_no_room,
    is_crossed,
    is_current,
    is_stalled,
    moment_of,
    progress_of,
    progresses,
    stalled_message,
    token,
)
from bot.core.settling import (
    FAN_OUT,
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
    Wait,
    behind,
    fetched,
    in_time,
    left_alone,
    moved_pin,
    pin_number,
    repeated,
)

DIGITS = 12
_WHICH = re.compile(r" for release \S+ with chart \S+:")
_TRANSIENT = frozenset({"DependencyNotReady", "ArtifactFailed", "SourceNotReady", "Progressing", "HealthCheckCanceled"})


def settle(facts: Facts, chart: Object | None) -> Step:
    """The next step for a chart in the repository; `facts.kustomization` is the HelmRelease, `chart` its HelmChart."""
    return in_time(facts, _next(facts, chart))


def settle_elsewhere(facts: Facts) -> Step:
    """The next step for a chart from elsewhere: Sluice has written version and values, Flux does the rest."""
    return in_time(facts, _written(facts))


def chart_place(release: Object | None) -> tuple[str, str] | None:
    """Namespace and name of the HelmChart that Flux made for a HelmRelease."""
    namespace, found, name = str(((release or {}).get("status") or {}).get("helmChart", "")).partition("/")
    return (namespace, name) if found else None


# A chart in the repository.


def _next(facts: Facts, chart: Object | None) -> Step:
    release, source = facts.kustomization, facts.source
    if release is None:
        return Wait("waiting for the HelmRelease to exist")
    if (gone := left_alone(release)) is not None:
        return gone
    if facts.pinned and (moved := moved_pin(facts)) is not None:
        return moved
    if source is None:
        return Wait(f"waiting for the GitRepository {facts.source_name} to exist")
    if (gone := left_alone(source)) is not None:
        return gone
    if facts.source_token is None:
        return RequestSource(token(facts.now))
    held = fetched(facts, source)
    if not isinstance(held, str):
        return held
    return _apply(facts, release, chart, held) if held == facts.revision else _moved_on(facts, release, chart, held)


def _moved_on(facts: Facts, release: Object, chart: Object | None, held: str) -> Step:
    if facts.pinned:
        return Wait("Flux is fetching the pinned commit")
    relation = facts.relations.get(held)
    if relation is None:
        return NeedRelation(held)
    if relation is Relation.CONTAINS:
        return _apply(facts, release, chart, held)
    return behind(facts, held) if relation is Relation.OLDER else Supersede(held)


def _apply(facts: Facts, release: Object, chart: Object | None, target: str) -> Step:
    """The source holds the target: next come the HelmChart, then the release."""
    if git_source(release) != facts.source_name:
        return SwitchSource()
    version = _packaged(chart, target)
    if version is None:
        return _packaging(chart, target)
    if _is_live(release, version):
        return Succeed(None if target == facts.revision else target, health_checked=_waits(release))
    return _releasing(facts, release, version, _since(chart))


def _packaged(chart: Object | None, target: str) -> str | None:
    """The chart's version, if it was made of the target."""
    version = str((((chart or {}).get("status") or {}).get("artifact") or {}).get("revision", ""))
    return version if version.endswith(f"+{target[:DIGITS]}") else None


def _packaging(chart: Object | None, target: str) -> Step:
    """What cannot be packaged at a commit cannot be at the next try."""
    if chart is None:
        return Wait("waiting for the HelmChart to exist")
    if is_stalled(chart):
        return Fail("stalled", clean(stalled_message(chart)))
    ready = condition_of(chart, "Ready")
    about = str(chart.get("status", {}).get("observedSourceArtifactRevision", "")).endswith(target)
    if ready.get("status") == "False" and is_current(chart, ready) and about and not progresses(chart):
        return Fail("build_failed", clean(ready.get("message", "")))
    return Wait(progress_of(chart) or "Flux is packaging the chart")


# Both kinds of charts.


def _is_live(release: Object, version: str | None) -> bool:
    """Ready, truthfully, with that version of the chart deployed."""
    ready, status = condition_of(release, "Ready"), release.get("status", {})
    newest = _newest(release)
    return (
        ready.get("status") == "True"
        and is_current(release, ready)
        and status.get("observedGeneration") == release["metadata"].get("generation")
        and newest.get("status") == "deployed"
        and (version is None or newest.get("chartVersion") == version)
    )


def _releasing(facts: Facts, release: Object, version: str | None, since: float | None) -> Step:
    """What Flux says of its try with this version; a failure stays one only when Flux has given up."""
    ready = condition_of(release, "Ready")
    attempted = version is None or release.get("status", {}).get("lastAttemptedRevision") == version
    if attempted and is_stalled(release):
        return Fail("stalled", _given_up(release))
    if attempted and (failure := _failure(facts, release, ready, version)) is not None:
        return failure
    if progresses(release):
        return Wait(progress_of(release) or "Flux is applying")
    if attempted or not is_current(release, ready):
        return Wait("Flux is applying")
    return _ask(facts, release, since)


def _given_up(release: Object) -> str:
    """That Flux does not try again, and what of its last try."""
    released = condition_of(release, "Released")
    last = released.get("message", "") if released.get("status") == "False" else ""
    said = stalled_message(release)
    return _WHICH.sub(":", clean(f"{said}: {last}" if last and last not in said else said))


def _failure(facts: Facts, release: Object, ready: Object, version: str | None) -> Fail | Wait | None:
    """What Ready=False means for a version; None when it says nothing about it.

    What cannot be rendered Flux tries again for ever, and counts no retry: the second failure is the end here.
    """
    message = clean(ready.get("message", ""))
    if ready.get("status") != "False" or not is_current(release, ready):
        return None
    if ready.get("reason") in _TRANSIENT:
        return Wait(f"waiting: {message}")
    if version is not None and version not in message:
        return None  # of the version before: Flux has only begun with this one
    message = _WHICH.sub(":", message)  # a status has little room, and which release it is everybody knows
    if has_no_room(message):
        return Fail("disk_full", message)
    marker = f"{version or ''}@{ready.get('lastTransitionTime', '')}"
    if facts.failure_seen in (None, marker):
        return Wait(f"failing, Flux retries: {message}", failing=True, failure_seen=marker)
    return Fail("apply_failed", message)


def _ask(facts: Facts, release: Object, since: float | None) -> Step:
    """Flux hands a new chart on by itself; it is asked only where it did not."""
    if since is not None and 0 <= (passed := facts.now.timestamp() - since) < FAN_OUT:
        return Wait("Flux has packaged the chart", again=FAN_OUT - passed)
    if facts.kustomization_token is None:
        return RequestKustomization(token(facts.now))
    if is_crossed(release, facts.kustomization_token):
        return repeated(facts, RequestKustomization(token(facts.now)), facts.kustomization_token)
    return Wait("Flux is applying")


def _since(chart: Object | None) -> float | None:
    artifact = ((chart or {}).get("status") or {}).get("artifact") or {}
    moment = moment_of(artifact.get("lastUpdateTime"))
    return moment.timestamp() if moment else None


def _waits(release: Object) -> bool:
    """Helm waits for what it applies unless it is told not to."""
    spec = release.get("spec", {})
    return not any((spec.get(action) or {}).get("disableWait") for action in ("install", "upgrade"))


# A chart from elsewhere.


def _written(facts: Facts) -> Step:
    release = facts.kustomization
    if release is None:
        return Wait("waiting for the HelmRelease to exist")
    if (gone := left_alone(release)) is not None:
        return gone
    number = pin_number(release)
    if number is None or number < facts.number:
        return Wait("waiting for the HelmRelease to be written")
    if number > facts.number:
        return Supersede(facts.newer or "")
    digest = _pulled(facts.source)
    if isinstance(digest, Wait | Fail):
        return digest
    if not _is_live(release, None):
        return _releasing(facts, release, None, None)
    if digest in (None, _newest(release).get("ociDigest")):
        return Succeed(None, health_checked=_waits(release))
    return Wait("Flux has fetched the chart")  # only the source changed: it tells the release


def _pulled(source: Object | None) -> str | Fail | Wait | None:
    """The digest of the chart that an OCIRepository holds for its own spec; of other sources Flux's HelmChart tells."""
    if source is None or source.get("kind") != "OCIRepository":
        return None
    if (gone := left_alone(source)) is not None:
        return gone
    if is_stalled(source):
        return Fail("source_failed", clean(stalled_message(source)))
    ready = condition_of(source, "Ready")
    if not is_current(source, ready) or ready.get("status") == "Unknown":
        return Wait(progress_of(source) or "Flux is fetching the chart")
    if ready.get("status") == "False":
        message = clean(ready.get("message", ""))
        return Wait(f"failing, Flux retries: {message}", failing=True, failure_seen=message)
    return str((source["status"].get("artifact") or {}).get("revision", "")).rpartition("@")[2]


def _newest(release: Object) -> Object:
    return next(iter(release.get("status", {}).get("history") or []), {})
