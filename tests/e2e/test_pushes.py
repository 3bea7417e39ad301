"""Pushes on the real servers: in quick succession, of no interest, to what environments share, with force."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.harness import ENVIRONMENTS, TERMINAL, Shop, Sluice, kustomization, settings_of
from tests.servers.gitea_account import Account, Files
from tests.servers.objects import Objects

pytestmark = pytest.mark.e2e

REQUESTED = "reconcile.fluxcd.io/requestedAt"
LITTLE: Files = {
    "README.md": "# Shop\n",
    ".sluice.yaml": "version: 1\nenvironments:\n  development: {path: deploy/development}\n",
    "deploy/development/kustomization.yaml": kustomization("settings.yaml"),
    "deploy/development/settings.yaml": settings_of("development"),
}
"""One environment with a ConfigMap: it is live as soon as it is applied. The fixture `little` has it, enabled."""


# What the tests of this folder ask in common.


def one_end(shop: Shop, commit: str, environment: str) -> tuple[str, str]:
    """The one terminal status of an environment on a commit, after which nothing was said."""
    said = shop.statuses(commit, environment)
    ends = [each for each in said if each[0] in TERMINAL]
    assert len(ends) == 1, f"not one end of {environment} on {commit[:7]}: {said}"
    assert said[-1] == ends[0], f"the end of {environment} on {commit[:7]} is not the last word: {said}"
    return ends[0]


def settle(shop: Shop, seconds: float = 60) -> None:
    """Return when Sluice has nothing more to do or to say about the repository."""
    try:
        shop.until(lambda: not _left(shop), f"nothing is left to do for {shop.repository}", seconds)
    except TimeoutError as error:
        raise TimeoutError(f"{error}; there is {_left(shop)}") from None


def _left(shop: Shop) -> list[tuple[object, ...]]:
    """What is not done yet: kind, state, what it is, and when it is looked at next."""
    placeholders = ", ".join(f"'{each}'" for each in ("succeeded", "failed", "timed_out", "superseded", "cancelled"))
    mine = "repository_id IN (SELECT id FROM repositories WHERE full_name = ?)"
    return shop.sluice.query(
        f"""SELECT 'delivery', status, event, attempts, due_at FROM deliveries WHERE status = 'recorded'
        UNION ALL SELECT 'run', status, name, attempts, due_at FROM runs
            WHERE status IN ('queued', 'running') AND {mine}
        UNION ALL SELECT 'notification', status, kind, attempts, due_at FROM notifications
            WHERE status = 'queued' AND {mine}
        UNION ALL SELECT 'deployment', deployments.status, commit_hash, attempts, due_at FROM deployments
            JOIN environments ON environments.id = deployments.environment_id
            JOIN projects ON projects.id = environments.project_id
            WHERE deployments.status NOT IN ({placeholders}) AND projects.{mine}""",
        *[shop.repository] * 3,
    )


def looked_at(shop: Shop, commit: str, text: str = "", count: int = 1) -> list[str]:
    """What Sluice says of the runs that this commit led to, as soon as so many have ended."""

    def ended() -> list[str] | None:
        rows = shop.sluice.query(
            "SELECT runs.text FROM runs JOIN repositories ON repositories.id = runs.repository_id"
            " WHERE repositories.full_name = ? AND runs.name = 'follow' AND runs.key LIKE ?"
            " AND runs.finished_at IS NOT NULL",
            shop.repository,
            f"%:{commit}:%",
        )
        return [str(row[0]) for row in rows] if len(rows) >= count else None

    texts = shop.until(ended, f"Sluice has looked at {commit[:7]}")
    assert all(text in each for each in texts), texts
    return texts


def deployments(shop: Shop, environment: str = "development") -> list[tuple[str, str]]:
    """Commit and state of all deployments of an environment, oldest first."""
    return [
        (str(commit), str(status))
        for commit, status in shop.sluice.query(
            "SELECT commit_hash, deployments.status FROM deployments"
            " JOIN environments ON environments.id = deployments.environment_id"
            " JOIN projects ON projects.id = environments.project_id"
            " JOIN repositories ON repositories.id = projects.repository_id"
            " WHERE full_name = ? AND environments.name = ? ORDER BY number",
            shop.repository,
            environment,
        )
    ]


def ask_flux(shop: Shop, kind: str, name: str, by: Objects | None = None) -> None:
    """`flux reconcile`, as the administrator or as somebody else, and return when that was carried out."""
    token = datetime.now(UTC).isoformat()
    (by or shop.plane.admin).patch(kind, name, {"metadata": {"annotations": {REQUESTED: token}}}, shop.namespace)
    shop.plane.admin.wait(
        kind,
        name,
        shop.namespace,
        lambda found: (found.get("status") or {}).get("lastHandledReconcileAt") == token,
    )


def value(shop: Shop, environment: str = "development", key: str = "n") -> str | None:
    """What the ConfigMap `settings` of an environment says."""
    found = shop.in_target(environment, "ConfigMap", "settings") or {}
    return (found.get("data") or {}).get(key)


def development(n: str) -> Files:
    """A change of development's settings."""
    return {"deploy/development/settings.yaml": settings_of("development", n=n)}


