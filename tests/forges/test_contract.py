"""What every forge adapter promises, tried on each of them."""

import asyncio
import base64
import hashlib

import pytest

from bot.core.deployments import Phase
from bot.core.errors import BranchMoved, TemporaryError, UserError
from bot.core.ports import CommitAuthor, CommitStatus, ShownStatus, TreeEntry
from bot.core.roles import Role
from tests.forges.conftest import Bench
from tests.forges.server import OWN, TOKEN, Fault, GiteaForge, GitHubForge

REPO = "acme/web"
CONTEXT = "sluice/production"
MARK = "<!-- sluice:report -->"

ROLES = [
    ("github", "admin", Role.ADMIN),
    ("github", "maintain", Role.APPROVER),
    ("github", "write", Role.DEPLOYER),
    ("github", "triage", Role.VIEWER),
    ("github", "read", Role.VIEWER),
    ("github", "none", Role.NONE),
    ("github", "wizard", Role.NONE),
    ("gitea", "owner", Role.ADMIN),
    ("gitea", "admin", Role.ADMIN),
    ("gitea", "write", Role.DEPLOYER),
    ("gitea", "read", Role.VIEWER),
    ("gitea", "none", Role.NONE),
    ("gitea", "wizard", Role.NONE),
]

STATES = {
    "github": {
        Phase.WAITING: "pending",
        Phase.QUEUED: "pending",
        Phase.APPLYING: "pending",
        Phase.RECONCILING: "pending",
        Phase.SUCCEEDED: "success",
        Phase.FAILED: "failure",
        Phase.TIMED_OUT: "failure",
        Phase.SUPERSEDED: "error",
        Phase.REJECTED: "error",
        Phase.CANCELLED: "error",
    },
    "gitea": {
        Phase.WAITING: "pending",
        Phase.QUEUED: "pending",
        Phase.APPLYING: "pending",
        Phase.RECONCILING: "pending",
        Phase.SUCCEEDED: "success",
        Phase.FAILED: "failure",
        Phase.TIMED_OUT: "failure",
        Phase.SUPERSEDED: "skipped",
        Phase.REJECTED: "skipped",
        Phase.CANCELLED: "skipped",
    },
}


def status(phase: str = "applying", text: str = "Applying abc1234", context: str = CONTEXT) -> CommitStatus:
    return CommitStatus(context=context, phase=phase, text=text, url="https://sluice.example.test/runs/1")


async def test_own_login_is_asked_once(bench: Bench) -> None:
    assert [await bench.forge.own_login() for _ in range(3)] == [OWN] * 3
    assert len(bench.server.calls) == 1


async def test_repository(bench: Bench) -> None:
    found = await bench.forge.repository(REPO)
    assert found is not None
    assert (found.forge, found.id, found.full_name) == (bench.name, "12", REPO)
    assert (found.default_branch, found.private) == ("main", True)
    assert await bench.forge.repository("acme/nothing") is None


@pytest.mark.parametrize("name", ["acme", "acme/web/x", "../user", "acme/..", "acme/", "acme/we b", "acme/web?x=1"])
async def test_a_name_that_would_leave_its_place_in_the_url_is_not_sent(bench: Bench, name: str) -> None:
    with pytest.raises(ValueError):
        await bench.forge.repository(name)
    assert bench.server.calls == []


@pytest.mark.parametrize(("name", "word", "role"), ROLES)
async def test_roles(bench: Bench, name: str, word: str, role: Role) -> None:
    if bench.name != name:
        return
    bench.server.roles["alice"] = word
    assert await bench.forge.role(REPO, "alice") is role


async def test_a_stranger_and_odd_logins_have_no_role(bench: Bench) -> None:
    for login in ("nobody", "dependabot[bot]", "", "..", "a/../../admin"):
        assert await bench.forge.role(REPO, login) is Role.NONE


async def test_accounts_by_their_names(bench: Bench) -> None:
    """Their numbers, whatever they may do here."""
    bench.server.accounts = {"alice": 42}
    logins = ("alice", "nobody", "dependabot[bot]", "", "..", "a/../../admin")
    assert [await bench.forge.id_of(login) for login in logins] == ["42", None, None, None, None, None]


async def test_no_role_where_the_forge_cannot_answer(bench: Bench) -> None:
    bench.server.faults = [Fault(503)] * 4
    with pytest.raises(TemporaryError):
        await bench.forge.role(REPO, "alice")
    bench.server.faults = [Fault(403, body='{"message": "Must have admin rights"}')]
    with pytest.raises(UserError, match="Must have admin rights") as caught:
        await bench.forge.role(REPO, "alice")
    assert caught.value.code == "forge_refused"


