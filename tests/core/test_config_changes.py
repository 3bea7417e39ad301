"""What a changed configuration changes, and what of it weakens the protection."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.config_changes import WEAKER, Change, difference, tell
from bot.core.repoconfig import Adopt, Config, Environment, Helm, Project, default

PRODUCTION = Environment(name="production", path="deploy", branch="main", service_account="sluice-production")
TWO = ("user:alice", "user:bob")


def config(*environments: Environment, project: str = "shop") -> Config:
    return Config(projects=(Project(name=project, environments=environments),))


def changed(field: str, old: Any, new: Any) -> list[Change]:
    before, after = [msgspec.structs.replace(PRODUCTION, **{field: value}) for value in (old, new)]
    return difference(config(before), config(after))


@pytest.mark.parametrize(
    ("field", "old", "new", "weakens"),
    [
        ("approvals", 2, 1, True),
        ("approvals", 1, 0, True),
        ("approvals", 0, 2, False),
        ("approvers", TWO, ("user:alice",), False),
        ("approvers", TWO, (*TWO, "user:eve"), True),
        ("approvers", TWO, ("user:eve",), True),
        ("approvers", TWO, (), True),
        ("approvers", (), TWO, False),
        ("deployers", ("role:maintain",), ("role:maintain", "role:write"), True),
        ("deployers", ("role:write",), (), True),
        ("deployers", (), ("role:maintain",), False),
        ("auto_sync", False, True, True),
        ("auto_sync", True, False, False),
        ("reviews_count", False, True, True),
        ("reviews_count", True, False, False),
        ("service_account", "web-deployer", "root", True),
        ("cluster", "default", "edge", True),
        ("namespace", "web", "kube-system", True),
        ("namespace", None, "web", True),
        ("branch", "main", "wild", True),
        ("forks", False, True, True),
        ("forks", True, False, False),
        ("name_commit", True, False, True),
        ("name_commit", False, True, False),
        ("up_to_date", True, False, True),
        ("up_to_date", False, True, False),
        ("after", "staging", None, True),
        ("after", "staging", "development", True),
        ("after", None, "staging", False),
        ("deploy_from", "merged", None, True),
        ("deploy_from", "merged", "pull_request", True),
        ("deploy_from", "pull_request", None, True),
        ("deploy_from", None, "merged", False),
        ("checks", ("ci/test", "ci/lint"), ("ci/test",), True),
        ("checks", ("ci/test",), ("ci/test", "ci/lint"), False),
        ("freeze", ("Fri 16:00 - Mon 08:00 UTC",), (), True),
        ("freeze", (), ("Fri 16:00 - Mon 08:00 UTC",), False),
        ("adopt", None, Adopt(namespace="flux-system", name="web"), True),
        ("path", "deploy", "apps/web", False),
        ("interval", "10m", "5m", False),
        ("timeout", "5m", "10m", False),
        ("kustomization", {}, {"wait": False}, False),
        ("helm", None, Helm(chart="charts/web"), False),
        ("region", None, "eu", False),
        ("cloud_provider", "aws", "gcp", False),
    ],
)
def test_one_field(field: str, old: Any, new: Any, weakens: bool) -> None:
    """Fewer approvals, more people, another account, cluster or namespace, …: each is a change, and some weaken."""
    [change] = changed(field, old, new)
    assert (change.path, change.weakens) == (f"environments.production.{field}", weakens)
    assert changed(field, old, old) == []


def test_every_field_is_compared() -> None:
    """A field that is added to the configuration is compared, and every rule is about one that exists."""
    fields = set(Environment.__struct_fields__)
    assert set(WEAKER) <= fields
    other: dict[type, Any] = {str: "other", bool: True, int: 3, tuple: ("user:x",), dict: {"x": 1}, type(None): "x"}
    for field in fields - {"name", "git"}:
        now = getattr(PRODUCTION, field)
        new = not now if isinstance(now, bool) else other[type(now)]
        if field == "deploy_from":
            new = "merged"
        assert [change.path for change in changed(field, now, new)] == [f"environments.production.{field}"]


def test_environments_that_come_and_go() -> None:
    """One that was protected and is left out could come again by another name: that weakens."""
    staging = msgspec.structs.replace(PRODUCTION, name="staging")
    gated = msgspec.structs.replace(PRODUCTION, auto_sync=False)
    assert difference(config(staging), config(staging, PRODUCTION)) == [
        Change(path="environments.production", old=None, new="environments.production")
    ]
    assert [each.weakens for each in difference(config(staging, PRODUCTION), config(staging))] == [False]
    assert [each.weakens for each in difference(config(staging, gated), config(staging))] == [True]


def test_several_projects() -> None:
    """Paths are those of errors; what is left out comes last."""
    web, api = config(PRODUCTION, project="web"), config(PRODUCTION, project="api")
    both = Config(projects=(*web.projects, *api.projects))
    assert [(each.path, each.new is None) for each in difference(both, api)] == [
        ("projects.web.environments.production", True)
    ]
    moved = config(msgspec.structs.replace(PRODUCTION, path="x"), project="web")
    after = Config(projects=(*moved.projects, *api.projects))
    assert [each.path for each in difference(both, after)] == ["projects.web.environments.production.path"]
    keyed = Config(projects=(msgspec.structs.replace(web.projects[0], git="deploy_key"),))
    assert difference(web, keyed) == [Change(path="git", old="none", new="deploy_key")]


def test_the_words() -> None:
    """Values are shown as code, and what weakens is marked."""
    assert tell(changed("service_account", "web-deployer", "root")) == (
        "- `environments.production.service_account`: `web-deployer` → `root` — **weakens**"
    )
    assert tell(changed("checks", (), ("a`b",))) == '- `environments.production.checks`: `[]` → ``["a`b"]``'
    many = [Change(path=f"environments.e{number}", old=None, new="x") for number in range(50)]
    assert tell(many).endswith("- and 10 more")


SOME = st.sampled_from(
    [PRODUCTION, *(msgspec.structs.replace(PRODUCTION, approvals=n, approvers=TWO[:n]) for n in (1, 2))]
)


@given(SOME, SOME)
def test_there_is_no_difference_to_itself(old: Environment, new: Environment) -> None:
    """Equal configurations have none, others have one, and going back is weakening where going was not."""
    there, back = difference(config(old), config(new)), difference(config(new), config(old))
    assert bool(there) == (old != new)
    assert [each.path for each in there] == [each.path for each in back]
    assert difference(default("main", "a/b"), default("main", "a/b")) == []
