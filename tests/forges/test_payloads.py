"""Real payloads and the events they become, and bodies that nobody should send."""

import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from bot.core.events import Checked, Commented, Event, PullRequestChanged, Pushed, Reviewed
from bot.forges import Undecodable
from bot.forges.gitea import Gitea
from bot.forges.github import GitHub

FOLDER = Path(__file__).parents[1] / "payloads"
FORGES = {"github": GitHub(), "gitea": Gitea("https://gitea.example.test")}
FILES = sorted(path for path in FOLDER.glob("*/*.json") if not path.name.endswith(".event.json"))
ZEROS = "0" * 40


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def parse(name: str, payload: Any, headers: dict[str, str] | None = None) -> Event | None:
    """`name` is forge/event."""
    forge, event = name.split("/")
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return FORGES[forge].parse(event.split(".")[0], headers or {}, body)


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_every_payload_becomes_the_event_beside_it(path: Path) -> None:
    expected = json.loads(path.with_name(f"{path.stem}.event.json").read_text())
    event = parse(f"{path.parent.name}/{path.stem}", path.read_bytes())
    assert json.loads(msgspec.json.encode(event)) == expected
    if event is not None:
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


def test_all_payloads_are_there() -> None:
    assert len(FILES) == 39


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_as_a_form_they_become_the_same(path: Path) -> None:
    form = urlencode({"payload": path.read_text()}).encode()
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    name = f"{path.parent.name}/{path.stem}"
    assert parse(name, form, headers) == parse(name, path.read_bytes())


# What GitHub's examples lack, made from them.


def pushed(**changes: Any) -> Pushed:
    event = parse("github/push", load("github/push.branch_created") | changes)
    assert isinstance(event, Pushed)
    return event


def test_a_branch_moved_by_force() -> None:
    event = pushed(before="a" * 40, forced=True, ref="refs/heads/feature/x")
    assert (event.before, event.forced, event.branch) == ("a" * 40, True, "feature/x")


def test_a_branch_was_deleted() -> None:
    event = pushed(before="a" * 40, after=ZEROS, deleted=True)
    assert (event.before, event.after) == ("a" * 40, None)


def test_a_push_without_a_sender() -> None:
    payload = load("github/push.branch_created")
    del payload["sender"]
    event = parse("github/push", payload)
    assert isinstance(event, Pushed)
    assert event.actor == "Codertocat"


def comment(body: str = "/deploy production", **user: Any) -> Commented:
    payload = load("github/issue_comment.created_on_issue")
    payload["issue"]["pull_request"] = {"url": "https://api.github.com/repos/Codertocat/Hello-World/pulls/1"}
    payload["comment"]["body"] = body
    payload["comment"]["user"] |= user
    event = parse("github/issue_comment", payload)
    assert isinstance(event, Commented)
    return event


def test_a_comment_on_a_pull_request() -> None:
    event = comment("/deploy production 🚀\r\n> quoted")
    assert (event.number, event.comment_id, event.actor) == (1, "492700400", "Codertocat")
    assert event.body == "/deploy production 🚀\r\n> quoted"
    assert event.actor_is_bot is False


@pytest.mark.parametrize(
    "user", [{"type": "Bot"}, {"login": "renovate[bot]"}, {"login": "dependabot[bot]", "type": "Bot"}]
)
def test_a_bots_comment_is_known_as_one(user: dict[str, str]) -> None:
    assert comment(**user).actor_is_bot is True


def test_nul_is_taken_out() -> None:
    assert comment("/dep\0loy\0").body == "/deploy"
    assert pushed(ref="refs/heads/ma\0in").branch == "main"


def pull(**changes: Any) -> PullRequestChanged:
    payload = load("github/pull_request.closed")
    payload["pull_request"] |= changes
    event = parse("github/pull_request", payload)
    assert isinstance(event, PullRequestChanged)
    return event


def test_a_merged_pull_request() -> None:
    assert pull(merged=True).merged is True
    assert pull().merged is False


def test_a_fork_and_one_that_is_gone() -> None:
    head = load("github/pull_request.closed")["pull_request"]["head"]
    assert pull(head=head | {"repo": head["repo"] | {"id": 5}}).head_repository_id == "5"
    assert pull(head=head | {"repo": None}).head_repository_id is None


def test_an_author_whose_account_is_gone() -> None:
    assert (pull(user=None).author, pull(user=None).author_id) == ("ghost", "")


def test_another_base_branch() -> None:
    """Of all edits, only that of the base is for us."""
    payload = load("github/pull_request.opened") | {"action": "edited"}
    base = {"ref": {"from": "release"}, "sha": {"from": "a" * 40}}
    event = parse("github/pull_request", payload | {"changes": {"base": base, "title": {"from": "x"}}})
    assert isinstance(event, PullRequestChanged)
    assert (event.action, event.base_branch) == ("retargeted", "master")
    assert parse("github/pull_request", payload | {"changes": {"title": {"from": "x"}}}) is None