async def test_teams(bench: Bench) -> None:
    """Who is in a team; not who was only invited, nor who is in one with a longer name."""
    bench.server.teams = {"sre-europe": {"mallory": "active"}, "SRE" if bench.name == "gitea" else "sre": {}}
    bench.server.teams["SRE" if bench.name == "gitea" else "sre"] = {"alice": "active", "bob": "pending"}
    table = {("acme/sre", "alice"): True, ("acme/sre", "bob"): False, ("acme/sre", "mallory"): False}
    table |= {("acme/nothing", "alice"): False, ("acme/sre", "nobody"): False}
    for (team, login), expected in table.items():
        assert await bench.forge.in_team(REPO, team, login) is expected, (team, login)
    before = len(bench.server.calls)
    for team, login in (("sre", "alice"), ("acme/../sre", "alice"), ("acme/sre/x", "alice"), ("acme/sre", "../alice")):
        assert await bench.forge.in_team(REPO, team, login) is False
    assert len(bench.server.calls) == before


async def test_no_membership_where_the_forge_cannot_answer(bench: Bench) -> None:
    bench.server.faults = [Fault(503)] * 4
    with pytest.raises(TemporaryError):
        await bench.forge.in_team(REPO, "acme/sre", "alice")
    bench.server.faults = [Fault(403, body='{"message": "Must be an organization member"}')]
    with pytest.raises(UserError, match="Must be an organization member") as caught:
        await bench.forge.in_team(REPO, "acme/sre", "alice")
    assert caught.value.code == "forge_refused"


async def test_pull_requests(bench: Bench) -> None:
    head = bench.server.commit({"a": b"1"})
    bench.server.pull(1, head)
    bench.server.pull(2, head, state="closed", merged=True)
    bench.server.pull(3, head, state="closed")
    bench.server.pull(4, head, head={"ref": "evil", "sha": head, "repo": {"id": 99}})
    bench.server.pull(5, head, head={"ref": "gone", "sha": head, "repo": None}, user=None)

    found = {number: await bench.forge.pull_request(REPO, number) for number in range(1, 7)}
    assert found.pop(6) is None
    pulls = {number: pull for number, pull in found.items() if pull is not None}
    assert {number: pull.state for number, pull in pulls.items()} == {
        1: "open",
        2: "merged",
        3: "closed",
        4: "open",
        5: "open",
    }
    assert (pulls[1].head, pulls[1].head_branch, pulls[1].base_branch) == (head, "feature", "main")
    assert (pulls[1].author, pulls[1].title, pulls[1].head_repository_id) == ("alice", "Try it", "12")
    assert (pulls[4].head_repository_id, pulls[5].head_repository_id) == ("99", None)
    assert pulls[5].author.lower() == "ghost"


async def test_open_pull_requests_over_all_pages(bench: Bench) -> None:
    head = bench.server.commit({"a": b"1"})
    for number in range(1, 232):
        bench.server.pull(number, head, state="closed" if number % 77 == 0 else "open")
    found = await bench.forge.open_pull_requests(REPO)
    assert [pull.number for pull in found] == [number for number in range(1, 232) if number % 77]


async def test_drafts_authors_and_merges(bench: Bench) -> None:
    """A merge commit is one only once it was made: before, GitHub names the one that it tried."""
    head, made = bench.server.commit({"a": b"1"}), bench.server.commit({"a": b"2"})
    bench.server.pull(1, head, draft=True, merge_commit_sha=made)
    bench.server.pull(2, head, state="closed", merged=True, merge_commit_sha=made)
    bench.server.pull(3, head, user=None)
    found = [await bench.forge.pull_request(REPO, number) for number in (1, 2, 3)]
    assert [pull and (pull.draft, pull.author_id, pull.merge_commit) for pull in found] == [
        (True, "7", None),
        (False, "7", made),
        (False, "", None),
    ]


async def test_which_request_brought_a_commit(bench: Bench) -> None:
    head, made, other = (bench.server.commit({"a": text}) for text in (b"1", b"2", b"3"))
    merged = {"state": "closed", "merged": True, "merged_at": "2026-01-01T00:00:00Z"}
    bench.server.pull(1, made, **merged, merge_commit_sha=other)  # it came with the other's merge, too
    bench.server.pull(2, head, **merged, merge_commit_sha=made)
    bench.server.pull(3, head, state="closed")
    assert await bench.forge.merged_pull_request(REPO, made) == 2
    assert await bench.forge.merged_pull_request(REPO, other) == 1
    assert await bench.forge.merged_pull_request(REPO, bench.server.commit({"a": b"4"})) is None


async def test_reviews_as_they_are_now(bench: Bench) -> None:
    one, two = bench.server.commit({"a": b"1"}), bench.server.commit({"a": b"2"})
    yes, no, talk = ("APPROVED", "CHANGES_REQUESTED", "COMMENTED")
    if bench.name == "gitea":
        no, talk = "REQUEST_CHANGES", "COMMENT"
    for number in range(120):
        bench.server.reviewed(1, talk, one, f"talker{number}")
    first = bench.server.reviewed(1, yes, one, "alice")
    bench.server.reviewed(1, "PENDING", two, "alice")
    gone = {"dismissed": True} if bench.name == "gitea" else {}
    second = bench.server.reviewed(1, yes if gone else "DISMISSED", one, "bob", **gone)
    third = bench.server.reviewed(1, no, two, "alice")
    bench.server.reviewed(2, yes, two, "carol")
    found = [(review.id, review.commit, review.verdict, review.author) for review in await bench.forge.reviews(REPO, 1)]
    assert found == [
        (str(first), one, "approved", "alice"),
        (str(second), one, "dismissed", "bob"),
        (str(third), two, "changes_requested", "alice"),
    ]
    assert (await bench.forge.reviews(REPO, 1))[0].author_id == "8"


