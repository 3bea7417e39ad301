"""The GitHub adapter against the sandbox forge, over real Git repositories: every method of the port once."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from bot.core.errors import BranchMoved, UserError
from bot.core.ports import CommitStatus
from bot.core.roles import Role
from bot.forges.github import GitHub
from bot.http import Client
from bot.sandbox.forge import SandboxForge
from bot.sandbox.git import GitStore

URL = "http://sandbox.test"
FILES = {"README.md": b"# web\n", "deploy/production/a.yaml": b"a: 1\n"}
MARK = "<!-- sluice -->"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxForge]:
    forge = SandboxForge(GitStore(tmp_path), url=URL)
    yield forge
    forge.close()


async def test_every_method(sandbox: SandboxForge) -> None:
    for login in ("alice", "mallory"):
        sandbox.add_user(login)
    token = sandbox.add_user("sluice[bot]", "Bot")
    repo = sandbox.create_repository("acme", "web", FILES)
    sandbox.set_permission(repo, "sluice[bot]", "admin")
    sandbox.set_permission(repo, "alice", "maintain")
    transport = httpx2.ASGITransport(sandbox.app)
    forge = GitHub(client=Client(URL, authorization=f"Bearer {token}", transport=transport))

    base = sandbox.head(repo)
    assert base is not None
    await asked(forge, sandbox, repo, base)
    await told(forge, repo, base)
    await talked(forge, sandbox, repo)
    await judged(forge, sandbox, repo)
    await committed(forge, sandbox, repo)
    await forge.close()


async def committed(forge: GitHub, sandbox: SandboxForge, repo: str) -> None:
    """Commits of our own."""
    base, files = (
        sandbox.head(repo),
        {"deploy/dev/a.yaml": b"a: 1\n", "README.md": b"# new\n", "logo": bytes(range(256))},
    )
    assert base is not None
    made = await forge.commit_files(repo, "sluice/scaffold", base, files, "Add folders\n\nSluice-Run: 1")
    assert sandbox.head(repo, "sluice/scaffold") == made
    assert sandbox.store.info(repo, made).parents == (base,)
    assert sandbox.store.files(repo, made) == {**sandbox.store.files(repo, base), **files}
    assert await forge.find_commit(repo, "sluice/scaffold", "Sluice-Run: 1") == made
    assert await forge.find_commit(repo, "sluice/scaffold", "Sluice-Run: 2") is None
    theirs = sandbox.push(repo, "sluice/scaffold", {"b": b"theirs"}, by="alice")
    with pytest.raises(BranchMoved):
        await forge.commit_files(repo, "sluice/scaffold", made, {"b": b"ours"}, "late")
    assert sandbox.head(repo, "sluice/scaffold") == theirs

    number = await forge.create_pull_request(repo, "sluice/scaffold", "main", "Set it up", "With folders.")
    assert await forge.find_pull_request(repo, "sluice/scaffold") == number
    with pytest.raises(UserError, match="already exists"):
        await forge.create_pull_request(repo, "sluice/scaffold", "main", "Again", "")
    sandbox.merge_pull_request(repo, number, by="alice")
    assert await forge.find_pull_request(repo, "sluice/scaffold") is None


async def judged(forge: GitHub, sandbox: SandboxForge, repo: str) -> None:
    """What gates ask: teams, drafts, reviews, checks, authors, and which request brought a commit."""
    sandbox.add_to_team("acme/SRE", "alice")
    sandbox.add_to_team("acme/SRE", "mallory", state="pending")
    assert [await forge.in_team(repo, "acme/sre", login) for login in ("alice", "mallory", "acme")] == [
        True,
        False,
        False,
    ]
    sandbox.remove_from_team("acme/sre", "alice")
    assert await forge.in_team(repo, "acme/sre", "alice") is False

    base = sandbox.head(repo)
    assert base is not None
    sandbox.push(repo, "judged", {"j": b"1"}, by="alice")
    head = sandbox.push(repo, "judged", {"j": b"2"}, by="alice", author="Nobody We Know <x@example.test>")
    number = sandbox.open_pull_request(repo, "judged", "main", "Judge", by="alice", draft=True)
    authors = await forge.commit_authors(repo, base, head)
    assert [each.login for each in authors] == ["alice", None]
    assert authors[0].account_id == sandbox.account_id("alice")
    assert await forge.merge_base(repo, base, head) == base
    draft = await forge.pull_request(repo, number)
    assert draft is not None
    assert (draft.draft, draft.author_id) == (True, sandbox.account_id("alice"))
    sandbox.set_draft(repo, number, by="alice", draft=False)

    review = sandbox.review(repo, number, by="acme")
    asked = sandbox.review(repo, number, by="mallory", event="REQUEST_CHANGES", commit=base)
    sandbox.review(repo, number, by="mallory", event="COMMENT")
    sandbox.dismiss_review(repo, number, review, by="alice")
    assert [(each.id, each.commit, each.verdict) for each in await forge.reviews(repo, number)] == [
        (str(review), head, "dismissed"),
        (str(asked), base, "changes_requested"),
    ]

    for state in ("pending", "failure", "success"):
        sandbox.add_status(repo, head, state, "ci/build", by="alice")
    sandbox.add_check_run(repo, head, "e2e", by="alice", status="in_progress", conclusion=None)
    assert await forge.checks(repo, head) == {"ci/build": "success", "e2e": "pending"}
    sandbox.add_check_run(repo, head, "e2e", by="alice")
    assert await forge.checks(repo, head) == {"ci/build": "success", "e2e": "success"}

    for comment, on_commit in ((sandbox.comment(repo, number, "hi", by="alice"), False),):
        await forge.react(repo, str(comment), on_commit=on_commit)
        await forge.react(repo, str(comment), on_commit=on_commit)
        assert sandbox.reactions(repo, comment) == [("sluice[bot]", "eyes")]
    comment = sandbox.comment_on_commit(repo, base, "hi", by="alice")
    await forge.react(repo, str(comment))
    assert sandbox.reactions(repo, comment) == []
    await forge.react(repo, str(comment), on_commit=True)
    assert sandbox.reactions(repo, comment) == [("sluice[bot]", "eyes")]

    sandbox.create_branch(repo, "release", base, by="alice")
    sandbox.retarget(repo, number, "release", by="alice")
    made = sandbox.merge_pull_request(repo, number, by="alice")
    merged = await forge.pull_request(repo, number)
    assert merged is not None
    assert (merged.state, merged.base_branch, merged.merge_commit) == ("merged", "release", made)
    assert [await forge.merged_pull_request(repo, each) for each in (made, head, base)] == [number, number, None]
    assert len(sandbox.store.info(repo, made).parents) == 2


async def asked(forge: GitHub, sandbox: SandboxForge, repo: str, base: str) -> None:
    """The asking half."""
    head = sandbox.push(repo, "feature/x", {"deploy/production/b.yaml": b"b: 1\n"}, by="alice")
    number = sandbox.open_pull_request(repo, "feature/x", "main", "Add b", by="alice")
    found = await forge.repository(repo)
    assert found is not None
    assert (found.full_name, found.default_branch, found.clone_url) == (repo, "main", f"{URL}/{repo}.git")
    assert await forge.repository("acme/nothing") is None
    roles = {login: await forge.role(repo, login) for login in ("acme", "alice", "mallory", "nobody")}
    assert (roles["acme"], roles["alice"], roles["nobody"]) == (Role.ADMIN, Role.APPROVER, Role.NONE)
    assert roles["mallory"] <= Role.VIEWER
    pull = await forge.pull_request(repo, number)
    assert pull is not None
    assert (pull.state, pull.head, pull.head_branch, pull.base_branch) == ("open", head, "feature/x", "main")
    assert await forge.open_pull_requests(repo) == [pull]
    assert await forge.pull_request(repo, 99) is None
    assert await forge.branch_head(repo, "feature/x") == head
    assert await forge.branch_head(repo, "nothing") is None
    assert await forge.commit(repo, head[:8]) == head
    assert await forge.commit(repo, "00000000") is None
    pairs = [(base, head), (head, base), (base, "a" * 40)]
    assert [await forge.is_ancestor(repo, *pair) for pair in pairs] == [True, False, False]
    tree = await forge.tree(repo, head)
    assert {"", "README.md", "deploy/production", "deploy/production/b.yaml"} <= set(tree.entries)
    assert await forge.blob(repo, tree.entries["deploy/production/b.yaml"].oid) == b"b: 1\n"
    with pytest.raises(UserError):
        await forge.tree(repo, "a" * 40)


async def told(forge: GitHub, repo: str, base: str) -> None:
    """Statuses, branches and hooks."""
    for phase in ("waiting", "applying", "succeeded", "superseded"):
        wish = CommitStatus(context="sluice/production", phase=phase, text="x" * 500, url="https://s.test/1")
        await forge.set_status(repo, base, wish)
        assert (await forge.statuses(repo, base, "sluice/production"))[0] == forge.shown(wish)
    with pytest.raises(UserError):
        await forge.set_status(repo, "a" * 40, wish)
    head = await forge.branch_head(repo, "feature/x")
    assert head is not None
    for commit in (base, head, base, base):
        await forge.set_branch(repo, "sluice/keep/web/production", commit)
        assert await forge.branch_head(repo, "sluice/keep/web/production") == commit
    await forge.delete_branch(repo, "sluice/keep/web/production")
    await forge.delete_branch(repo, "sluice/keep/web/production")
    one = await forge.register_hook(repo, "http://127.0.0.1:1/webhooks/github", "first")
    two = await forge.register_hook(repo, "http://127.0.0.1:1/webhooks/github", "second")
    assert one == two


async def talked(forge: GitHub, sandbox: SandboxForge, repo: str) -> None:
    """Comments: more than a page of other people's, one of ours, and one that is gone."""
    for number in range(120):
        sandbox.comment(repo, 1, f"{number} {MARK}", by="alice")
    assert await forge.find_comment(repo, 1, MARK) is None
    made = await forge.create_comment(repo, 1, f"hello {MARK}")
    assert await forge.find_comment(repo, 1, MARK) == made
    assert await forge.edit_comment(repo, made, f"changed {MARK}") is True
    assert sandbox.comments(repo, 1)[-1].body == f"changed {MARK}"
    sandbox.delete_comment(repo, int(made), by="sluice[bot]")
    assert await forge.edit_comment(repo, made, "again") is False
    assert await forge.own_login() == "sluice[bot]"
