"""Decides from Flux's objects what to do next for a deployment, and when it has ended (design section 3)."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from bot.core.deployments import commit_of, short
from bot.core.fluxobjects import (
    Object,
    clean,
    condition_of,
    git_source,
    has_no_room,
    is_crossed,
    is_current,
    is_handled,
    is_stalled,
    moment_of,
    progress_of,
    progresses,
    seconds_since,
    stalled_message,
    token,
)
from bot.core.manifests import DEPLOYMENT_ANNOTATION

FAN_OUT = 1.5  # seconds that Flux gets to hand a new artifact on before the Kustomization is asked
LOST = 1.0  # seconds after which a request that an older one took the place of is repeated
ASK_AGAIN = 10.0  # seconds after which a source that still has an older commit is asked again

_BEFORE = "before "  # marks a failure that was there before this deployment began
_AFTER_ATTEMPT = frozenset({"BuildFailed", "ReconciliationFailed", "PruneFailed", "HealthCheckFailed"})
_UNREACHABLE = re.compile(
    r"connection (?:refused|reset|timed out)|no such host|no route to host|i/o timeout|deadline exceeded|TLS handshake"
    r"|status code: 5[0-9]{2}|unexpected EOF"
)
_TRANSIENT = frozenset({"DependencyNotReady", "HealthCheckCanceled", "Progressing", "ProgressingWithRetry"})
_CONFLICT = re.compile(r"\(Conflict\)|object has been modified|Operation cannot be fulfilled")
_PATH_NOT_FOUND = "path not found"
_FINAL = {"BuildFailed": "build_failed", "HealthCheckFailed": "health_check_failed"}


class Relation(StrEnum):
    """How another commit relates to a deployment's revision R."""

    CONTAINS = "contains"  # R is its ancestor, and the environment's inputs are equal at both
    CHANGED = "changed"  # R is its ancestor, but the inputs differ
    OLDER = "older"  # it is an ancestor of R
    APART = "apart"  # neither: the branch was rewritten


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a deployment and of the objects that carry it out.

    The objects must be no older than Sluice's own last write to them.
    """

    revision: str
    source_name: str  # the GitRepository that it goes by
    pinned: bool  # that one is the environment's own
    number: int  # the deployment's, as in the pin's annotation
    source: Object | None
    kustomization: Object | None
    source_token: str | None = None  # of the last RequestSource that was carried out
    kustomization_token: str | None = None
    failure_seen: str | None = None  # what the last step said is to be remembered
    started: datetime
    deadline: datetime
    now: datetime
    relations: Mapping[str, Relation] = {}  # by commit, as far as asked
    newer: str | None = None  # the revision of a newer deployment to the same environment


class RequestSource(msgspec.Struct, frozen=True):
    """Ask Flux to fetch: write the token to the GitRepository; then store it. Store `failure_seen` unless None."""

    token: str
    failure_seen: str | None = None
    text: str = "asking Flux to fetch"


class SwitchSource(msgspec.Struct, frozen=True):
    """The wanted source holds the revision: point the Kustomization at it."""

    text: str = "switching to the new source"


class RequestKustomization(msgspec.Struct, frozen=True):
    """Ask Flux to apply: write the token to the Kustomization; then store it."""

    token: str
    text: str = "asking Flux to apply"


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do until the observer sees a change, or for `again` seconds. Store `failure_seen` unless None."""

    text: str
    failing: bool = False
    failure_seen: str | None = None
    again: float | None = None


class NeedRelation(msgspec.Struct, frozen=True):
    """Find out how this commit relates to the revision, and come back."""

    commit: str
    text: str = "comparing revisions"


class Succeed(msgspec.Struct, frozen=True):
    """The revision is live, maybe as part of a later commit."""

    live_as: str | None
    health_checked: bool

    @property
    def text(self) -> str:
        """What people read."""
        checked = "" if self.health_checked else " (health not checked)"
        if self.live_as is not None:
            return f"live as part of {short(self.live_as)}{checked}"
        return "live" if self.health_checked else f"applied{checked}"


class Fail(msgspec.Struct, frozen=True):
    """It cannot succeed; in Flux's words."""

    code: str
    message: str

    @property
    def text(self) -> str:
        """What people read."""
        return self.message