async def test_branch_heads(bench: Bench) -> None:
    head = bench.server.commit({"a": b"1"})
    for name in ("main", "feature/x#1", "50%", "ünï", "a?b"):
        bench.server.branches[name] = head
        assert await bench.forge.branch_head(REPO, name) == head
    assert await bench.forge.branch_head(REPO, "nothing") is None
    before = len(bench.server.calls)
    for name in ("", "..", "a/../b", "/a", "a//b", "."):
        assert await bench.forge.branch_head(REPO, name) is None
    assert len(bench.server.calls) == before


async def test_commits_by_prefix(bench: Bench) -> None:
    commit = bench.server.commit({"a": b"1"})
    assert await bench.forge.commit(REPO, commit) == commit
    assert await bench.forge.commit(REPO, commit[:7]) == commit
    assert await bench.forge.commit(REPO, "0123456") is None
    for odd in ("main", "abc", commit.upper(), "../x", commit + "0" * 30):
        assert await bench.forge.commit(REPO, odd) is None


async def test_ancestors(bench: Bench) -> None:
    base = bench.server.commit({"a": b"1"})
    left = bench.server.commit({"a": b"2"}, (base,))
    right = bench.server.commit({"a": b"3"}, (base,))
    merged = bench.server.commit({"a": b"4"}, (left, right))
    other = bench.server.commit({"b": b"1"})
    table = [
        (base, base, True),
        (base, left, True),
        (base, merged, True),
        (left, merged, True),
        (right, merged, True),
        (left, base, False),
        (left, right, False),
        (merged, left, False),
        (other, merged, False),
        (merged, other, False),
        ("a" * 40, base, False),
        (base, "a" * 40, False),
    ]
    for ancestor, descendant, expected in table:
        assert await bench.forge.is_ancestor(REPO, ancestor, descendant) is expected, (ancestor, descendant)


async def test_ancestry_is_not_guessed_while_the_forge_is_down(bench: Bench) -> None:
    one = bench.server.commit({"a": b"1"})
    two = bench.server.commit({"a": b"2"}, (one,))
    bench.server.faults = [Fault(502)] * 8
    with pytest.raises(TemporaryError):
        await bench.forge.is_ancestor(REPO, one, two)


async def test_where_histories_part(bench: Bench) -> None:
    root = bench.server.commit({"a": b"0"})
    base = bench.server.commit({"a": b"1"}, (root,))
    left = bench.server.commit({"a": b"2"}, (base,))
    right = bench.server.commit({"a": b"3"}, (base,))
    merged = bench.server.commit({"a": b"4"}, (left, right))
    later = bench.server.commit({"a": b"5"}, (right, root))
    unrelated = bench.server.commit({"b": b"1"})
    table = [
        (base, base, base),
        (base, merged, base),
        (merged, base, base),
        (left, right, base),
        (merged, later, right),
        (left, later, base),
        (later, left, base),
        (unrelated, left, None),
        (left, unrelated, None),
        (left, "a" * 40, None),
        ("a" * 40, left, None),
    ]
    for one, other, expected in table:
        assert await bench.forge.merge_base(REPO, one, other) == expected, (one, other)


async def test_whose_commits_they_are(bench: Bench) -> None:
    """Over more than a page: mapped, not mapped, and committed by somebody else than the author."""
    base = head = bench.server.commit({"a": b"base"})
    bench.server.accounts[base] = ({"login": "eve", "id": 66}, None)
    for number in range(130):
        head = bench.server.commit({"a": b"%d" % number}, (head,))
        bench.server.accounts[head] = ({"login": f"p{number % 3}", "id": 10 + number % 3}, None)
    strange = bench.server.commit({"a": b"who"}, (head,))
    picked = bench.server.commit({"a": b"picked"}, (strange,))
    bench.server.accounts[picked] = ({"login": "alice", "id": 7}, {"login": "bob", "id": 8})
    same = bench.server.commit({"a": b"same"}, (picked,))
    bench.server.accounts[same] = ({"login": "alice", "id": 7}, {"login": "alice", "id": 7})

    found = await bench.forge.commit_authors(REPO, base, same)
    assert len(found) == 134
    assert {each.account_id for each in found} == {"10", "11", "12", None, "7", "8"}
    assert CommitAuthor(commit=strange, account_id=None, login=None) in found
    assert [(each.login, each.account_id) for each in found if each.commit == picked] == [("alice", "7"), ("bob", "8")]
    assert [each.login for each in found if each.commit == same] == ["alice"]
    assert await bench.forge.commit_authors(REPO, same, base) == []
    with pytest.raises(UserError) as caught:
        await bench.forge.commit_authors(REPO, base, "a" * 40)
    assert caught.value.code == "forge_refused"


