"""Reads what Flux says of its objects: conditions, progress, requests; the same for every kind."""

import re
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"

_TEMPORARY_FOLDER = re.compile(r"(?<![^\s'\"=(:\[])(?:/[^\s/:'\"]{1,255}){0,8}?/kustomization-\d+/?")


_NO_ROOM = re.compile(r"no space left on device|disk quota exceeded|database or disk is full", re.IGNORECASE)


def has_no_room(message: str) -> bool:
    """Whether Flux, or the Git server behind it, ran out of room on a disk."""
    return _NO_ROOM.search(message) is not None


def condition_of(found: Object, kind: str) -> Object:
    """The condition of a kind; empty where there is none."""
    conditions = found.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def git_source(applied: Object) -> str | None:
    """The name of the GitRepository that a Kustomization goes by, or a HelmRelease's chart."""
    spec = applied.get("spec", {})
    reference = spec.get("sourceRef") or spec.get("chart", {}).get("spec", {}).get("sourceRef") or {}
    return reference.get("name") if reference.get("kind") == "GitRepository" else None


def is_current(found: Object, condition: Object) -> bool:
    """Whether a condition is about the object as it is now."""
    generation = found["metadata"].get("generation")
    return bool(condition) and condition.get("observedGeneration") == generation


def is_stalled(found: Object) -> bool:
    """Whether Flux says that it will not try again."""
    condition = condition_of(found, "Stalled")
    return condition.get("status") == "True" and is_current(found, condition)


def stalled_message(found: Object) -> str:
    """Why it will not."""
    return str(condition_of(found, "Stalled").get("message", ""))


def progresses(found: Object) -> bool:
    """Whether Flux is at work on it."""
    reconciling = condition_of(found, "Reconciling")
    if reconciling.get("status") == "True" and reconciling.get("reason") == "Progressing":
        return True
    return condition_of(found, "Ready").get("status") == "Unknown"


def progress_of(found: Object) -> str:
    """What Flux says that it is doing."""
    reconciling = condition_of(found, "Reconciling")
    return clean(reconciling.get("message", "")) if reconciling.get("status") == "True" else ""


def is_handled(found: Object, token: str | None) -> bool:
    """Whether Flux has carried out our request, or one written after it (the annotation holds only the last)."""
    last = found.get("status", {}).get("lastHandledReconcileAt")
    if token is None or not last:
        return False
    if last == token:
        return True
    present = (found["metadata"].get("annotations") or {}).get(REQUESTED_AT)
    if present == token:
        return False
    ours, theirs = moment_of(token), moment_of(last)
    if ours is not None and theirs is not None:
        return theirs >= ours
    return bool(last == present)


def is_crossed(found: Object, request: str | None) -> bool:
    """Whether an older request took the place of ours, and was carried out: two writers crossed each other."""
    last = found.get("status", {}).get("lastHandledReconcileAt")
    present = (found["metadata"].get("annotations") or {}).get(REQUESTED_AT)
    return request is not None and present not in (None, request) and last == present and not is_handled(found, request)


def token(now: datetime) -> str:
    """A request's name: the time, as `flux reconcile` writes it, so that later ones compare as later."""
    return now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment_of(text: str | None) -> datetime | None:
    """The time that a text names; None for anything else."""
    if not text:
        return None
    shortened = re.sub(r"(\.\d{6})\d+", r"\1", text)  # Go writes nanoseconds
    try:
        moment = datetime.fromisoformat(shortened)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def asked_since(found: Object | None, moment: datetime) -> str | None:
    """The request that an object carries, if it was written at that moment or later."""
    annotations = ((found or {}).get("metadata") or {}).get("annotations") or {}
    asked = moment_of(annotations.get(REQUESTED_AT))
    return annotations[REQUESTED_AT] if asked is not None and asked >= moment else None


def is_lost(found: Object | None, request: str | None) -> bool:
    """Whether our request is neither on the object nor handled: Sluice ended between noting and making it."""
    if found is None or request is None or is_handled(found, request):
        return False
    moment = moment_of(request)
    return moment is not None and asked_since(found, moment) is None


def seconds_since(token: str | None, now: datetime) -> float | None:
    """How long ago a request was written."""
    moment = moment_of(token)
    return None if moment is None else (now - moment).total_seconds()


def clean(message: str) -> str:
    """Flux's text as one paragraph, without its temporary folder names."""
    return " ".join(_TEMPORARY_FOLDER.sub("", message).split())
