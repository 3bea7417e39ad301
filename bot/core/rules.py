"""What an environment asks before anything is deployed to it, and the stricter of two such answers."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from bot.core.repoconfig import Environment

Words = tuple[str, ...]
T = TypeVar("T", str, Words)
EVERYBODY: tuple[Words, ...] = ((),)  # one list that names nobody: the forge's role decides
FROM = (None, "pull_request", "merged")  # of `deploy_from`, the strictest last


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gates of one environment.

    `approvers` and `deployers` are lists that must *each* allow a person: there are two where the configuration changed
    and nobody enabled it yet. `after` are names of environments of the same project.
    """

    auto_sync: bool = True
    approvals: int = 0
    approvers: tuple[Words, ...] = EVERYBODY
    deployers: tuple[Words, ...] = EVERYBODY
    reviews_count: bool = False
    after: Words = ()
    deploy_from: str | None = None  # merged | pull_request
    forks: bool = False
    name_commit: bool = False
    up_to_date: bool = False
    checks: Words = ()
    freeze: Words = ()

    @property
    def follows(self) -> bool:
        """Whether the environment follows its branch: nothing stands between a push and it, also while we are down."""
        gates = (self.approvals, self.after, self.deploy_from, self.freeze, self.checks)
        return self.auto_sync and not any(gates)

    @property
    def protected(self) -> bool:
        """Whether only Sluice moves it, by a pin of its own."""
        return not self.follows


def of(environment: Environment) -> Rules:
    """The rules that a configuration gives an environment."""
    return Rules(
        auto_sync=environment.auto_sync,
        approvals=environment.approvals,
        approvers=(environment.approvers,),
        deployers=(environment.deployers,),
        reviews_count=environment.reviews_count,
        after=(environment.after,) if environment.after else (),
        deploy_from=environment.deploy_from,
        forks=environment.forks,
        name_commit=environment.name_commit,
        up_to_date=environment.up_to_date,
        checks=environment.checks,
        freeze=environment.freeze,
    )


def stricter(one: Rules, other: Rules) -> Rules:
    """The rules that hold where two are there: what either asks for is asked for, what both allow is allowed."""
    return Rules(
        auto_sync=one.auto_sync and other.auto_sync,
        approvals=max(one.approvals, other.approvals),
        approvers=_both(one.approvers, other.approvers),
        deployers=_both(one.deployers, other.deployers),
        reviews_count=one.reviews_count and other.reviews_count,
        after=_both(one.after, other.after),
        deploy_from=max(one.deploy_from, other.deploy_from, key=FROM.index),
        forks=one.forks and other.forks,
        name_commit=one.name_commit or other.name_commit,
        up_to_date=one.up_to_date or other.up_to_date,
        checks=_both(one.checks, other.checks),
        freeze=_both(one.freeze, other.freeze),
    )


def in_force(applied: Rules, now: Environment | None) -> Rules:
    """The rules that hold: what `/enable` last applied, and whatever the default branch says now that is stricter.

    None: the file cannot be read, or names the environment no more; weakening takes effect by `/enable` only.
    """
    return applied if now is None else stricter(applied, of(now))


def to_config(rules: Rules) -> dict[str, Any]:
    """Plain data for `environments.config["rules"]`."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(rules))
    return data  # with lists in it, not tuples: it is compared with what the database gives back


def from_config(data: Mapping[str, Any] | None) -> Rules:
    """The rules that `to_config` wrote; none are those of an environment that follows."""
    return msgspec.convert(data or {}, Rules)


def _both(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
    return one if one == other else tuple(sorted(set(one).union(other)))