async def test_what_a_commit_changes(bench: Bench) -> None:
    """New, other and deleted files, by the first parent; who asks GitHub for too many is told none."""
    first = bench.server.commit({"a": b"1", "b/c": b"1"})
    second = bench.server.commit({"a": b"2", "d": b"1"}, (first,))
    merge = bench.server.commit({"a": b"2", "d": b"1", "e": b"1"}, (second, first))
    many = bench.server.commit({f"{number}": b"" for number in range(300)})

    assert await bench.forge.changed_paths(REPO, first) == {"a", "b/c"}
    assert await bench.forge.changed_paths(REPO, second) == {"a", "b/c", "d"}
    assert await bench.forge.changed_paths(REPO, merge) == {"e"}
    found = await bench.forge.changed_paths(REPO, many)
    assert found is None if bench.forge.name == "github" else found is not None and len(found) == 300
    with pytest.raises(UserError):
        await bench.forge.changed_paths(REPO, "a" * 40)


async def test_checks_of_others(bench: Bench) -> None:
    """The newest of each counts; our own statuses never do."""
    commit, other = bench.server.commit({"a": b"1"}), bench.server.commit({"a": b"2"})

    def said(context: str, state: str, sha: str = commit) -> None:
        word = "state" if bench.name == "github" else "status"
        made = {"id": bench.server._next(), "sha": sha, "context": context, word: state, "description": ""}
        bench.server.posted.append(made)

    for number in range(120):
        said(f"many/{number}", "success")
    said("ci/build", "failure")
    said("ci/build", "success")
    said("ci/lint", "success")
    said("ci/lint", "error")
    said("ci/slow", "pending")
    said("sluice/production", "failure")
    said("ci/slow", "success", other)
    found = await bench.forge.checks(REPO, commit)
    assert {name: state for name, state in found.items() if not name.startswith("many/")} == {
        "ci/build": "success",
        "ci/lint": "failure",
        "ci/slow": "pending",
    }
    assert len(found) == 123
    assert await bench.forge.checks(REPO, bench.server.commit({"a": b"3"})) == {}


async def test_check_runs_of_apps(bench: Bench) -> None:
    if not isinstance(bench.server, GitHubForge):
        return
    commit = bench.server.commit({"a": b"1"})
    ends = {"build": "success", "docs": "neutral", "old": "skipped", "e2e": "failure", "slow": "timed_out", "x": None}
    for name, conclusion in ends.items():
        run = {"name": name, "head_sha": commit, "status": "completed" if conclusion else "in_progress"}
        bench.server.check_runs.append({**run, "conclusion": conclusion})
    bench.server.check_runs.append({"name": "build", "head_sha": commit, "status": "queued", "conclusion": None})
    assert await bench.forge.checks(REPO, commit) == {
        "build": "pending",  # another App's, of the same name
        "docs": "success",
        "old": "success",
        "e2e": "failure",
        "slow": "failure",
        "x": "pending",
    }


async def test_trees_and_blobs(bench: Bench) -> None:
    files = {"README.md": b"# x\n", "a-b": b"-", "a/c": b"c", "a.b": b".", "deploy/web/kustomization.yaml": b"k: 1\n"}
    commit = bench.server.commit(files)
    tree = await bench.forge.tree(REPO, commit)

    assert set(tree.entries) == {"", "a", "deploy", "deploy/web", *files}
    assert tree.truncated is False
    assert tree.entries[""] == TreeEntry("tree", bench.server.objects[commit].tree.decode())  # type: ignore[attr-defined]
    for path, content in files.items():
        entry = tree.entries[path]
        assert entry.oid == hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()
        assert await bench.forge.blob(REPO, entry.oid) == content


async def test_a_binary_and_an_empty_file(bench: Bench) -> None:
    commit = bench.server.commit({"bin": bytes(range(256)) * 10, "empty": b""})
    tree = await bench.forge.tree(REPO, commit)
    assert await bench.forge.blob(REPO, tree.entries["bin"].oid) == bytes(range(256)) * 10
    assert await bench.forge.blob(REPO, tree.entries["empty"].oid) == b""


async def test_a_large_tree_comes_whole(bench: Bench) -> None:
    commit = bench.server.commit({f"d{n % 7}/f{n}": b"x" for n in range(2500)})
    tree = await bench.forge.tree(REPO, commit)
    assert len(tree.entries) == 2500 + 7 + 1
    assert not tree.truncated


async def test_what_must_exist_and_does_not_is_a_refusal(bench: Bench) -> None:
    for missing in (bench.forge.tree(REPO, "a" * 40), bench.forge.blob(REPO, "b" * 40)):
        with pytest.raises(UserError) as caught:
            await missing
        assert caught.value.code == "forge_refused"
    with pytest.raises(UserError) as caught:
        await bench.forge.set_status(REPO, "a" * 40, status())
    assert caught.value.code == "forge_refused"


async def test_a_file_without_content_is_a_refusal(bench: Bench) -> None:
    for body in ('{"content": null, "encoding": null}', '{"content": "@@", "encoding": "base64"}'):
        bench.server.faults = [Fault(200, body=body)] * 4
        with pytest.raises((UserError, TemporaryError)):
            await bench.forge.blob(REPO, "a" * 40)