def news() -> str:
    """What no test has said before: in a repository that others had, only that is a change."""
    return f"n-{uuid.uuid4().hex[:8]}"


def readme() -> Files:
    """A change of what development is not made of."""
    return {"README.md": f"# Shop\n\n{news()}\n"}


def is_clean(shop: Shop) -> bool:
    """Whether the next test may have this repository: development is live at main's head, and nothing else is left."""
    settle(shop)
    requests = list(shop.owner.pages(f"/repos/{shop.repository}/pulls", state="open"))
    kept = [name for name in shop.owner.branches(shop.repository) if name.startswith("sluice/")]
    source = shop.kustomization("development")["spec"]["sourceRef"]["name"]
    at_head = source == "branch-main" and shop.live("development") == shop.head()
    return at_head and len(requests) == 1 and not kept


# The tests.


@contextmanager
def held(sluice: Sluice) -> Iterator[None]:
    """Sluice learns of all that happens inside at once, at the end."""
    sluice.pause()
    try:
        yield
    finally:
        sluice.resume()


def test_two_quick_pushes(little: Shop) -> None:
    """The newest wins, and the other one says what overtook it."""
    last = news()
    with held(little.sluice):
        older, newer = little.push(development(news())), little.push(development(last))
    assert little.ended(newer, "development")[0] == "success"
    little.ended(older, "development")
    settle(little)
    assert one_end(little, older, "development") == ("skipped", f"Superseded by {newer[:7]}")
    assert one_end(little, newer, "development")[0] == "success"
    assert (little.live("development"), value(little)) == (newer, last)


def test_pushes_as_fast_as_they_come(little: Shop) -> None:
    """Whatever Sluice made of each on the way, each has one end, and the newest is live."""
    said = [news() for _ in range(4)]
    commits = [little.push(development(each)) for each in said]
    assert little.ended(commits[-1], "development")[0] == "success"
    settle(little)
    assert one_end(little, commits[-1], "development")[0] == "success"
    assert (little.live("development"), value(little)) == (commits[-1], said[-1])
    for each in commits[:-1]:
        state, text = one_end(little, each, "development")
        assert state == "success" or text.startswith("Superseded by "), text


def test_two_quick_pushes_of_equal_inputs(little: Shop) -> None:
    """The second changes nothing that development is made of: the first goes live as a part of it."""
    change = news()
    little.plane.stop_source_controller()
    try:
        older = little.push(development(change))
        little.pending(older, "development", "Reconciling")
        newer = little.push(readme())
        looked_at(little, newer)
    finally:
        little.plane.start_source_controller()
    state, text = little.ended(older, "development")
    settle(little)
    assert state == "success"
    assert text.startswith(f"Live as part of {newer[:7]}")
    assert one_end(little, older, "development") == (state, text)
    assert little.contexts(newer) == set()
    assert (little.live("development"), value(little)) == (newer, change)


def test_equal_inputs_that_come_at_once(little: Shop) -> None:
    """Sluice learns of both together: the change is live in the end, and says so on the commit that made it."""
    change = news()
    with held(little.sluice):
        older, newer = little.push(development(change)), little.push(readme())
    state, text = little.ended(older, "development")
    settle(little)
    assert one_end(little, older, "development") == (state, text)
    assert state == "success"
    assert text.startswith(f"Live as part of {newer[:7]}")
    if little.statuses(newer, "development"):
        assert one_end(little, newer, "development")[0] == "success"
    assert (little.live("development"), value(little)) == (newer, change)


