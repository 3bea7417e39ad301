"""What happened on a sandbox stage since one looked last: on the forge, in the database, in Git and in the cluster."""

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.core.calls import Call
from bot.core.deployments import short
from bot.core.fluxobjects import clean
from bot.sandbox.cluster import Event
from bot.sandbox.forge import Delivery, Effect
from bot.sandbox.stage import SandboxStage
from models import Delivery as Kept
from models import Deployment, Notification, Run

CAME_IN, DECIDED, GIT, CLUSTER, FLUX, FORGE = "came in", "decided", "Git", "cluster", "Flux", "forge"
SHOWN_NAMES = 3

OURS = ("sluice", "OpenAPI-Generator")  # the second is the Kubernetes client's name where it gives no field manager

_APPLIED_BY = "kustomize.toolkit.fluxcd.io/name"
_OUTCOMES = {"done": "good", "ignored": "idle"}
_SHA = re.compile(r"\b[0-9a-f]{40}\b")
_ENDED = ("done", "refused", "ignored", "failed")
_VERBS = {"create": "makes", "apply": "applies", "update": "applies", "patch": "asks for", "delete": "deletes"}


@dataclass(frozen=True)
class News:
    """One thing that happened. `where` is one of the words above; `mood` is good, bad, busy, idle or empty."""

    where: str
    text: str
    mood: str = ""


class Chronicle:
    """Follows a stage; each thing is told once."""

    def __init__(self, stage: SandboxStage) -> None:
        self._stage, self._forge, self._cluster = stage, stage.town.forge, stage.town.cluster
        self._engine = sa.create_engine(f"sqlite:///{stage.folder / 'sluice.db'}")
        self._lock = threading.Lock()
        self._delivered: set[int] = set()
        self._ran: set[Any] = set()
        self._effects = self._writes = 0
        self._said: Counter[str] = Counter()
        self._flux: list[Condition | News] = []
        self._talks: dict[int, int] = {}
        self._unsubscribe = self._cluster.subscribe(self._changed)

    def close(self) -> None:
        """Follow no more."""
        self._unsubscribe()
        self._engine.dispose()

    def news(self) -> list[News]:
        """All that is new, in the order in which one thing led to the other."""
        with self._lock:
            flux, self._flux = self._flux, []
            found = [*self._came_in(), *self._decided()]
            git, forge = self._effected()
            return [*git, *found, *self._written(), *_together(flux), *forge]

    def quiet(self) -> bool:
        """Nothing is under way: no delivery, no run, no deployment, nothing to be said."""
        if any(delivery.status_code is None for delivery in self._forge.deliveries):
            return False
        waiting = (
            sa.select(Kept.id).where(Kept.status == "recorded"),
            sa.select(Run.id).where(Run.status.not_in(_ENDED)),
            sa.select(Deployment.id).where(Deployment.finished_at.is_(None)),
            sa.select(Notification.id).where(Notification.status == "queued"),
        )
        with Session(self._engine) as session:
            return not any(session.execute(query.limit(1)).first() for query in waiting)

    # What came in.

    def _came_in(self) -> Iterator[News]:
        for delivery in self._forge.deliveries:
            if delivery.id in self._delivered or delivery.status_code is None:
                continue
            self._delivered.add(delivery.id)
            payload = delivery.payload()
            if payload.get("sender", {}).get("login") == self._stage.bot:
                continue
            code = delivery.status_code
            yield News(CAME_IN, f"{_event(delivery, payload)} → {code}", "" if code == 202 else "bad")

    # What was decided.

    def _decided(self) -> Iterator[News]:
        query = sa.select(Run).where(Run.status.in_(_ENDED)).order_by(Run.finished_at)
        with Session(self._engine) as session:
            for run in session.execute(query).scalars():
                if run.id not in self._ran:
                    self._ran.add(run.id)
                    yield _decision(run)

    # What changed in Git and on the forge.

    def _effected(self) -> tuple[list[News], list[News]]:
        effects = self._forge.effects
        new, self._effects = effects[self._effects :], len(effects)
        git: list[News] = []
        forge: list[News] = []
        for effect in new:
            if effect.kind.startswith("branch."):
                git.append(self._branch(effect))
            elif effect.kind == "status.created":
                forge += self._statuses(effect)
            elif effect.actor == self._stage.bot and effect.kind.startswith("comment."):
                forge.append(News(FORGE, self._comment(effect)))
        return git, list(dict.fromkeys(forge))

    def _branch(self, effect: Effect) -> News:
        branch, before, after = (effect.about[key] for key in ("branch", "before", "after"))
        if after is None:
            return News(GIT, f"{branch} is deleted by {effect.actor}")
        store = self._forge.store
        start = before or next(iter(store.info(effect.repository, after).parents), None)
        paths = [change.path for change in store.diff(effect.repository, start, after)]
        moved = f"{short(before)} → {short(after)}" if before else f"new, at {short(after)}"
        return News(GIT, f"{branch}: {moved} by {effect.actor} ({_some(paths)})")

    def _statuses(self, effect: Effect) -> Iterator[News]:
        sha = effect.about["sha"]
        found = self._forge.statuses(effect.repository, sha)[self._said[sha] :]
        self._said[sha] += len(found)
        moods = {"success": "good", "pending": "busy"}
        for status in found:
            text = f"{short(sha)} {status.context} {status.state}: {status.description}"
            yield News(FORGE, text, moods.get(status.state, "bad"))

    def _comment(self, effect: Effect) -> str:
        id = effect.about["id"]
        if effect.kind == "comment.created":
            self._talks[id] = effect.about["number"]
            return f"{effect.actor} comments on #{self._talks[id]}"
        return f"{effect.actor} brings its comment on #{self._talks.get(id, 0)} up to date"

    # What changed in the cluster.

    def _written(self) -> Iterator[News]:
        writes = list(self._cluster.writes)
        new, self._writes = writes[self._writes :], len(writes)
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for verb, kind, name, manager in new:
            if manager in OURS:
                groups[verb, kind].append(name.strip("/"))
        for (verb, kind), names in groups.items():
            yield News(CLUSTER, _write(verb, kind, names))

    def _changed(self, event: Event) -> None:
        """Called by the cluster, in any thread: remember what Flux applies, and what it says of its objects."""
        found = _applied(event) if _APPLIED_BY in (event.obj["metadata"].get("labels") or {}) else _condition(event)
        if found is not None:
            with self._lock:
                self._flux.append(found)