class TimeOut(msgspec.Struct, frozen=True):
    """The deadline has passed; with what was last known."""

    message: str

    @property
    def text(self) -> str:
        """What people read."""
        return self.message


class Supersede(msgspec.Struct, frozen=True):
    """Another revision took its place."""

    by: str

    @property
    def text(self) -> str:
        """What people read."""
        return f"superseded by {short(self.by)}"


Step = RequestSource | SwitchSource | RequestKustomization | Wait | NeedRelation | Succeed | Fail | TimeOut | Supersede


def settle(facts: Facts) -> Step:
    """The next step of a deployment by a Kustomization."""
    return in_time(facts, _next(facts))


def in_time(facts: Facts, step: Step) -> Step:
    """The step, or the end of waiting. Ends and questions come before the deadline: live at the last moment is live."""
    if facts.now >= facts.deadline and isinstance(step, RequestSource | SwitchSource | RequestKustomization | Wait):
        waited = _words(int((facts.deadline - facts.started).total_seconds()))
        step = TimeOut(f"not ready within {waited}; last: {step.text}")
    return _with_what_stays(facts, step)


def _with_what_stays(facts: Facts, step: Step) -> Step:
    """A pin that came to nothing keeps nobody out of an environment that still goes by its branch: that is said."""
    goes_by = git_source(facts.kustomization or {})
    if not facts.pinned or goes_by in (None, facts.source_name):
        return step
    stays = f"; it goes by {goes_by} as before, so a push reaches it"
    match step:
        case Fail():
            return Fail(step.code, step.message + stays)
        case TimeOut():
            return TimeOut(step.message + stays)
        case _:
            return step


def _next(facts: Facts) -> Step:
    applied = facts.kustomization
    if applied is None:
        return Wait("waiting for the Kustomization to exist")
    if (gone := left_alone(applied)) is not None:
        return gone
    if facts.pinned and (moved := moved_pin(facts)) is not None:
        return moved
    source = facts.source
    if source is not None and _is_live(facts, source, applied, facts.revision):
        return Succeed(None, _health_checked(applied))
    if source is None:
        return Wait(f"waiting for the GitRepository {facts.source_name} to exist")
    if (gone := left_alone(source)) is not None:
        return gone
    if facts.source_token is None:
        return RequestSource(token(facts.now), _earlier_failure(facts, applied))
    held = fetched(facts, source)
    if not isinstance(held, str):
        return held
    if held == facts.revision:
        return _apply(facts, source, applied, held)
    return _moved_on(facts, source, applied, held)


# The source.


def moved_pin(facts: Facts) -> Step | None:
    """A pin that does not say what this deployment wants was moved by a newer one, by another hand, or not yet."""
    if facts.source is None:
        return None
    commit = facts.source.get("spec", {}).get("ref", {}).get("commit")
    number = pin_number(facts.source)
    if number is not None and number > facts.number:
        return Supersede(commit or facts.newer or "")
    if commit == facts.revision:
        return None
    if number == facts.number:
        found = f"commit {short(commit)}" if commit else "no commit"
        return Fail("gate_broken", f"the pin {facts.source_name} was moved by another hand: it says {found}")
    return Wait("waiting for the pin to move")