@pytest.mark.parametrize("verdict", ["approved", "changes_requested"])
def test_a_review_with_its_own_commit(verdict: str) -> None:
    payload = load("github/pull_request_review.submitted")
    payload["review"] |= {"state": verdict, "commit_id": "a" * 40}
    event = parse("github/pull_request_review", payload)
    assert isinstance(event, Reviewed)
    assert (event.number, event.review_id, event.commit) == (2, "237895671", "a" * 40)
    assert (event.verdict, event.actor, event.actor_id, event.actor_is_bot) == (
        verdict,
        "Codertocat",
        "21031067",
        False,
    )
    payload["review"]["user"] = None
    assert parse("github/pull_request_review", payload) is None


@pytest.mark.parametrize(
    "action",
    ["assigned", "auto_merge_enabled", "edited", "labeled", "new", "", "✓"],
)
def test_other_actions_are_not_for_us(action: str) -> None:
    assert parse("github/pull_request", load("github/pull_request.opened") | {"action": action}) is None
    assert parse("github/issue_comment", {"action": action}) is None
    assert parse("github/commit_comment", {"action": action}) is None
    assert parse("github/pull_request_review", {"action": action}) is None
    if action != "edited":  # of which Gitea's may be for us: it says what was edited beside the whole
        assert parse("gitea/pull_request", {"action": action}) is None


@pytest.mark.parametrize("event", ["ping", "star", "meta", "PUSH", "", "push.x", "../push"])
def test_other_events_are_not_for_us_whatever_their_body(event: str) -> None:
    for forge in FORGES.values():
        assert forge.parse(event, {}, b"\xff[[[") is None


# Gitea's own ways.


def test_gitea_addresses_are_the_servers_not_the_payloads() -> None:
    """Gitea writes the Host header of whoever caused an event into the payload; nothing may be cloned from there."""
    payload = load("gitea/issue_comment.created_on_pull_request")
    payload["repository"] |= {"clone_url": "https://evil.test/acme/web.git", "html_url": "https://evil.test/"}
    event = parse("gitea/issue_comment", payload)
    assert isinstance(event, Commented)
    assert event.repository.clone_url == "https://gitea.example.test/acme/web.git"
    assert event.repository.html_url == "https://gitea.example.test/acme/web"


def test_gitea_event_types_in_the_place_of_events() -> None:
    """Some versions name the finer type where others name the event."""
    comment = load("gitea/issue_comment.created_on_pull_request")
    assert parse("gitea/pull_request_comment", comment) == parse("gitea/issue_comment", comment)
    synchronized = load("gitea/pull_request.synchronized")
    assert parse("gitea/pull_request_sync", synchronized) == parse("gitea/pull_request", synchronized)


def test_a_review_is_no_comment() -> None:
    """Gitea names reviews `pull_request_comment` too; their action is not `created`."""
    assert parse("gitea/pull_request_comment", load("gitea/pull_request.opened") | {"action": "reviewed"}) is None


@pytest.mark.parametrize(
    ("name", "kind", "verdict"),
    [
        ("pull_request_approved", "pull_request_review_approved", "approved"),
        ("pull_request_rejected", "pull_request_review_rejected", "changes_requested"),
        ("pull_request_review_approved", "pull_request_review_approved", "approved"),
        ("pull_request_comment", "pull_request_review_comment", None),
        ("pull_request_approved", "pull_request_review_comment", None),
    ],
)
def test_gitea_reviews_without_their_commit(name: str, kind: str, verdict: str | None) -> None:
    payload = load("gitea/pull_request.opened") | {"action": "reviewed", "review": {"type": kind, "content": "x"}}
    event = parse(f"gitea/{name}", payload)
    if verdict is None:
        assert event is None
        return
    assert isinstance(event, Reviewed)
    assert (event.verdict, event.review_id, event.commit, event.actor_id) == (verdict, None, None, "4")


@pytest.mark.parametrize(
    ("draft", "changes", "action"),
    [
        (True, {"title": {"from": "A change"}}, "drafted"),
        (False, {"title": {"from": "WIP: A change"}}, "ready"),
        (False, {"title": {"from": "[wip] A change"}}, "ready"),
        (False, {"title": {"from": "Another change"}}, None),
        (True, {"title": {"from": "WIP: Another change"}}, None),
        (False, {"ref": {"from": "release"}}, "retargeted"),
        (False, {"body": {"from": "x"}}, None),
        (False, None, None),
    ],
)
def test_gitea_drafts_are_titles(draft: bool, changes: dict[str, Any] | None, action: str | None) -> None:
    payload = load("gitea/pull_request.opened") | {"action": "edited"}
    payload["pull_request"]["draft"] = draft
    event = parse("gitea/pull_request", payload | ({"changes": changes} if changes else {}))
    assert (event.action if isinstance(event, PullRequestChanged) else event) == action


