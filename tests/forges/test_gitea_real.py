"""The Gitea adapter against a real Gitea: every method of the port, and the deliveries that it sends."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.core.deployments import Phase
from bot.core.errors import BranchMoved, UserError
from bot.core.events import Commented, PullRequestChanged, Pushed
from bot.core.ports import CommitStatus
from bot.core.roles import Role
from bot.forges.gitea import Gitea
from tests.servers.gitea import Gitea as Server
from tests.servers.waiting import until

pytestmark = pytest.mark.e2e

MARK = "<!-- sluice -->"
KEPT = "sluice/keep/web/production"
HOOK = "http://127.0.0.1:9/webhooks/gitea/1"  # nobody listens there; the server keeps what it tried to send


@pytest.fixture
def server(gitea: Server) -> Server:
    """The one of the whole run."""
    return gitea


@pytest.fixture
async def forge(server: Server) -> AsyncIterator[Gitea]:
    made = Gitea(server.url, server.bot.token)
    yield made
    await made.close()


async def test_asking(server: Server, forge: Gitea) -> None:
    repo = server.create_repository("asking", {"README.md": "# x\n", "a-b": "1", "a/c": "2", "deploy/x.yaml": "x: 1\n"})
    base = server.owner.head(repo)
    assert base is not None
    head = server.writer.commit(repo, {"deploy/y.yaml": "y: 1\n"}, new_branch="feature/x")
    later = server.writer.commit(repo, {"z": "z"})
    number = server.writer.open_pull(repo, "feature/x")

    found = await forge.repository(repo)
    assert found is not None
    assert (found.full_name, found.private, found.clone_url) == (repo, True, server.clone_url(repo))
    assert await forge.own_login() == server.bot.name
    people = (server.owner, server.bot, server.writer, server.reader, server.forker)
    roles = [await forge.role(repo, person.name) for person in people]
    assert roles == [Role.ADMIN, Role.ADMIN, Role.DEPLOYER, Role.VIEWER, Role.NONE]
    assert await forge.role(repo, "nobody-at-all") is Role.NONE
    pull = await forge.pull_request(repo, number)
    assert pull is not None
    assert (pull.state, pull.head, pull.head_branch, pull.author) == ("open", head, "feature/x", server.writer.name)
    assert await forge.open_pull_requests(repo) == [pull]
    assert await forge.commit(repo, head[:7]) == head
    assert await forge.commit(repo, "0" * 40) is None
    assert await forge.branch_head(repo, "feature/x") == head
    assert await forge.branch_head(repo, "feature/y") is None
    table = [(base, head), (base, later), (head, base), (head, later), (base, "a" * 40), ("a" * 40, base)]
    assert [await forge.is_ancestor(repo, *pair) for pair in table] == [True, True, False, False, False, False]


async def test_trees_have_gits_own_ids(server: Server, forge: Gitea) -> None:
    """The root's id is computed by the adapter; Git itself must give the same one."""
    files = {"README.md": "# x\n", "a-b": "1", "a/c": "2", "a.b": "3", "deploy/web/x.yaml": "x: 1\n", "ü/é": "4"}
    repo = server.create_repository("trees", {**files, **{f"many/{n}": str(n) for n in range(1001)}})
    commit = server.owner.head(repo)
    assert commit is not None
    tree = await forge.tree(repo, commit)
    assert len([entry for entry in tree.entries.values() if entry.kind == "blob"]) == len(files) + 1001
    assert await forge.blob(repo, tree.entries["ü/é"].oid) == b"4"
    below = await forge.tree(repo, tree.entries[""].oid)  # the server finds the root under the id we computed
    assert below.entries == tree.entries


async def test_telling(server: Server, forge: Gitea) -> None:
    repo = server.create_repository("telling", {"README.md": "# x\n"})
    one = server.owner.head(repo)
    two = server.writer.commit(repo, {"a": "a"}, new_branch="feature")
    assert one is not None
    number = server.writer.open_pull(repo, "feature")
    for phase in Phase:
        wish = CommitStatus(context="sluice/production", phase=phase, text=f"It is {phase}", url="https://s.test/1")
        await forge.set_status(repo, one, wish)
        assert (await forge.statuses(repo, one, "sluice/production"))[0] == forge.shown(wish)
    with pytest.raises(UserError, match="has no commit"):
        await forge.set_status(repo, "a" * 40, wish)
    server.writer.comment(repo, number, MARK)
    assert await forge.find_comment(repo, number, MARK) is None
    made = await forge.create_comment(repo, number, "ü" * (forge.comment_limit - len(MARK)) + MARK)
    assert await forge.find_comment(repo, number, MARK) == made
    assert await forge.edit_comment(repo, made, f"changed {MARK}") is True
    server.owner.delete_comment(repo, int(made))
    assert await forge.edit_comment(repo, made, "again") is False
    for commit in (one, two, one, one):
        await forge.set_branch(repo, KEPT, commit)
        assert await forge.branch_head(repo, KEPT) == commit
    with pytest.raises(UserError, match="has no commit"):
        await forge.set_branch(repo, KEPT, "a" * 40)
    await forge.delete_branch(repo, KEPT)
    await forge.delete_branch(repo, KEPT)


