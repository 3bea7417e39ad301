"""What a changed `.sluice.yaml` changes, and what of it weakens an environment's protection."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from bot.core.calls import Call
from bot.core.conversation import code
from bot.core.repoconfig import Config, Environment, Project

Weaker = Callable[[Any, Any], bool]
CHECK = "config"  # the work that checks a pull request's configuration; its result has a place of its own
CHECK_BRANCH = "config-arrived"  # the same for the default branch
SHOWN = 40  # changes in a comment


def proposed_call(forge: str, repository: str, number: int, head: str, actor: str) -> Call:
    """What is to be done for each head of a pull request, once."""
    return Call(
        kind="work",
        name=CHECK,
        key=f"{forge}:{repository}:pull:{number}:config:{head}",
        actor=actor,
        number=number,
        arguments={"number": number, "head": head},
    )


def arrived_call(forge: str, repository: str, commit: str, actor: str) -> Call:
    """What is to be done for each head of the default branch, once."""
    return Call(
        kind="work",
        name=CHECK_BRANCH,
        key=f"{forge}:{repository}:config:{commit}",
        actor=actor,
        arguments={"commit": commit},
    )


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field that says something else; None: it is not there. `path` is the one that errors name, too."""

    path: str
    old: str | None
    new: str | None
    weakens: bool = False


def difference(old: Config, new: Config) -> list[Change]:
    """What is different, in the order of the new file; what is left out comes last."""
    names = dict.fromkeys([project.name for project in (*new.projects, *old.projects)])
    several = len(names) > 1
    return [
        change
        for name in names
        for change in _projects(f"projects.{name}." if several else "", old.project(name), new.project(name))
    ]


def tell(changes: Sequence[Change]) -> str:
    """The changes as a Markdown list."""
    lines = [f"- {code(each.path)}: {_from_to(each)}{' — **weakens**' if each.weakens else ''}" for each in changes]
    left = len(lines) - SHOWN
    return "\n".join([*lines[:SHOWN], *([f"- and {left} more"] if left > 0 else [])])


def _from_to(change: Change) -> str:
    if change.old is None or change.new is None:
        return "new" if change.old is None else "is left out"
    return f"{code(change.old, 200)} → {code(change.new, 200)}"


def _projects(place: str, old: Project | None, new: Project | None) -> Iterator[Change]:
    if old is not None and new is not None and old.git != new.git:
        yield Change(path=f"{place}git", old=old.git or "none", new=new.git or "none")
    before = {each.name: each for each in old.environments} if old else {}
    after = {each.name: each for each in new.environments} if new else {}
    for name in dict.fromkeys((*after, *before)):
        yield from _environments(f"{place}environments.{name}", before.get(name), after.get(name))


def _environments(place: str, old: Environment | None, new: Environment | None) -> Iterator[Change]:
    if old is None:
        yield Change(path=place, old=None, new=place)
    elif new is None:
        yield Change(path=place, old=place, new=None, weakens=_protected(old))
    else:
        for field in _FIELDS:
            before, after = getattr(old, field), getattr(new, field)
            if before != after:
                weaker = WEAKER.get(field, _never)(before, after)
                yield Change(path=f"{place}.{field}", old=_shown(before), new=_shown(after), weakens=weaker)


def _protected(environment: Environment) -> bool:
    """Whether anything stands between a push and this environment."""
    gates = (environment.approvals, environment.after, environment.deploy_from, environment.checks, environment.freeze)
    return not environment.auto_sync or any(gates)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# When a change weakens.


def _never(old: Any, new: Any) -> bool:
    return False


def _always(old: Any, new: Any) -> bool:
    return True


def _fewer(old: int, new: int) -> bool:
    return new < old


def _turned_on(old: bool, new: bool) -> bool:
    return new and not old


def _turned_off(old: bool, new: bool) -> bool:
    return old and not new


def _more_people(old: Sequence[str], new: Sequence[str]) -> bool:
    """No list at all means everybody with the role."""
    return bool(old) and (not new or not set(new) <= set(old))


def _fewer_demands(old: Sequence[str], new: Sequence[str]) -> bool:
    return not set(old) <= set(new)


def _other_than_before(old: str | None, new: str | None) -> bool:
    """Where there was none before, any is a demand more."""
    return old is not None


def _not_only_merged(old: str | None, new: str | None) -> bool:
    """`merged` is the strictest, then a pinned environment, then one that follows."""
    order = (None, "pull_request", "merged")
    return order.index(new) < order.index(old)


def _handed_over(old: Any, new: Any) -> bool:
    """What is adopted is written by others."""
    return new is not None


WEAKER: dict[str, Weaker] = {
    "branch": _always,
    "namespace": _always,
    "cluster": _always,
    "service_account": _always,
    "auto_sync": _turned_on,
    "approvals": _fewer,
    "approvers": _more_people,
    "deployers": _more_people,
    "reviews_count": _turned_on,
    "after": _other_than_before,
    "deploy_from": _not_only_merged,
    "forks": _turned_on,
    "name_commit": _turned_off,
    "up_to_date": _turned_off,
    "checks": _fewer_demands,
    "freeze": _fewer_demands,
    "adopt": _handed_over,
}
_FIELDS = tuple(field for field in Environment.__struct_fields__ if field not in ("name", "git"))
