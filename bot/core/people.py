"""Who may do what: a person's role and teams on the forge against an environment's lists."""

from collections.abc import Iterable

import msgspec

from bot.core.conversation import code
from bot.core.reasons import Reason, passes, refuses
from bot.core.roles import Role
from bot.core.rules import Rules, Words

OPERATOR = "operator:"  # before the name of an operating-system user; no forge lets a login have a colon
ROLES = {"read": Role.VIEWER, "write": Role.DEPLOYER, "maintain": Role.APPROVER, "admin": Role.ADMIN}


class Person(msgspec.Struct, frozen=True):
    """Somebody as the forge tells it now. `id` is the forge's own id of the account; `teams` are those that were asked
    for, as ORGANIZATION/TEAM."""

    login: str
    id: str
    role: Role
    teams: frozenset[str] = frozenset()


def is_operator(login: str) -> bool:
    """Whether somebody speaks on Sluice's own command line."""
    return login.startswith(OPERATOR)


def operator(login: str) -> Person:
    """Whoever has Sluice's settings may do everything, whatever an environment's lists say."""
    return Person(login, login, Role.ADMIN)


def teams_named(*lists: Iterable[Words]) -> set[str]:
    """The teams that lists of words name: those to ask the forge about."""
    words = (word for several in lists for each in several for word in each)
    return {word.removeprefix("team:") for word in words if word.startswith("team:")}


def has_role(person: Person, needed: Role) -> Reason:
    """Whether the role on the forge is enough."""
    has = f"{code(person.login, 60)} has the role {person.role.label}"
    if person.role >= needed:
        return passes("not_permitted", has)
    return refuses("not_permitted", f"{has}, and this needs {needed.label}; ask somebody who has it")


def may_deploy(person: Person, rules: Rules) -> Reason:
    """Whether somebody may bring things to the environment: the role deployer, and every list of deployers."""
    return _may(person, rules.deployers, Role.DEPLOYER, "deployers")


def may_approve(person: Person, rules: Rules) -> Reason:
    """Whether somebody's voice counts: the role approver, or named by every list of approvers and able to write.

    A forge without a role between write and admin (Gitea) can so let a writer approve.
    """
    return _may(person, rules.approvers, Role.APPROVER, "approvers")


def _may(person: Person, lists: tuple[Words, ...], usual: Role, field: str) -> Reason:
    if is_operator(person.login):
        return passes("not_permitted", f"{code(person.login, 60)} operates Sluice")
    for words in lists:
        allowed = has_role(person, Role.DEPLOYER if words else usual)
        if allowed.passed and words and not any(_named(person, word) for word in words):
            named = ", ".join(code(word, 80) for word in words[:5]) + (", …" if len(words) > 5 else "")
            allowed = refuses(
                "not_permitted", f"{code(person.login, 60)} is none of the {field} ({named}); ask one of them"
            )
        if not allowed.passed:
            return allowed
    named = ", and is one of the " + field if any(lists) else ""
    return passes("not_permitted", has_role(person, Role.NONE).text + named)


def _named(person: Person, word: str) -> bool:
    kind, _, name = word.partition(":")
    if kind == "role":
        return person.role >= ROLES[name]
    names = {person.login} if kind == "user" else person.teams
    return name.lower() in {each.lower() for each in names}