def test_a_readme_moves_flux_and_nothing_else(little: Shop) -> None:
    """No deployment and no status, although Flux applies the commit."""
    before = deployments(little)
    commit = little.push(readme())
    looked_at(little, commit, "nothing that development is made of changed")
    ask_flux(little, "GitRepository", "branch-main")
    little.until(lambda: little.live("development") == commit, "Flux has applied the README's commit")
    settle(little)
    assert little.contexts(commit) == set()
    assert deployments(little) == before
    after = little.push(development(news()))
    assert little.ended(after, "development")[0] == "success"


def test_a_shared_base_rolls_out_to_all_that_use_it(sluice: Sluice) -> None:
    """It lies outside of every environment's path; the one that does not use it hears nothing."""
    start = {"deploy/base/kustomization.yaml": kustomization("settings.yaml")}
    start["deploy/base/settings.yaml"] = settings_of("all", n="1")
    start |= {f"deploy/{each}/kustomization.yaml": kustomization("../base") for each in ENVIRONMENTS}
    start["deploy/production/kustomization.yaml"] = kustomization("settings.yaml")
    start["deploy/production/settings.yaml"] = settings_of("production")
    shop = Shop(sluice, start)
    shop.enable()
    commit = shop.push({"deploy/base/settings.yaml": settings_of("all", n="2")})
    for each in ("development", "staging"):
        assert shop.ended(commit, each)[0] == "success"
        assert value(shop, each) == "2"
    looked_at(shop, commit, count=3)
    settle(shop)
    assert shop.contexts(commit) == {"sluice/development", "sluice/staging"}
    assert value(shop, "production") is None


def test_a_force_push_back_to_an_older_commit(little: Shop) -> None:
    """Also an old commit is news when the branch goes back to it."""
    old = little.head()
    before, was, made = little.statuses(old, "development"), value(little), len(deployments(little))
    new = little.push(development(news()))
    assert little.ended(new, "development")[0] == "success"
    little.owner.move_branch(little.repository, "main", old)
    little.until(lambda: len(deployments(little)) == made + 2, "a deployment of the older commit")
    settle(little)
    said = little.statuses(old, "development")
    assert said[: len(before)] == before
    assert [state for state, _ in said[len(before) :] if state in TERMINAL] == ["success"]
    assert said[-1][0] == "success"
    assert (little.live("development"), value(little)) == (old, was)
    assert one_end(little, new, "development")[0] == "success"


def test_a_force_push_while_flux_is_slow(little: Shop) -> None:
    """What was taken back before it went live is superseded by what took its place."""
    old, last = little.head(), news()
    little.plane.stop_source_controller()
    try:
        new = little.push(development(news()))
        little.pending(new, "development", "Reconciling")
        other = little.owner.force_push(little.repository, "main", development(last), onto=old)
        little.pending(other, "development")
    finally:
        little.plane.start_source_controller()
    assert little.ended(other, "development")[0] == "success"
    little.ended(new, "development")
    settle(little)
    assert one_end(little, new, "development") == ("skipped", f"Superseded by {other[:7]}")
    assert one_end(little, other, "development")[0] == "success"
    assert (little.live("development"), value(little)) == (other, last)


def test_a_force_push_to_an_unrelated_commit(little: Shop) -> None:
    """The branch has nothing in common with what was live."""
    last = news()
    commit = _push_unrelated(little.owner, little.repository, {**LITTLE, **development(last)})
    assert little.ended(commit, "development")[0] == "success"
    settle(little)
    assert one_end(little, commit, "development")[0] == "success"
    assert (little.live("development"), value(little)) == (commit, last)


def _push_unrelated(account: Account, repository: str, content: Files) -> str:
    """Push, with force, a commit without parents to `main`."""
    place = urlsplit(account.url)
    remote = f"{place.scheme}://{account.name}:{account.token}@{place.netloc}/{repository}.git"
    with tempfile.TemporaryDirectory(prefix="sluice-push-") as name:
        folder = Path(name)
        for path, text in content.items():
            assert isinstance(text, str)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        who = ("-c", f"user.name={account.name}", "-c", f"user.email={account.name}@example.com")
        for words in (
            ("init", "--quiet", "--initial-branch=main"),
            ("add", "--all"),
            (*who, "commit", "--quiet", "-m", "From the beginning"),
            ("push", "--quiet", "--force", remote, "main"),
            ("rev-parse", "HEAD"),
        ):
            done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr.replace(account.token, "***")
        return done.stdout.strip()