@dataclass(frozen=True)
class Condition:
    """What Flux says of an object."""

    kind: str
    name: str
    status: str
    text: str


def _event(delivery: Delivery, payload: Any) -> str:
    """A delivery in a few words."""
    who, event, action = payload["sender"]["login"], delivery.event, delivery.action
    if event == "issue_comment":
        return f"comment on #{payload['issue']['number']} by {who}: {payload['comment']['body']}"
    if event == "push":
        branch, after = payload["ref"].removeprefix("refs/heads/"), payload["after"]
        return f"push to {branch} by {who}" + ("" if payload.get("deleted") else f": {short(after)}")
    if event == "pull_request":
        pull = payload["pull_request"]
        done = "merged" if pull.get("merged") and action == "closed" else action
        return f"pull request #{pull['number']} {done} by {who}: {pull['title']}"
    return " ".join(filter(None, (event, action, "by", who)))


def _decision(run: Run) -> News:
    """What came of a run, and why."""
    call = msgspec.convert(run.call, Call)
    why = f" [{run.code}]" if run.code else ""
    text = _shortened((run.text or "").split("\n", 1)[0]).removesuffix(" In the cluster:")
    if call.kind == "command":
        sign = "✓" if run.status == "done" else "✗"
        written = " ".join((f"/{call.name}", *call.words))
        text = f"{sign} {written} by {run.actor}{why}: {text}"
    else:
        text = f"{call.name}: {text}{why}"
    return News(DECIDED, text, _OUTCOMES.get(run.status, "bad"))


def _applied(event: Event) -> News | None:
    """An object that Flux applied or removed, with the data if it is a ConfigMap."""
    name = f"{event.kind.kind} {event.namespace}/{event.name}"
    if event.type == "DELETED":
        return News(FLUX, f"removes {name}")
    old, new = event.old or {}, event.obj
    if all(old.get(part) == new.get(part) for part in ("spec", "data")):
        return None
    data = ", ".join(f"{key}: {value}" for key, value in (new.get("data") or {}).items())
    return News(FLUX, f"applies {name}" + (f" ({data})" if data and event.kind.kind == "ConfigMap" else ""))


def _condition(event: Event) -> Condition | None:
    if event.kind.kind not in ("GitRepository", "Kustomization") or event.type == "DELETED":
        return None
    now, before = _ready(event.obj), _ready(event.old or {})
    if now is None or now == before or now[0] not in ("True", "False"):
        return None
    status, reason, message = now
    text = f"Ready={status} {reason}: {_shortened(clean(message))}"
    return Condition(event.kind.kind, event.name, status, text)


def _together(found: list[Condition | News]) -> Iterator[News]:
    """Objects of which Flux says the same are told in one line."""
    names: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for each in found:
        if isinstance(each, Condition):
            names[each.kind, each.status, each.text].append(each.name)
    for each in found:
        if isinstance(each, News):
            yield each
        elif alike := names.pop((each.kind, each.status, each.text), []):
            several = ", ".join(dict.fromkeys(alike))
            yield News(FLUX, f"{each.kind} {several}: {each.text}", "good" if each.status == "True" else "bad")


def _write(verb: str, kind: str, names: list[str]) -> str:
    word = _VERBS.get(verb, verb)
    what = f"a reconciliation of {kind}" if verb == "patch" else kind
    return f"sluice {word} {what} {_some(list(dict.fromkeys(names)))}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES} more"


def _ready(obj: dict[str, Any]) -> tuple[str, str, str] | None:
    conditions: Iterable[dict[str, Any]] = (obj.get("status") or {}).get("conditions") or []
    for each in conditions:
        if each["type"] == "Ready":
            return str(each["status"]), str(each.get("reason", "")), str(each.get("message", ""))
    return None


def _shortened(text: str) -> str:
    return _SHA.sub(lambda match: short(match.group()), text)