@pytest.mark.parametrize("phase", list(Phase))
async def test_every_phase_has_its_state(bench: Bench, phase: Phase) -> None:
    commit = bench.server.commit({"a": b"1"})
    wish = status(phase, "superseded by abc1234")
    await bench.forge.set_status(REPO, commit, wish)
    expected = ShownStatus(context=CONTEXT, state=STATES[bench.name][phase], text="superseded by abc1234")
    assert bench.forge.shown(wish) == expected
    assert await bench.forge.statuses(REPO, commit, CONTEXT) == [expected]


async def test_statuses_newest_first_and_of_one_context(bench: Bench) -> None:
    commit, other = bench.server.commit({"a": b"1"}), bench.server.commit({"a": b"2"})
    for number in range(130):
        await bench.forge.set_status(REPO, commit, status(text=f"n {number}"))
        if number % 10 == 0:
            await bench.forge.set_status(REPO, commit, status(context="sluice/staging"))
            await bench.forge.set_status(REPO, other, status())
    found = await bench.forge.statuses(REPO, commit, CONTEXT)
    assert [one.text for one in found] == [f"n {number}" for number in reversed(range(130))]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1000,
        "é" * 1000,
        "👩🏽‍💻" * 200,
        "e\u0301" * 500,
        "  two\n lines\r\n and \0 NUL ",
        "x" * 139 + "👩🏽‍💻",
        "👩🏽‍💻" + "\u0301" * 900,
        "",
        "a" * 140,
    ],
)
async def test_what_is_shown_is_what_was_meant(bench: Bench, text: str) -> None:
    """The description is cut on a character's boundary, and read back as `shown` said."""
    commit = bench.server.commit({"a": b"1"})
    wish = status(text=text, context="sluice/" + "y" * 300)
    shown = bench.forge.shown(wish)
    await bench.forge.set_status(REPO, commit, wish)
    assert (await bench.forge.statuses(REPO, commit, wish.context)) == [shown]
    assert len(shown.text) <= bench.forge.description_limit
    assert len(shown.context) <= 255
    assert shown.text.endswith("…") == (len(" ".join(text.replace("\0", "").split())) > bench.forge.description_limit)
    assert not shown.text.removesuffix("…").endswith("\u200d")


async def test_long_contexts_stay_apart(bench: Bench) -> None:
    one, two = (bench.forge.shown(status(context="c" * 400 + end)).context for end in "ab")
    assert one != two


async def test_the_thousandth_status_is_a_refusal_on_github(bench: Bench) -> None:
    if bench.name != "github":
        return
    commit = bench.server.commit({"a": b"1"})
    bench.server.posted = [{"sha": commit, "context": CONTEXT, "state": "pending", "description": ""}] * 1000
    with pytest.raises(UserError, match="maximum number of statuses") as caught:
        await bench.forge.set_status(REPO, commit, status())
    assert caught.value.code == "forge_refused"


async def test_our_comment_is_found_on_any_page_and_nobody_elses(bench: Bench) -> None:
    for number in range(250):
        bench.server.said(1, f"{number} {MARK}", "mallory")
    assert await bench.forge.find_comment(REPO, 1, MARK) is None
    bench.server.said(2, MARK, OWN)
    bench.server.said(1, "no mark", OWN)
    made = await bench.forge.create_comment(REPO, 1, f"hello\n{MARK}")
    assert await bench.forge.find_comment(REPO, 1, MARK) == made
    assert await bench.forge.edit_comment(REPO, made, f"changed {MARK}") is True
    assert bench.server.comments[-1]["body"] == f"changed {MARK}"


async def test_a_comment_that_is_gone(bench: Bench) -> None:
    assert await bench.forge.edit_comment(REPO, "4711", "x") is False
    with pytest.raises(ValueError):
        await bench.forge.edit_comment(REPO, "4711/../1", "x")


async def test_eyes_on_a_comment_once(bench: Bench) -> None:
    made = bench.server.said(1, "/deploy production", "alice")
    await bench.forge.react(REPO, str(made))
    await bench.forge.react(REPO, str(made))
    await bench.forge.react(REPO, str(made), on_commit=True)
    assert bench.server.reactions == [(made, "eyes")]
    await bench.forge.react(REPO, "4711")
    with pytest.raises(ValueError):
        await bench.forge.react(REPO, "4711/../1")


async def test_comments_on_a_commit(bench: Bench) -> None:
    """GitHub has them, Gitea does not."""
    commit, other = bench.server.commit({"a": b"1"}), bench.server.commit({"a": b"2"})
    if bench.name == "gitea":
        assert await bench.forge.find_commit_comment(REPO, commit, MARK) is None
        with pytest.raises(UserError) as caught:
            await bench.forge.create_commit_comment(REPO, commit, MARK)
        assert caught.value.code == "forge_refused"
        return
    made = await bench.forge.create_commit_comment(REPO, commit, f"hello {MARK}")
    assert await bench.forge.find_commit_comment(REPO, commit, MARK) == made
    assert await bench.forge.find_commit_comment(REPO, other, MARK) is None
    bench.server.faults = [Fault(502, after=True, method="POST")]
    with pytest.raises(TemporaryError):
        await bench.forge.create_commit_comment(REPO, other, f"hello {MARK}")
    assert await bench.forge.find_commit_comment(REPO, other, MARK) is not None