async def test_commits_of_our_own(server: Server, forge: Gitea) -> None:
    """Compared with what is there, on a new branch and on one that is there; found again; asked to be merged."""
    repo = server.create_repository("committing", {"README.md": "# x\n", "a/b": "1"})
    base = server.owner.head(repo)
    assert base is not None
    files = {"deploy/dev/kustomization.yaml": b"resources: []\n", "a/b": b"2", "logo": bytes(range(256))}
    made = await forge.commit_files(repo, "sluice/scaffold", base, files, "Add folders\n\nSluice-Run: 1")
    assert await forge.branch_head(repo, "sluice/scaffold") == made
    assert await forge.is_ancestor(repo, base, made)
    tree = await forge.tree(repo, made)
    assert {path: await forge.blob(repo, tree.entries[path].oid) for path in files} == files
    assert await forge.find_commit(repo, "sluice/scaffold", "Sluice-Run: 1") == made
    assert await forge.find_commit(repo, "sluice/scaffold", "Sluice-Run: 2") is None
    assert await forge.find_commit(repo, "sluice/nothing", "Sluice-Run: 1") is None

    more = await forge.commit_files(repo, "sluice/scaffold", made, {"a/b": b"3"}, "more")
    with pytest.raises(BranchMoved):
        await forge.commit_files(repo, "sluice/scaffold", made, {"a/b": b"4"}, "late")
    looked = forge.branch_head
    forge.branch_head = _seen(made)  # type: ignore[method-assign] # the other push came after our look
    with pytest.raises(BranchMoved):
        await forge.commit_files(repo, "sluice/scaffold", made, {"a/b": b"4", "new": b""}, "late")
    forge.branch_head = looked  # type: ignore[method-assign]
    assert await forge.branch_head(repo, "sluice/scaffold") == more

    assert await forge.find_pull_request(repo, "sluice/scaffold") is None
    number = await forge.create_pull_request(repo, "sluice/scaffold", "main", "Set it up", "With *folders*.")
    assert await forge.find_pull_request(repo, "sluice/scaffold") == number
    with pytest.raises(UserError):
        await forge.create_pull_request(repo, "sluice/scaffold", "main", "Again", "")
    server.writer.merge_pull(repo, number)
    assert await forge.find_pull_request(repo, "sluice/scaffold") is None


def _seen(once: str) -> Any:
    """What a branch's head was at the first look; afterwards, that it is somewhere else."""
    looks = iter((once,))

    async def branch_head(repository: str, branch: str) -> str | None:
        return next(looks, "f" * 40)

    return branch_head


async def test_what_it_delivers_is_verified_and_read(server: Server, forge: Gitea) -> None:
    repo = server.create_repository("delivering", {"README.md": "# x\n"})
    await forge.register_hook(repo, HOOK, "old secret")
    hook = await forge.register_hook(repo, HOOK, "secret")
    assert [each["id"] for each in server.owner.hooks(repo)] == [int(hook.id)]

    def told() -> set[str]:
        return {each["event"] for each in server.deliveries(int(hook.id))}

    server.writer.commit(repo, {"a": "a"}, new_branch="feature")
    number = server.writer.open_pull(repo, "feature")
    server.writer.commit(repo, {"b": "b"}, branch="feature")
    # The server works pushes off later; when the request was merged at once, some events never came (seen).
    until(lambda: "pull_request_sync" in told(), 30, "the push to the pull request is told")
    server.reader.comment(repo, number, "/deploy production")
    server.writer.merge_pull(repo, number)
    server.owner.delete_branch(repo, "feature")

    expected = {"push", "pull_request", "pull_request_sync", "pull_request_comment", "delete"}

    def sent() -> list[dict[str, Any]] | None:
        found = server.deliveries(int(hook.id))
        merged = any(each["payload"].get("ref") == "refs/heads/main" for each in found)
        whole = all(each["request"] is not None for each in found) and told() == expected
        return found if whole and merged else None

    events = []
    for delivery in until(sent, 30, "Gitea has tried every delivery"):
        headers = {name.lower(): value for name, value in delivery["request"]["headers"].items()}
        body = delivery["request"]["body"].encode()
        assert forge.verify(headers, body, [b"secret", b"other"])
        assert not forge.verify(headers, body, [b"old secret"])
        assert json.loads(body) == delivery["payload"]
        assert forge.delivery_key(headers) == delivery["uuid"]
        events.append(forge.parse(str(forge.event_name(headers)), headers, body))
    pushed = [(event.branch, event.after is None) for event in events if isinstance(event, Pushed)]
    assert set(pushed) == {("feature", False), ("feature", True), ("main", False)}
    changed = [(event.action, event.merged) for event in events if isinstance(event, PullRequestChanged)]
    assert sorted(changed) == [("closed", True), ("opened", False), ("synchronized", False)]
    (comment,) = [event for event in events if isinstance(event, Commented)]
    assert (comment.body, comment.actor, comment.number) == ("/deploy production", server.reader.name, number)
