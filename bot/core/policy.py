"""The operator's limits: which repositories may use which clusters, namespaces, accounts and roles."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec

from bot.core.fields import Reader
from bot.core.policy_fields import EVERYBODY, POLICY
from bot.core.repoconfig import Environment
from bot.core.roles import Role

DEFAULT_CLUSTER = "default"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What the repositories that match may do."""

    match: tuple[str, ...]
    clusters: tuple[str, ...] = (DEFAULT_CLUSTER,)
    namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    adopt: tuple[str, ...] = ()
    highest_role: Mapping[str, str] = {}  # by login; EVERYBODY for the others


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules in their order. None: there is no policy, only what Sluice itself makes may be used.

    With `allow_cluster_admin` an environment may have Flux apply without impersonation.
    """

    rules: tuple[Rule, ...] | None = None
    allow_cluster_admin: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """Why an environment is not allowed."""

    code: str
    text: str


FREE = Rule(match=("**",), clusters=("*",))  # without a policy: every cluster that the operator configured
NOTHING = Rule(match=("**",), clusters=(), highest_role={EVERYBODY: "viewer"})


def parse(content: bytes, file: str, *, allow_cluster_admin: bool = False) -> Policy:
    """The policy of a file; UserError `policy_invalid` names line, column and field."""
    reader = Reader(file, "policy_invalid")
    fields = reader.read(content, POLICY)
    rules = tuple(_rule(each) for each in fields["repositories"])
    for number, rule in enumerate(rules):
        if rule.highest_role and EVERYBODY not in rule.highest_role:
            reader.refuse_at(f"repositories[{number}].highest_role", 'must say "*", for everybody else')
    return Policy(rules=rules, allow_cluster_admin=allow_cluster_admin)


def rule_for(policy: Policy, repository: str) -> Rule:
    """The first rule that matches `FORGE:OWNER/NAME`."""
    if policy.rules is None:
        return FREE
    return next((rule for rule in policy.rules if _matches(rule, repository)), NOTHING)


def refusals(policy: Policy, repository: str, environment: Environment) -> list[Refusal]:
    """Everything that the policy does not allow an environment of `FORGE:OWNER/NAME`."""
    return list(_refusals(policy, rule_for(policy, repository), environment))


def capped(policy: Policy, repository: str, login: str, role: Role) -> Role:
    """The role that somebody has, which is never higher than the policy says."""
    highest = rule_for(policy, repository).highest_role
    limit = next((word for name, word in highest.items() if name.lower() == login.lower()), highest.get(EVERYBODY))
    return min(role, Role[limit.upper()]) if limit else role


def digest(policy: Policy, repository: str) -> str:
    """SHA-256 over what the policy says of one repository: others' rules may change without any harm to it."""
    rule = msgspec.structs.replace(rule_for(policy, repository), match=())
    canonical = msgspec.json.encode({"rule": rule, "admin": policy.allow_cluster_admin}, order="sorted")
    return hashlib.sha256(canonical).hexdigest()


def _rule(fields: Mapping[str, Any]) -> Rule:
    highest = fields.get("highest_role", {})
    return Rule(**{**fields, "highest_role": {EVERYBODY: highest} if isinstance(highest, str) else highest})


def _refusals(policy: Policy, rule: Rule, environment: Environment) -> Iterator[Refusal]:
    if not _allows(rule.clusters, environment.cluster):
        yield _no("cluster_not_allowed", environment, f"the cluster `{environment.cluster}`")
    if environment.adopt is not None:
        wanted = f"{environment.adopt.namespace}/{environment.adopt.name}"
        if not _allows(rule.adopt, wanted):
            yield _no("not_permitted", environment, f"to adopt `{wanted}`")
        return  # it is the owner's business where it goes, and as whom
    if environment.namespace is not None and not _allows(rule.namespaces, environment.namespace):
        what = f"the namespace `{environment.namespace}`; without `namespace` Sluice makes one"
        yield _no("namespace_not_allowed", environment, what)
    if environment.service_account == "" and not policy.allow_cluster_admin:
        what = "to be applied without a service account; leave `service_account` out, then Sluice makes one"
        yield _no("service_account_required", environment, what)
    if _foreign_account(rule, environment):
        what = f"the service account `{environment.service_account}`; without `service_account` Sluice makes one"
        yield _no("service_account_not_allowed", environment, what)


def _foreign_account(rule: Rule, environment: Environment) -> bool:
    account = environment.service_account
    return account != "" and not environment.own_account and not _allows(rule.service_accounts, account)


def _no(code: str, environment: Environment, what: str) -> Refusal:
    return Refusal(code, f"`{environment.name}`: the operator does not allow this repository {what}")


def _matches(rule: Rule, repository: str) -> bool:
    full_name = repository.partition(":")[2]
    return any(_fits(pattern.lower(), (repository if ":" in pattern else full_name).lower()) for pattern in rule.match)


def _allows(patterns: tuple[str, ...], name: str) -> bool:
    """Whether a pattern fits. What runs the cluster itself is never meant by a wildcard."""
    if name in patterns:
        return True
    first = name.partition("/")[0]
    if first == "flux-system" or first.startswith("kube-"):
        patterns = tuple(pattern for pattern in patterns if pattern.startswith(f"{first}/"))
    return any(_fits(pattern, name) for pattern in patterns)


def _fits(pattern: str, text: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """`*` and `?` stop at a slash, `**` does not."""
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*|\?)", pattern)))