def pin_number(source: Object) -> int | None:
    """The number of the deployment that an object was written for; None if it says none."""
    text = (source["metadata"].get("annotations") or {}).get(DEPLOYMENT_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() else None


def fetched(facts: Facts, source: Object) -> str | Step:
    """The commit that the source holds once it has fetched for this deployment; else what to do."""
    if is_stalled(source):
        return Fail("source_failed", clean(stalled_message(source)))
    ready = condition_of(source, "Ready")
    if not is_current(source, ready) or not is_handled(source, facts.source_token):
        if is_crossed(source, facts.source_token):
            return repeated(facts, RequestSource(token(facts.now)), facts.source_token)
        return Wait(progress_of(source) or "Flux is fetching")
    commit = commit_of((source.get("status", {}).get("artifact") or {}).get("revision"))
    if commit == facts.revision:
        return commit
    if ready["status"] == "False":
        message = clean(ready.get("message", ""))
        if facts.pinned and _UNREACHABLE.search(message):  # nothing can be told of the commit; the pin stays
            return Wait(f"failing, Flux retries: {message}", failing=True)
        return Fail("disk_full" if has_no_room(message) else "source_failed", message)
    if ready["status"] != "True" or commit is None:
        return Wait(progress_of(source) or "Flux is fetching")
    return commit


def _moved_on(facts: Facts, source: Object, applied: Object, held: str) -> Step:
    """The source was asked and holds another commit than the revision."""
    if facts.pinned:
        return Wait("Flux is fetching the pinned commit")
    relation = facts.relations.get(held)
    if relation is None:
        return NeedRelation(held)
    if relation is Relation.CONTAINS:
        return _apply(facts, source, applied, held)
    if relation is Relation.OLDER:
        return behind(facts, held)
    if _attempted(applied) == facts.revision and progresses(applied):
        return Wait(progress_of(applied) or "Flux is applying")
    failure = _failure(facts, applied, facts.revision)
    return failure if isinstance(failure, Fail) and not _is_old(facts, applied) else Supersede(held)


def behind(facts: Facts, held: str) -> Step:
    """The forge gave Flux an older commit than the push told of: it lags, or the branch went back."""
    if facts.newer is not None:
        return Supersede(facts.newer)
    since = seconds_since(facts.source_token, facts.now)
    if since is None or since >= ASK_AGAIN:
        return RequestSource(token(facts.now))
    return Wait(f"Flux still gets {short(held)}, which is older", again=ASK_AGAIN - since)


# The Kustomization.


def _apply(facts: Facts, source: Object, applied: Object, target: str) -> Step:
    """The source holds the target: the revision itself, or a commit that contains it with equal inputs."""
    if git_source(applied) != facts.source_name:
        return SwitchSource()
    if _is_live(facts, source, applied, target):
        return Succeed(None if target == facts.revision else target, _health_checked(applied))
    if is_stalled(applied):
        return Fail("stalled", clean(stalled_message(applied)))
    if progresses(applied):
        return Wait(progress_of(applied) or "Flux is applying")
    failure = _failure(facts, applied, target)
    if failure is not None and not _is_old(facts, applied):
        return failure
    ready = condition_of(applied, "Ready")
    changed = bool(ready) and not is_current(applied, ready)  # a new spec: Flux starts by itself
    attempted = failure is None and _attempted(applied) == target
    if changed or attempted:
        return Wait("Flux is applying")
    if facts.kustomization_token is None:
        return _ask(facts, source)
    if is_crossed(applied, facts.kustomization_token):
        return repeated(facts, RequestKustomization(token(facts.now)), facts.kustomization_token)
    return Wait("Flux is applying")


def _ask(facts: Facts, source: Object) -> Step:
    """Flux hands a new artifact on by itself; it is asked only where it did not."""
    changed = moment_of((source["status"]["artifact"] or {}).get("lastUpdateTime"))
    if changed is not None:
        since = (facts.now - changed).total_seconds()
        if 0 <= since < FAN_OUT:
            return Wait("Flux has fetched", again=FAN_OUT - since)
    return RequestKustomization(token(facts.now))


def _is_live(facts: Facts, source: Object, applied: Object, target: str) -> bool:
    """Ready, truthfully, at the target, and from a source that will not take it elsewhere at once."""
    ready = condition_of(applied, "Ready")
    status = applied.get("status", {})
    held = commit_of((source.get("status", {}).get("artifact") or {}).get("revision"))
    return (
        git_source(applied) == facts.source_name
        and ready.get("status") == "True"
        and is_current(applied, ready)
        and status.get("observedGeneration") == applied["metadata"].get("generation")
        and commit_of(status.get("lastAppliedRevision")) == target
        and (held == target or (not facts.pinned and is_handled(source, facts.source_token)))
    )


def _failure(facts: Facts, applied: Object, target: str) -> Fail | Wait | None:
    """What Ready=False means for the target; None when it says nothing about it."""
    ready = condition_of(applied, "Ready")
    if ready.get("status") != "False" or not is_current(applied, ready) or not _about(facts, applied, ready, target):
        return None
    reason, message = ready.get("reason", ""), clean(ready.get("message", ""))
    if has_no_room(message):
        return Fail("disk_full", message)
    if reason == "ArtifactFailed" and _PATH_NOT_FOUND in message:
        return Fail("path_not_found", message)
    if reason in _FINAL:
        return Fail(_FINAL[reason], message)
    if reason in _TRANSIENT or reason == "ArtifactFailed" or _CONFLICT.search(message):
        return Wait(f"waiting: {message}")
    marker = _marker(applied)
    seen = facts.failure_seen
    if seen is None or seen == marker or seen.startswith(_BEFORE) or _commit_in(seen) != _commit_in(marker):
        return Wait(f"failing, Flux retries: {message}", failing=True, failure_seen=marker)
    return Fail("apply_failed", message)


def _about(facts: Facts, applied: Object, ready: Object, target: str) -> bool:
    """Whether Flux said it about the target.

    What goes wrong before `lastAttemptedRevision` is set, as a path that is not there, is known by our token, which was
    written after the source held the target; what goes wrong later names its revision there.
    """
    if _attempted(applied) in (target, facts.revision):
        return True
    token = facts.kustomization_token
    return token is not None and ready.get("reason") not in _AFTER_ATTEMPT and is_handled(applied, token)


def _earlier_failure(facts: Facts, applied: Object) -> str | None:
    """A failure of the same revision that an earlier deployment left behind: it is not this one's."""
    ready = condition_of(applied, "Ready")
    if ready.get("status") == "False" and _attempted(applied) == facts.revision:
        return _BEFORE + _marker(applied)
    return None


def _is_old(facts: Facts, applied: Object) -> bool:
    return facts.failure_seen == _BEFORE + _marker(applied)


def _marker(applied: Object) -> str:
    """Tells one failed attempt from the next: Flux sets Ready to Unknown in between."""
    return f"{_attempted(applied) or ''}@{condition_of(applied, 'Ready').get('lastTransitionTime', '')}"


def _commit_in(marker: str) -> str:
    return marker.partition("@")[0]


def _attempted(applied: Object) -> str | None:
    return commit_of(applied.get("status", {}).get("lastAttemptedRevision"))


def _health_checked(applied: Object) -> bool:
    spec = applied.get("spec", {})
    return bool(spec.get("wait") or spec.get("healthChecks"))


# Both kinds.


def left_alone(found: Object) -> Fail | None:
    """The end of a deployment whose object somebody suspended."""
    if not found.get("spec", {}).get("suspend"):
        return None
    return Fail("suspended", f"{found['kind']} {found['metadata']['name']} is suspended: Flux leaves it alone")


def repeated(facts: Facts, request: RequestSource | RequestKustomization, last: str | None) -> Step:
    """A request that was lost is repeated, but not at once: what we see may be of before it was written."""
    since = seconds_since(last, facts.now)
    if since is None or since >= LOST:
        return request
    return Wait("asking Flux", again=LOST - since)


def _words(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes and rest else f"{minutes}m" if minutes else f"{rest}s"


# The columns of gitops_resources.


class ResourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an object says of itself. `status` is pending, ready, reconciling, stalled or failed."""

    status: str
    reason: str | None = None
    message: str | None = None
    last_applied_revision: str | None = None
    last_attempted_revision: str | None = None


def resource_status(found: Object) -> ResourceStatus:
    """An object's state in one word, with Flux's reason and text. A suspended one is stalled: only a person helps."""
    state, condition = _state(found)
    status = found.get("status", {})
    artifact = (status.get("artifact") or {}).get("revision")
    message = clean(condition.get("message", ""))
    return ResourceStatus(
        status=state,
        reason=condition.get("reason"),
        message=message or None,
        last_applied_revision=status.get("lastAppliedRevision") or _released(status) or artifact,
        last_attempted_revision=status.get("lastAttemptedRevision") or artifact,
    )


def _released(status: Object) -> str | None:
    """The version of the chart that a HelmRelease has out; a chart of the repository ends in digits of its commit."""
    newest: Object = next(iter(status.get("history") or []), {})
    return newest.get("chartVersion") if newest.get("status") == "deployed" else None


def _state(found: Object) -> tuple[str, Object]:
    ready, stalled = condition_of(found, "Ready"), condition_of(found, "Stalled")
    if (suspended := left_alone(found)) is not None:
        return "stalled", {"reason": "Suspended", "message": suspended.message}
    if is_stalled(found):
        return "stalled", stalled
    if not ready:
        return "pending", condition_of(found, "Reconciling")
    if progresses(found) or not is_current(found, ready):
        reconciling = condition_of(found, "Reconciling")
        return "reconciling", reconciling or ready
    if ready.get("status") == "True":
        return "ready", ready
    return "failed", ready