async def test_a_comment_at_and_over_the_limit(bench: Bench) -> None:
    limit = bench.forge.comment_limit
    assert limit == 65_536
    made = await bench.forge.create_comment(REPO, 1, "ü" * limit)
    assert len(bench.server.comments[-1]["body"]) == limit
    before = len(bench.server.calls)
    with pytest.raises(ValueError, match="65536"):
        await bench.forge.create_comment(REPO, 1, "ü" * (limit + 1))
    with pytest.raises(ValueError, match="65536"):
        await bench.forge.edit_comment(REPO, made, "ü" * (limit + 1))
    assert len(bench.server.calls) == before


async def test_own_branches_are_made_moved_and_removed(bench: Bench) -> None:
    one, two = bench.server.commit({"a": b"1"}), bench.server.commit({"a": b"2"})
    branch = "sluice/keep/web/production"
    for commit in (one, two, one):
        await bench.forge.set_branch(REPO, branch, commit)
        assert bench.server.branches == {branch: commit}
    writes = [call for call in bench.server.calls if call.method != "GET"]
    await bench.forge.set_branch(REPO, branch, one)
    assert [call for call in bench.server.calls if call.method != "GET"] == writes
    await bench.forge.delete_branch(REPO, branch)
    await bench.forge.delete_branch(REPO, branch)
    assert bench.server.branches == {}


@pytest.mark.parametrize("branch", ["main", "sluice/keep", "sluice/keep/", "sluice/keep/../main", "refs/heads/main"])
async def test_no_other_branch_is_touched(bench: Bench, branch: str) -> None:
    with pytest.raises(ValueError):
        await bench.forge.set_branch(REPO, branch, "a" * 40)
    with pytest.raises(ValueError):
        await bench.forge.delete_branch(REPO, branch)
    assert bench.server.calls == []


