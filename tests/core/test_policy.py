"""The operator's policy: which rule decides, what it allows, and how it caps roles."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import UserError
from bot.core.policy import Policy, capped, digest, parse, refusals
from bot.core.repoconfig import Adopt, Environment
from bot.core.roles import Role

SHOP = "github:acme/shop"
POLICY = b"""
version: 1
repositories:
  - match: acme/shop
    clusters: [default, "edge-*"]
    namespaces: ["shop-*", kube-public]
    service_accounts: [shop-deployer]
    adopt: ["flux-system/shop-*", "apps/*"]
    highest_role: { "*": approver, Alice: admin }
  - match: ["acme/*", "gitea:tools/**"]
    highest_role: deployer
  - match: wide/**
    clusters: ["*"]
    namespaces: ["*"]
    service_accounts: ["*"]
    adopt: ["*/*"]
"""


def wanted(**fields: object) -> Environment:
    given = {"name": "dev", "path": "deploy", "branch": "main", "service_account": "sluice-dev", **fields}
    return Environment(**given)  # type: ignore[arg-type]


def codes(repository: str, policy: Policy | None = None, **fields: object) -> list[str]:
    limits = parse(POLICY, "policy.yaml") if policy is None else policy
    return [each.code for each in refusals(limits, repository, wanted(**fields))]


@pytest.mark.parametrize(
    ("repository", "fields", "expected"),
    [
        (SHOP, {}, []),
        (SHOP, {"cluster": "edge-2", "namespace": "shop-dev", "service_account": "shop-deployer"}, []),
        (SHOP, {"cluster": "prod"}, ["cluster_not_allowed"]),
        (SHOP, {"namespace": "web"}, ["namespace_not_allowed"]),
        (SHOP, {"namespace": "kube-public"}, []),
        (SHOP, {"service_account": "sluice-production"}, ["service_account_not_allowed"]),
        (
            SHOP,
            {"cluster": "prod", "namespace": "web", "service_account": "root"},
            ["cluster_not_allowed", "namespace_not_allowed", "service_account_not_allowed"],
        ),
        (SHOP, {"service_account": ""}, ["service_account_required"]),
        (SHOP, {"adopt": Adopt(namespace="flux-system", name="shop-web")}, []),
        (SHOP, {"adopt": Adopt(namespace="flux-system", name="web")}, ["not_permitted"]),
        (SHOP, {"adopt": Adopt(namespace="apps", name="web")}, []),
        ("github:ACME/Shop", {"namespace": "shop-dev"}, []),
        ("gitea:acme/shop", {"namespace": "shop-dev"}, []),
        ("github:acme/web", {}, []),
        ("github:acme/web", {"namespace": "shop-dev"}, ["namespace_not_allowed"]),
        ("github:acme/a/b", {}, ["cluster_not_allowed"]),
        ("gitea:tools/a/b", {}, []),
        ("github:tools/a/b", {}, ["cluster_not_allowed"]),
        ("github:other/web", {}, ["cluster_not_allowed"]),
        ("github:wide/a", {"cluster": "x", "namespace": "y", "service_account": "z"}, []),
        ("github:wide/a", {"namespace": "flux-system"}, ["namespace_not_allowed"]),
        ("github:wide/a", {"namespace": "kube-system"}, ["namespace_not_allowed"]),
        ("github:wide/a", {"adopt": Adopt(namespace="flux-system", name="web")}, ["not_permitted"]),
        ("github:wide/a", {"adopt": Adopt(namespace="apps", name="web")}, []),
    ],
)
def test_what_is_allowed(repository: str, fields: dict[str, object], expected: list[str]) -> None:
    assert codes(repository, **fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"cluster": "edge"}, []),
        ({"namespace": "web"}, ["namespace_not_allowed"]),
        ({"service_account": "web"}, ["service_account_not_allowed"]),
        ({"service_account": ""}, ["service_account_required"]),
        ({"adopt": Adopt(namespace="apps", name="web")}, ["not_permitted"]),
    ],
)
def test_without_a_policy_only_what_sluice_makes(fields: dict[str, object], expected: list[str]) -> None:
    assert codes(SHOP, Policy(), **fields) == expected


def test_no_impersonation_is_the_operators_decision() -> None:
    assert codes(SHOP, Policy(allow_cluster_admin=True), service_account="") == []
    assert codes(SHOP, parse(POLICY, "p", allow_cluster_admin=True), service_account="") == []


@pytest.mark.parametrize(
    ("repository", "login", "has", "expected"),
    [
        (SHOP, "alice", Role.ADMIN, Role.ADMIN),
        (SHOP, "ALICE", Role.ADMIN, Role.ADMIN),
        (SHOP, "alice", Role.VIEWER, Role.VIEWER),
        (SHOP, "bob", Role.ADMIN, Role.APPROVER),
        (SHOP, "bob", Role.DEPLOYER, Role.DEPLOYER),
        ("github:acme/web", "alice", Role.ADMIN, Role.DEPLOYER),
        ("github:wide/a", "bob", Role.ADMIN, Role.ADMIN),
        ("github:other/a", "bob", Role.ADMIN, Role.VIEWER),
        ("github:other/a", "bob", Role.NONE, Role.NONE),
    ],
)
def test_roles_are_capped(repository: str, login: str, has: Role, expected: Role) -> None:
    assert capped(parse(POLICY, "p"), repository, login, has) is expected
    assert capped(Policy(), repository, login, has) is has


def test_the_digest_is_of_what_concerns_the_repository() -> None:
    before = parse(POLICY, "p")
    changed = parse(POLICY.replace(b"highest_role: deployer", b"highest_role: viewer"), "p")
    assert digest(before, SHOP) == digest(changed, SHOP)
    assert digest(before, "github:acme/web") != digest(changed, "github:acme/web")
    assert digest(before, SHOP) != digest(parse(POLICY, "p", allow_cluster_admin=True), SHOP)
    assert digest(Policy(), SHOP) != digest(before, SHOP)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1, column 1: the file is empty"),
        ("version: 1", "line 1, column 1: repositories is missing"),
        ("version: 1\nrepositories: {}", "line 2, column 15: repositories must be a list"),
        ("version: 1\nrepositories:\n- {}", "line 3, column 3: repositories[0].match is missing"),
        (
            "version: 1\nrepositories:\n- {match: 'a b'}",
            "line 3, column 11: repositories[0].match must be like acme/shop",
        ),
        (
            "version: 1\nrepositories:\n- {match: [a/b, a/b]}",
            "line 3, column 17: repositories[0].match[1] is there twice",
        ),
        (
            "version: 1\nrepositories:\n- {match: a/b, namespace: [x]}",
            "line 3, column 16: repositories[0].namespace is not known here; did you mean `namespaces`?",
        ),
        (
            "version: 1\nrepositories:\n- {match: a/b, highest_role: boss}",
            "line 3, column 30: repositories[0].highest_role cannot be `boss`; known are viewer",
        ),
        (
            "version: 1\nrepositories:\n- {match: a/b, highest_role: {alice: admin}}",
            'line 3, column 30: repositories[0].highest_role must say "*", for everybody else',
        ),
    ],
)
def test_a_broken_policy_names_line_and_field(content: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(content.encode(), "policy.yaml")
    assert caught.value.code == "policy_invalid"
    assert caught.value.message.startswith(f"policy.yaml {message}")


@given(st.text(alphabet="ab/*?", max_size=12), st.text(alphabet="ab/", max_size=8))
def test_patterns_are_those_of_the_docs(pattern: str, text: str) -> None:
    """`*` and `?` stop at a slash, `**` does not."""
    limits = f"version: 1\nrepositories: [{{match: '{pattern}', clusters: [default]}}]".encode()
    try:
        found = parse(limits, "p")
    except UserError:
        return
    expected = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    assert (codes(f"github:{text}", found) == []) == bool(re.fullmatch(expected, text))
