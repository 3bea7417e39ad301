"""The steps by which a project is enabled: how far they are, what Flux's objects make of the last, and what helps."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bot.core.deployments import Phase

PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"


class Step(msgspec.Struct, frozen=True):
    """One step: its share of the work, and how long trouble that may pass is waited for.

    One that looks `afresh` is carried out by every `/enable`; the others stand, if nothing changed that they depend on.
    """

    name: str
    title: str
    weight: int
    patience: timedelta = timedelta(minutes=5)
    afresh: bool = False


STEPS = (
    Step("check_access", "Check access", 5),
    Step("check_cluster", "Check the cluster", 5),
    Step("read_config", "Read the configuration", 5, afresh=True),
    Step("create_environments", "Create the environments", 10),
    Step("setup_credentials", "Set up Git credentials", 10),
    Step("setup_gitops", "Set up GitOps", 25),
    Step("verify_resources", "Verify the resources", 35),
    Step("report", "Report", 5),
)
SETUP, VERIFY, REPORT = STEPS[-3:]
WRITTEN = "written"  # in the details of the step that writes objects: the version of each, as the API server answered
GRACE = timedelta(minutes=1)  # beyond the last deployment's own deadline


class Stand(msgspec.Struct, frozen=True):
    """How far a step is; `progress` is in percent."""

    weight: int
    status: str
    progress: int = 0


def progress(stands: Iterable[Stand]) -> int:
    """How far all of it is, in percent: 100 only when every step is completed."""
    found = list(stands)
    if found and all(stand.status == COMPLETED for stand in found):
        return 100
    done = sum(stand.weight * (100 if stand.status == COMPLETED else stand.progress) for stand in found)
    return min(done // max(1, sum(stand.weight for stand in found)), 99)


def stands(step: Step, *, status: str, same_basis: bool, unfinished: bool) -> bool:
    """Whether a step need not be carried out again by another `/enable`.

    After one that did not finish it goes on where that one stopped; after one that did, everything is looked at again.
    """
    return status == COMPLETED and same_basis and unfinished and not step.afresh


# What the objects say.


def written_key(cluster: str, kind: str, name: str) -> str:
    """Under which name the version of a written object is kept; `name` with its namespace."""
    return f"{cluster}/{kind}/{name}"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A Flux object as it was seen last, and the deployment that goes through it; `fresh` if seen since the step began.

    `current` says that it was seen as this `/enable` wrote it, or later: what is known may be of the spec before.
    `phase` is None where there was nothing to deploy: the environment is pinned, or not Sluice's to move.
    """

    name: str
    status: str
    reason: str | None = None
    message: str | None = None
    fresh: bool = False
    current: bool = True
    phase: Phase | None = None
    phase_code: str | None = None
    phase_message: str | None = None

    @property
    def ready(self) -> bool:
        """Ready, and what was wished for is live: what is known of an object may be older than the wish."""
        return self.current and self.status == "ready" and self.phase in (None, Phase.SUCCEEDED)


class Underway(msgspec.Struct, frozen=True):
    """Some are ready; `progress` is in percent."""

    progress: int
    said: str


class Verified(msgspec.Struct, frozen=True):
    """All are ready."""

    said: str


class Broken(msgspec.Struct, frozen=True):
    """One will not become ready; in Flux's words."""

    code: str
    message: str