async def test_a_branch_to_a_missing_commit_is_a_refusal(bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        await bench.forge.set_branch(REPO, "sluice/keep/web/production", "a" * 40)
    assert caught.value.code == "forge_refused"


async def test_older_gitea_and_forgejo_make_the_branch_anew(bench: Bench) -> None:
    if not isinstance(bench.server, GiteaForge):
        return
    bench.server.moves_branches = False
    one, two = bench.server.commit({"a": b"1"}), bench.server.commit({"a": b"2"})
    await bench.forge.set_branch(REPO, "sluice/keep/w/p", one)
    await bench.forge.set_branch(REPO, "sluice/keep/w/p", two)
    assert bench.server.branches == {"sluice/keep/w/p": two}


async def test_one_hook_per_url(bench: Bench) -> None:
    others = [{"id": n, "active": True, "events": [], "config": {"url": f"https://x.test/{n}"}} for n in range(120)]
    bench.server.hooks = list(others)
    url = "https://sluice.example.test/webhooks/x/1"
    first = await bench.forge.register_hook(REPO, url, "old secret")
    second = await bench.forge.register_hook(REPO, url, "new secret")
    assert (first.url, first.active) == (url, True)
    ours = [hook for hook in bench.server.hooks if hook["config"]["url"] == url]
    assert [(str(hook["id"]), hook["config"]["secret"]) for hook in ours] == [(second.id, "new secret")]
    assert ours[0]["config"]["content_type"] == "json"
    assert {"push", "issue_comment" if bench.name == "github" else "pull_request_comment"} <= set(second.events)
    assert "pull_request_review" in second.events
    assert ("commit_comment" in second.events) == (bench.name == "github")
    assert [hook for hook in bench.server.hooks if hook["config"]["url"] != url] == others


# Time-outs after the effect: the caller looks before it repeats.


async def test_a_comment_whose_answer_was_lost_is_found(bench: Bench) -> None:
    bench.server.faults = [Fault(after=True, method="POST")]
    with pytest.raises(TemporaryError):
        await bench.forge.create_comment(REPO, 1, f"hello {MARK}")
    found = await bench.forge.find_comment(REPO, 1, MARK)
    assert found == str(bench.server.comments[0]["id"])
    assert len(bench.server.comments) == 1


async def test_a_status_whose_answer_was_lost_is_found(bench: Bench) -> None:
    commit = bench.server.commit({"a": b"1"})
    bench.server.faults = [Fault(502, after=True, method="POST")]
    with pytest.raises(TemporaryError):
        await bench.forge.set_status(REPO, commit, status())
    assert await bench.forge.statuses(REPO, commit, CONTEXT) == [bench.forge.shown(status())]


async def test_an_edit_whose_answer_was_lost_is_repeated(bench: Bench) -> None:
    made = await bench.forge.create_comment(REPO, 1, "one")
    bench.server.faults = [Fault(500, after=True)]
    assert await bench.forge.edit_comment(REPO, made, "two") is True
    assert bench.server.comments[0]["body"] == "two"


async def test_a_branch_whose_answer_was_lost_is_there_at_the_next_try(bench: Bench) -> None:
    commit = bench.server.commit({"a": b"1"})
    bench.server.faults = [Fault(504, after=True, method="POST")]
    with pytest.raises(TemporaryError):
        await bench.forge.set_branch(REPO, "sluice/keep/w/p", commit)
    await bench.forge.set_branch(REPO, "sluice/keep/w/p", commit)
    assert bench.server.branches == {"sluice/keep/w/p": commit}
    bench.server.faults = [Fault(504, after=True, method="DELETE")]
    await bench.forge.delete_branch(REPO, "sluice/keep/w/p")
    assert bench.server.branches == {}


async def test_a_hook_whose_answer_was_lost_stays_one(bench: Bench) -> None:
    bench.server.faults = [Fault(504, after=True, method="POST")]
    with pytest.raises(TemporaryError):
        await bench.forge.register_hook(REPO, "https://s.test/1", "s")
    await bench.forge.register_hook(REPO, "https://s.test/1", "s")
    assert len(bench.server.hooks) == 1


# Commits of our own: compared and swapped.

SCAFFOLD = "sluice/scaffold"
MESSAGE = "Add the folders\n\nSluice-Run: 1"
ADDED = {"deploy/dev/kustomization.yaml": b"resources: []\n", "logo": bytes(range(256)), "a": b"2"}


async def test_files_are_committed_on_a_new_branch(bench: Bench) -> None:
    base = bench.server.commit({"a": b"1", "b/c": b"3"})
    bench.server.branches["main"] = base
    made = await bench.forge.commit_files(REPO, SCAFFOLD, base, ADDED, MESSAGE)
    assert bench.server.branches == {"main": base, SCAFFOLD: made}
    assert bench.server.files(made) == {"b/c": b"3", **ADDED}
    assert (bench.server.parents(made), bench.server.message(made)) == ((base,), MESSAGE)


async def test_files_are_committed_on_top_of_what_is_there(bench: Bench) -> None:
    base = bench.server.commit({"a": b"1"})
    bench.server.branches[SCAFFOLD] = base
    one = await bench.forge.commit_files(REPO, SCAFFOLD, base, {"a": b"2"}, "one")
    two = await bench.forge.commit_files(REPO, SCAFFOLD, one, {"a": b"3", "b": b"4"}, "two")
    assert bench.server.branches == {SCAFFOLD: two}
    assert bench.server.parents(two) == (one,)
    assert bench.server.files(two) == {"a": b"3", "b": b"4"}


async def test_a_branch_that_somebody_moved_is_left_alone(bench: Bench) -> None:
    base = bench.server.commit({"a": b"1"})
    theirs = bench.server.commit({"a": b"theirs"}, (base,))
    bench.server.branches[SCAFFOLD] = theirs
    with pytest.raises(BranchMoved):
        await bench.forge.commit_files(REPO, SCAFFOLD, base, {"b": b"2"}, "m")
    assert bench.server.branches == {SCAFFOLD: theirs}


@pytest.mark.parametrize("existing", [True, False])
async def test_who_pushes_while_we_commit_keeps_what_they_pushed(bench: Bench, existing: bool) -> None:
    """The branch moves between our look at it and our write."""
    base = bench.server.commit({"a": b"1"})
    theirs = bench.server.commit({"a": b"theirs", "b": b"theirs"}, (base,))
    if existing:
        bench.server.branches[SCAFFOLD] = base
    looked = bench.forge.branch_head

    async def pushed_meanwhile(repository: str, branch: str) -> str | None:
        found = await looked(repository, branch)
        bench.server.branches[SCAFFOLD] = theirs
        return found

    bench.forge.branch_head = pushed_meanwhile  # type: ignore[method-assign]
    with pytest.raises(BranchMoved):
        await bench.forge.commit_files(REPO, SCAFFOLD, base, {"a": b"ours", "b": b"ours"}, "m")
    assert bench.server.branches == {SCAFFOLD: theirs}


async def test_gitea_answers_500_to_two_who_push_at_once(bench: Bench) -> None:
    if bench.name != "gitea":
        return
    base = bench.server.commit({"a": b"1"})
    theirs = bench.server.commit({"a": b"theirs"}, (base,))
    bench.server.branches[SCAFFOLD] = base
    bench.server.faults = [Fault(500, method="POST")]
    with pytest.raises(TemporaryError):
        await bench.forge.commit_files(REPO, SCAFFOLD, base, ADDED, MESSAGE)
    bench.server.faults = [Fault(500, method="POST")]
    looked = bench.forge.branch_head

    async def pushed_meanwhile(repository: str, branch: str) -> str | None:
        found = await looked(repository, branch)
        bench.server.branches[SCAFFOLD] = theirs
        return found

    bench.forge.branch_head = pushed_meanwhile  # type: ignore[method-assign]
    with pytest.raises(BranchMoved):
        await bench.forge.commit_files(REPO, SCAFFOLD, base, ADDED, MESSAGE)


async def test_a_commit_whose_answer_was_lost_is_found(bench: Bench) -> None:
    base = bench.server.commit({"a": b"1"})
    bench.server.branches[SCAFFOLD] = base
    for _ in range(4):
        bench.server.faults.append(Fault(504, after=True, method="PATCH"))
    if bench.name == "gitea":
        bench.server.faults = [Fault(504, after=True, method="POST")]
    with pytest.raises(TemporaryError):
        await bench.forge.commit_files(REPO, SCAFFOLD, base, ADDED, MESSAGE)
    made = bench.server.branches[SCAFFOLD]
    assert made != base
    assert await bench.forge.find_commit(REPO, SCAFFOLD, "Sluice-Run: 1") == made


async def test_a_commit_is_found_by_its_whole_line(bench: Bench) -> None:
    first = bench.server.commit({"a": b"1"}, message="x\n\nSluice-Run: 11\n")
    second = bench.server.commit({"a": b"2"}, (first,), message="Sluice-Run: 12 or so\nsee Sluice-Run: 1")
    bench.server.branches["main"] = bench.server.commit({"a": b"3"}, (second,))
    assert await bench.forge.find_commit(REPO, "main", "Sluice-Run: 11") == first
    assert await bench.forge.find_commit(REPO, "main", "Sluice-Run: 12") is None
    assert await bench.forge.find_commit(REPO, "main", "Sluice-Run: 1") is None
    assert await bench.forge.find_commit(REPO, "nothing", "Sluice-Run: 11") is None


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/../b", ".git/config", "a/.GIT/x", "a\0b", "a\nb", "a/"])
async def test_no_path_leaves_the_repository(bench: Bench, path: str) -> None:
    base = bench.server.commit({"a": b"1"})
    with pytest.raises(ValueError):
        await bench.forge.commit_files(REPO, SCAFFOLD, base, {"fine": b"", path: b""}, "m")
    for branch in ("", "refs/heads/x", "a//b", ".."):
        with pytest.raises(ValueError):
            await bench.forge.commit_files(REPO, branch, base, {"a": b""}, "m")
    assert bench.server.calls == []


async def test_a_pull_request_is_opened_once_and_found(bench: Bench) -> None:
    base = bench.server.commit({"a": b"1"})
    bench.server.branches.update({"main": base, SCAFFOLD: bench.server.commit({"a": b"2"}, (base,))})
    bench.server.pull(1, base, head={"ref": SCAFFOLD, "sha": base, "repo": {"id": 99}})  # from a fork
    bench.server.pulls[1]["head"]["label"] = "evil:" + SCAFFOLD
    bench.server.pull(2, base, state="closed", head={"ref": SCAFFOLD, "sha": base, "repo": {"id": 12}})
    if bench.name == "gitea":
        assert await bench.forge.find_pull_request(REPO, SCAFFOLD) is None
    bench.server.pulls[1]["state"] = "closed"
    assert await bench.forge.find_pull_request(REPO, SCAFFOLD) is None
    made = await bench.forge.create_pull_request(REPO, SCAFFOLD, "main", "Set it up", "With *folders*.")
    assert bench.server.pulls[made]["title"] == "Set it up"
    assert bench.server.pulls[made]["body"] == "With *folders*."
    assert await bench.forge.find_pull_request(REPO, SCAFFOLD) == made
    for head, target in ((SCAFFOLD, "main"), ("nothing", "main"), (SCAFFOLD, "nothing")):
        with pytest.raises(UserError) as caught:
            await bench.forge.create_pull_request(REPO, head, target, "Again", "")
        assert caught.value.code == "forge_refused"


@pytest.mark.parametrize("code", [401, 403, 404, 422])
async def test_refusals_carry_the_forges_words(bench: Bench, code: int) -> None:
    bench.server.faults = [Fault(code, body='{"message": "No, because"}')]
    with pytest.raises(UserError, match="No, because") as caught:
        await bench.forge.create_comment(REPO, 1, "x")
    assert caught.value.code == "forge_refused"
    assert bench.slept == []


async def test_an_unreadable_answer_is_temporary(bench: Bench) -> None:
    for body in ("<html>", '{"login": 3}', "", "[" * 100_000):
        bench.server.faults = [Fault(200, body=body)]
        with pytest.raises(TemporaryError):
            await bench.forge.own_login()


async def test_the_token_is_nowhere(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    echo = '{"message": "bad token ' + TOKEN + " " + base64.b64encode(b"x").decode() + '"}'
    texts = [repr(bench.forge), repr(bench.client), str(vars(bench.forge))]
    for fault in (Fault(401, body=echo), Fault(500, body=echo), Fault(429, body=echo), Fault()):
        bench.server.faults = [fault]
        with pytest.raises((UserError, TemporaryError)) as caught:
            await bench.forge.create_comment(REPO, 1, "x")
        texts += [repr(caught.value), str(caught.value), repr(caught.value.__context__)]
        bench.client._closed_until = 0.0
    assert bench.server.calls[0].headers["authorization"].endswith(TOKEN)
    assert TOKEN not in caplog.text + "".join(texts)


async def test_calls_run_side_by_side(bench: Bench) -> None:
    bench.server.roles["alice"] = "write"
    roles = await asyncio.gather(*(bench.forge.role(REPO, "alice") for _ in range(50)))
    assert set(roles) == {Role.DEPLOYER}
    assert bench.client.calls == 50