def test_giteas_own_accounts_are_bots() -> None:
    payload = load("gitea/issue_comment.created_on_pull_request")
    payload["comment"]["user"] |= {"id": -2, "login": "gitea-actions"}
    event = parse("gitea/issue_comment", payload)
    assert isinstance(event, Commented)
    assert event.actor_is_bot is True


# Checks.


def status(forge: str, **changes: Any) -> Event | None:
    """GitHub's example, or what Gitea 1.26 sends (`CommitStatusPayload` of its sources)."""
    if forge == "github":
        return parse("github/status", load("github/status.success") | changes)
    push = load("gitea/push.branch_moved")
    told = {"sha": "a" * 40, "context": "ci/test", "state": "success", "id": 7, "description": "", "target_url": ""}
    return parse("gitea/status", {**told, "repository": push["repository"], "sender": push["sender"], **changes})


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize(
    ("state", "context", "told"),
    [
        ("success", "ci/test", "success"),
        ("failure", "ci/test", "failure"),
        ("error", "ci/test", "failure"),
        ("pending", "ci/test", None),
        ("success", "sluice/production", None),
        ("failure", "sluice/config", None),
    ],
)
def test_the_end_of_a_check(forge: str, state: str, context: str, told: str | None) -> None:
    event = status(forge, state=state, context=context)
    assert (event.name, event.state) == (context, told) if isinstance(event, Checked) else event is told is None


def test_a_check_run_of_our_own_is_none() -> None:
    payload = load("github/check_run.completed")
    payload["check_run"]["name"] = "sluice/production"
    assert parse("github/check_run", payload) is None


# Bodies that nobody should send: Undecodable, never another error.

HOSTILE = {
    "empty": b"",
    "not JSON": b"hello",
    "half": b'{"action": "created", "comment": {',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999999",
    "bad UTF-8": b'{"action": "created", "ref": "\xff\xfe"}',
    "lone surrogate": b'{"action": "created", "ref": "refs/heads/\\ud800"}',
    "deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "wrong types": b'{"action": 3, "ref": {}}',
    "nothing in it": b'{"action": "created", "ref": "refs/heads/main"}',
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("event", ["push", "pull_request", "issue_comment", "check_run", "status"])
def test_hostile_bodies(name: str, event: str) -> None:
    for forge in FORGES.values():
        for headers in ({}, {"content-type": "application/json"}, {"content-type": "x" * 1000}):
            with contextlib.suppress(Undecodable):
                assert forge.parse(event, headers, HOSTILE[name]) is None


@pytest.mark.parametrize(
    ("event", "where", "value"),
    [
        ("push.branch_created", "after", '"abc"'),
        ("push.branch_created", "after", json.dumps("a" * 40 + "\n")),
        ("push.branch_created", "after", json.dumps("../" * 13 + "a")),
        ("push.branch_created", "after", json.dumps("A" * 40)),
        ("push.branch_created", "repository.id", "9" * 5000),
        ("push.branch_created", "repository.id", str(2**64)),
        ("push.branch_created", "repository.id", '"186853002"'),
        ("push.branch_created", "repository.full_name", '"../../user"'),
        ("push.branch_created", "repository.full_name", '"acme/.."'),
        ("push.branch_created", "repository.full_name", '"acme/web\\n"'),
        ("push.branch_created", "repository.full_name", '"acme/\\u0000"'),
        ("push.branch_created", "repository.full_name", '"acme"'),
        ("pull_request.opened", "pull_request.number", str(2**31)),
        ("pull_request.opened", "pull_request.number", "-1"),
        ("pull_request.opened", "pull_request.number", "1.5"),
        ("pull_request.opened", "pull_request.head", "null"),
        ("pull_request.opened", "repository", "null"),
    ],
    ids=range(17),
)
def test_fields_that_cannot_be_right(event: str, where: str, value: str) -> None:
    payload = load(f"github/{event}")
    *way, last = where.split(".")
    inner = payload
    for step in way:
        inner = inner[step]
    inner[last] = "HERE"
    with pytest.raises(Undecodable):
        parse(f"github/{event}", json.dumps(payload).replace('"HERE"', value).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"payload=%ff",
        b"payload=\xff",
        b"payload={}&payload={}",
        b"other={}",
        b"&".join(b"a=%d" % n for n in range(100)),
        b"payload=%00",
        b"payload=" + b"[" * 100_000,
    ],
    ids=range(9),
)
def test_forms_that_are_none(body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for forge in FORGES.values():
        with pytest.raises(Undecodable):
            forge.parse("push", headers, body)