def verdict(
    resources: Sequence[Resource], *, now: datetime, deadline: datetime, waiting: Sequence[str] = ()
) -> Underway | Verified | Broken:
    """What the states of a project's objects mean for the step that verifies them.

    `waiting` are the environments that wait for somebody: they have nothing that could be ready.
    """
    broken = next((found for each in resources if (found := _broken(each)) is not None), None)
    if broken is not None:
        return broken
    ready = sum(each.ready for each in resources)
    waits = f"{', '.join(waiting)} {'waits' if len(waiting) == 1 else 'wait'} to be let through" if waiting else ""
    if ready == len(resources):
        return Verified("; ".join(filter(None, (f"{ready} of {ready} ready" if resources else "", waits))))
    if now >= deadline:
        waiting = "; ".join(f"{each.name}: {each.message or each.status}" for each in resources if not each.ready)
        return Broken("verify_timed_out", f"not ready in time: {waiting}")
    return Underway(100 * ready // len(resources), f"{ready} of {len(resources)} ready{waits and '; '}{waits}")


def _broken(resource: Resource) -> Broken | None:
    """A deployment's end is the truth; without one, what Flux said since the step began."""
    if resource.phase is Phase.TIMED_OUT:
        return Broken("verify_timed_out", f"{resource.name}: {resource.phase_message or 'not ready in time'}")
    if resource.phase in (Phase.FAILED, Phase.REJECTED, Phase.CANCELLED):
        return Broken(resource.phase_code or "apply_failed", f"{resource.name}: {resource.phase_message or 'failed'}")
    told = resource.fresh and resource.current
    if resource.phase is None and told and resource.status in ("failed", "stalled"):
        code = _CODES.get(resource.reason or "", "stalled" if resource.status == "stalled" else "apply_failed")
        return Broken(code, f"{resource.name}: {resource.message or resource.status}")
    return None


_CODES = {
    "Missing": "object_missing",
    "Suspended": "suspended",
    "BuildFailed": "build_failed",
    "HealthCheckFailed": "health_check_failed",
    "GitOperationFailed": "source_failed",
    "AuthenticationFailed": "source_failed",
}


# What an /enable changes.


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration says that was not so before; `gone` are environments that it does not name any more."""

    added: tuple[str, ...] = ()
    changed: Mapping[str, Mapping[str, tuple[str, str]]] = {}  # environment → field → (before, now)
    gone: tuple[str, ...] = ()


Fields = Mapping[str, Any]


def difference(before: Mapping[str, Fields], now: Mapping[str, Fields], *, known: Collection[str]) -> Difference:
    """Compare environments by name; `known` are all that the configuration names, `now` those that are asked for."""
    return Difference(
        added=tuple(name for name in now if name not in before),
        changed={
            name: fields for name in now if name in before and (fields := _changed_fields(before[name], now[name]))
        },
        gone=tuple(name for name in before if name not in known),
    )


def _changed_fields(before: Fields, now: Fields) -> dict[str, tuple[str, str]]:
    return {
        field: (_shown(before.get(field)), _shown(value)) for field, value in now.items() if before.get(field) != value
    }


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if value not in (None, "", (), [], {}) else "nothing"


# What to do.

_AGAIN = "then `/enable` again"
_PUSHED = "and push it: this goes on by itself then, or with `/enable`"
_SHOWN = "the operator of the cluster does what is shown, then `/enable` again."
_NAMED = "the operator sets what is named, then `/enable` again."
_ALLOWED = "take it out of `.sluice.yaml`, or have the operator allow it (`SLUICE_POLICY_FILE`), then `/enable` again."
REMEDIES = {
    "access_missing": f"give Sluice's account the right to write in this repository, {_AGAIN}.",
    "apply_failed": f"mend what Flux names, {_PUSHED}.",
    "branch_missing": f"make the branch, or name another in `.sluice.yaml`, {_AGAIN}.",
    "build_failed": f"`kustomize build` says the same in the environment's folder; mend it {_PUSHED}.",
    "cluster_refused": f"mostly Sluice lacks a right: the operator runs `kubectl apply -f deploy/rbac.yaml`, {_AGAIN}.",
    "cluster_unreachable": f"see that Sluice reaches the cluster's API server (`sluice doctor` looks), {_AGAIN}.",
    "cluster_unknown": f"name a cluster that is configured, or have the operator add this one, {_AGAIN}.",
    "cluster_not_allowed": _ALLOWED,
    "config_invalid": f"mend what is named (`sluice check-config` checks the file), push it, {_AGAIN}.",
    "config_unsupported": f"take the field out of `.sluice.yaml`, push it, {_AGAIN}.",
    "app_not_configured": _NAMED,
    "connection_expired": "connect the account again, then `/enable` again.",
    "connection_missing": "connect an account, then `/enable` again.",
    "credentials_invalid": "put another token in its place (one that may read this repository), then `/enable` again.",
    "known_hosts_missing": _NAMED,
    "oauth_not_configured": _NAMED,
    "disk_full": f"make room on the disk of what is named (Flux's controllers, or the Git server), {_AGAIN}.",
    "environment_moved": "give the one in the other cluster a name of its own.",
    "field_conflict": f"have the other manager give the field up, {_AGAIN}.",
    "forge_refused": f"give Sluice's account the right that the forge names, {_AGAIN}.",
    "gate_broken": "find out who moved the pin; `/enable` again puts it right.",
    "gave_up": f"mend the cause, {_AGAIN}.",
    "git_credentials_missing": _NAMED,
    "health_check_failed": f"`kubectl describe` what is named shows why; mend it {_PUSHED}.",
    "kinds_missing": _SHOWN,
    "crd_older": _SHOWN,
    "flux_missing": _SHOWN,
    "policy_missing": _SHOWN,
    "rights_missing": _SHOWN,
    "version_unsupported": _SHOWN,
    "namespace_taken": f"name another `namespace` in `.sluice.yaml`, or remove this one, {_AGAIN}.",
    "namespace_not_allowed": _ALLOWED,
    "namespace_unlabelled": f"the operator labels it as shown, {_AGAIN}.",
    "not_kept": f"the operator brings Flux's CRDs up to date (`flux install`), {_AGAIN}.",
    "not_permitted": "somebody with the role comments `/enable`, or the operator allows what is named.",
    "object_missing": "`/enable` again makes it anew; find out who removed it.",
    "path_missing": f"add them (`/enable --scaffold` opens a pull request with them), {_AGAIN}.",
    "path_not_found": f"add the folder {_PUSHED}.",
    "scaffold_open": f"merge it, {_AGAIN}.",
    "service_account_not_allowed": _ALLOWED,
    "service_account_required": _ALLOWED,
    "source_failed": "see that Flux reaches the Git server and that the credentials are right; "
    "this goes on by itself then, or with `/enable`.",
    "stalled": "Flux does not try again by itself: mend what it names, then `/enable` again.",
    "step_timed_out": f"mend what is named (mostly a server that does not answer), {_AGAIN}.",
    "suspended": f"`flux resume` the object that is named, {_AGAIN}.",
    "target_ambiguous": "name the project, too: `/enable project/environment`.",
    "target_unknown": "name an environment that is listed.",
    "values_invalid": f"mend the file that is named {_PUSHED}.",
    "verify_timed_out": "`flux get all -n` the project's namespace shows what Flux waits for; mend that, "
    "this goes on by itself then, or with `/enable`.",
}


def remedy(code: str) -> str:
    """What to do about a failure, as a sentence."""
    return REMEDIES.get(code, f"mend what is named, {_AGAIN}.")
