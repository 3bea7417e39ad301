"""The Gitea adapter against a real Gitea: every method of the port, and the deliveries that it sends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.core.deployments import Phase
from bot.core.errors import BranchMoved, UserError
from bot.core.events import Commented, PullRequestChanged, Pushed, Reviewed
from bot.core.ports import CommitStatus
from bot.core.roles import Role
from bot.forges.gitea import Gitea
from tests.servers.gitea import Gitea as Server
from tests.servers.gitea_account import GiteaError
from tests.servers.waiting import until

pytestmark = pytest.mark.e2e

MARK = "<!-- sluice -->"
KEPT = "sluice/keep/web/production"
ROUNDS = 4
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
    repo = server.create_repository("trees", {"README.md": "# x\n"})
    many = {f"many/{n}": str(n) for n in range(1001)}  # more than a page; by Git, since the API takes 5 s for it
    commit = server.owner.force_push(repo, "main", {**files, **many}, onto=str(server.owner.head(repo)))
    tree = await forge.tree(repo, commit)
    assert len([entry for entry in tree.entries.values() if entry.kind == "blob"]) == len(files) + 1001
    assert await forge.blob(repo, tree.entries["ü/é"].oid) == b"4"
    below = await forge.tree(repo, tree.entries[""].oid)  # the server finds the root under the id we computed
    assert below.entries == tree.entries


async def test_what_gates_ask(server: Server, forge: Gitea) -> None:
    """Drafts, accounts by their numbers, reviews with their commits, checks of others, where histories part."""
    repo = server.create_repository("gates", {"README.md": "# x\n"})
    base = server.owner.head(repo)
    assert base is not None
    server.writer.commit(repo, {"a": "1"}, new_branch="feature")
    head = server.writer2.commit(repo, {"b": "1"}, branch="feature")
    server.owner.create_branch(repo, "release", at=base)
    number = server.writer.open_pull(repo, "feature", title="WIP: a draft")
    ids = {each.name: str(each.request("GET", "/user")["id"]) for each in (server.writer, server.writer2)}

    pull = await forge.pull_request(repo, number)
    assert pull is not None
    assert (pull.draft, pull.author_id, pull.merge_commit) == (True, ids[server.writer.name], None)
    authors = await forge.commit_authors(repo, base, head)
    assert {each.account_id for each in authors} == set(ids.values())
    assert await forge.commit_authors(repo, head, base) == []
    with pytest.raises(UserError):
        await forge.commit_authors(repo, base, "a" * 40)
    later = server.writer.commit(repo, {"z": "z"})
    table = [(head, later, base), (later, head, base), (base, head, base), (head, base, base), (head, "a" * 40, None)]
    assert [await forge.merge_base(repo, one, other) for one, other, _ in table] == [each[2] for each in table]

    for state in ("pending", "failure", "success"):
        server.writer.set_status(repo, head, "ci/build", state)
    server.writer.set_status(repo, head, "ci/slow", "pending")
    server.writer.set_status(repo, head, "ci/lint", "warning")
    server.writer.set_status(repo, head, "sluice/production", "failure")
    assert await forge.checks(repo, head) == {"ci/build": "success", "ci/slow": "pending", "ci/lint": "failure"}

    server.reader.review(repo, number, "APPROVED")
    server.writer2.review(repo, number, "REQUEST_CHANGES", "no")
    server.owner.review(repo, number, "COMMENT", "hm")
    moved = server.writer.commit(repo, {"c": "1"}, branch="feature")
    server.owner.review(repo, number, "APPROVED")
    found = await forge.reviews(repo, number)
    assert [(each.author, each.verdict, each.commit) for each in found] == [
        (server.reader.name, "approved", head),
        (server.writer2.name, "changes_requested", head),
        (server.owner.name, "approved", moved),
    ]
    server.owner.request(
        "POST", f"/repos/{repo}/pulls/{number}/reviews/{found[1].id}/dismissals", json={"message": "x"}
    )
    assert (await forge.reviews(repo, number))[1].verdict == "dismissed"

    comment = server.reader.comment(repo, number, "/deploy production")
    await forge.react(repo, str(comment))
    await forge.react(repo, str(comment))
    reactions = server.owner.request("GET", f"/repos/{repo}/issues/comments/{comment}/reactions")
    assert [(each["user"]["login"], each["content"]) for each in reactions] == [(server.bot.name, "eyes")]
    await forge.react(repo, "999999")

    server.owner.request("PATCH", f"/repos/{repo}/pulls/{number}", json={"title": "Ready"})
    made = server.owner.merge_pull(repo, number)
    merged = await forge.pull_request(repo, number)
    assert merged is not None
    assert (merged.state, merged.draft, merged.merge_commit) == ("merged", False, made)
    assert [await forge.merged_pull_request(repo, each) for each in (made, later)] == [number, None]


async def test_teams_of_an_organization(server: Server, forge: Gitea) -> None:
    """Who is in a team is told to its members and to the organization's owners, to nobody else."""
    server.owner.request("POST", "/orgs", json={"username": "acme-teams"})
    teams = {}
    for name in ("SRE", "SRE-europe"):
        body = {"name": name, "permission": "write", "units": ["repo.code"]}
        teams[name] = server.owner.request("POST", "/orgs/acme-teams/teams", json=body)["id"]
    server.owner.request("PUT", f"/teams/{teams['SRE']}/members/{server.writer.name}")
    server.owner.request("PUT", f"/teams/{teams['SRE-europe']}/members/{server.writer2.name}")
    with pytest.raises(UserError) as caught:
        await forge.in_team("acme-teams/x", "acme-teams/sre", server.writer.name)
    assert caught.value.code == "forge_refused"
    server.owner.request("PUT", f"/teams/{teams['SRE']}/members/{server.bot.name}")
    people = (server.writer, server.writer2, server.reader)
    found = [await forge.in_team("acme-teams/x", "acme-teams/sre", each.name) for each in people]
    assert found == [True, False, False]
    assert await forge.in_team("acme-teams/x", "acme-teams/nothing", server.writer.name) is False
    assert await forge.in_team("acme-teams/x", "no-such-organization/sre", server.writer.name) is False


async def test_files_are_removed_and_protected_branches_refuse(server: Server, forge: Gitea) -> None:
    repo = server.create_repository("removing", {"README.md": "# x\n", "a/b": "1", "a/c": "2"})
    base = server.owner.head(repo)
    assert base is not None
    by = f"Co-authored-by: {server.writer.name} <{forge.mail_of(server.writer.name, '1')}>"
    made = await forge.commit_files(repo, "main", base, {"a/b": None, "a/c": b"3"}, f"Change\n\n{by}")
    assert set((await forge.tree(repo, made)).entries) == {"", "README.md", "a", "a/c"}
    rule = {"rule_name": "main", "enable_push": False}
    server.owner.request("POST", f"/repos/{repo}/branch_protections", json=rule)
    with pytest.raises(UserError) as caught:
        await forge.commit_files(repo, "main", made, {"a/c": b"4"}, "Refused")
    assert caught.value.code == "forge_refused"
    assert await forge.branch_head(repo, "main") == made
    onto = await forge.commit_files(repo, "sluice/edit/x", made, {"a/c": b"4"}, "Proposed")
    assert await forge.branch_head(repo, "sluice/edit/x") == onto


async def test_commits_race_with_people(server: Server, forge: Gitea) -> None:
    """Both write at once, to one file or to two: nobody's commit is lost, and ours comes when it is compared anew.

    `make chaos` has 500 of these.
    """
    repo = server.create_repository("racing", {"a": "0", "b": "0"})
    theirs, ours = [], 0
    for number in range(ROUNDS):
        path = "ab"[number % 2]
        pushed = asyncio.create_task(asyncio.to_thread(server.writer.commit, repo, {path: f"theirs {number}"}))
        for _ in range(5):
            base = await forge.branch_head(repo, "main")
            assert base is not None
            try:
                await forge.commit_files(repo, "main", base, {"b": b"ours %d" % number}, f"Ours {number}")
            except BranchMoved:
                continue
            ours += 1
            break
        with contextlib.suppress(GiteaError):  # whoever asks Gitea for what was changed meanwhile is refused
            theirs.append(await pushed)
    head = await forge.branch_head(repo, "main")
    assert head is not None
    assert theirs
    assert ours == ROUNDS
    assert all([await forge.is_ancestor(repo, each, head) for each in theirs])
    listed = [each["commit"]["message"].strip() for each in server.owner.pages(f"/repos/{repo}/commits")]
    assert sorted(each for each in listed if each.startswith("Ours")) == sorted(f"Ours {n}" for n in range(ROUNDS))


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
    for title in ("WIP: a change", "A change"):
        server.writer.request("PATCH", f"/repos/{repo}/pulls/{number}", json={"title": title})
    server.owner.create_branch(repo, "release")
    for target in ("release", "main"):
        server.writer.request("PATCH", f"/repos/{repo}/pulls/{number}", json={"base": target})
    server.reader.review(repo, number, "REQUEST_CHANGES", "no")
    server.reader.review(repo, number, "COMMENT", "hm")
    server.reader.review(repo, number, "APPROVED")
    server.writer.merge_pull(repo, number)
    server.owner.delete_branch(repo, "feature")

    reviewed = {f"pull_request_review_{kind}" for kind in ("approved", "rejected", "comment")}
    expected = {"push", "pull_request", "pull_request_sync", "pull_request_comment", "delete"} | reviewed

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
    assert set(pushed) == {("feature", False), ("feature", True), ("main", False), ("release", False)}
    changed = [(event.action, event.merged) for event in events if isinstance(event, PullRequestChanged)]
    assert sorted(changed) == [
        ("closed", True),
        ("drafted", False),
        ("opened", False),
        ("ready", False),
        ("retargeted", False),
        ("retargeted", False),
        ("synchronized", False),
    ]
    reader = str(server.reader.request("GET", "/user")["id"])
    reviews = [event for event in events if isinstance(event, Reviewed)]
    assert sorted((each.verdict, each.actor, each.actor_id, each.number) for each in reviews) == [
        ("approved", server.reader.name, reader, number),
        ("changes_requested", server.reader.name, reader, number),
    ]
    (comment,) = [event for event in events if isinstance(event, Commented)]
    assert (comment.body, comment.actor, comment.number) == ("/deploy production", server.reader.name, number)
    assert comment.actor_id == reader
