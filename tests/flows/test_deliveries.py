"""Deliveries that say nothing, or nothing that can be read: put away, without any effect."""

from urllib.parse import quote_plus

import msgspec
import pytest

from models import Delivery
from tests.world import World, says

NESTED = b'{"action": "created", "comment": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


async def put_away(world: World, delivery: str) -> tuple[str, str | None]:
    """What became of a delivery, by its id in the answer."""
    await world.settled()
    [row] = [row for row in await world.rows(Delivery) if str(row.id) == delivery]
    return row.status, row.reason


@pytest.mark.parametrize(
    ("event", "body", "status"),
    [
        ("ping", b'{"zen": "Keep it logically awesome."}', "ignored"),
        ("deployment_protection_rule", b"{}", "ignored"),
        ("issue_comment", b'{"action": "deleted"}', "ignored"),
        ("issue_comment", b"", "undecodable"),
        ("issue_comment", b"not json", "undecodable"),
        ("issue_comment", b'{"action": "created"}', "undecodable"),
        ("issue_comment", b'{"action": "created", "comment": "\xff\xfe"}', "undecodable"),
        ("issue_comment", b'{"action": "created\x00"}', "undecodable"),
        ("issue_comment", NESTED, "undecodable"),
        ("push", b'{"ref": "refs/tags/v1"}', "ignored"),
        ("push", b"[]", "undecodable"),
        ("push", b'{"ref": "refs/heads/\\u0000"}', "undecodable"),
        ("pull_request", b'{"action": "opened", "pull_request": null}', "undecodable"),
    ],
)
async def test_nothing_comes_of_it(world: World, event: str, body: bytes, status: str) -> None:
    """202, for it is kept; then it ends as ignored or undecodable, and the forge hears nothing."""
    answer = world.send(event, body)

    assert answer.status_code == 202
    assert (await put_away(world, answer.json()["delivery"]))[0] == status
    assert world.effects() == []


async def test_a_name_with_nul(world: World) -> None:
    """NUL, which PostgreSQL cannot keep, in a real comment: no crash, and no command hidden behind it."""
    await world.enabled()
    world.open_pull_request(says("topic"))
    id = world.write("hello", by="dave")
    await world.settled()
    [sent] = [one for one in world.forge.deliveries if one.event == "issue_comment"][-1:]
    payload = msgspec.json.decode(sent.body)
    payload["comment"]["body"] = "/status\x00 \x00x\n/deploy\x00 development"
    payload["comment"]["id"] = id + 1_000_000

    answer = world.send("issue_comment", msgspec.json.encode(payload))
    await world.settled()

    assert answer.status_code == 202
    assert (await put_away(world, answer.json()["delivery"]))[0] in ("opened", "ignored", "undecodable")


async def test_a_form_encoded_body(world: World) -> None:
    """GitHub hooks may send forms: their payload counts like any other."""
    await world.enabled()
    world.open_pull_request(says("topic"))
    await world.settled()
    world.forge.lose_deliveries()
    world.write("/deploy development", by="dave")
    await world.forge.settled()
    [lost] = [one for one in world.forge.deliveries if one.event == "issue_comment"][-1:]

    body = b"payload=" + quote_plus(lost.body).encode()
    answer = world.send("issue_comment", body, content_type="application/x-www-form-urlencoded")
    await world.settled()

    assert answer.status_code == 202
    assert world.live() == "topic"


async def test_a_hook_speaks_for_its_repository_only(world: World) -> None:
    """A registered hook's delivery about another repository is ignored and says why."""
    await world.enabled()
    world.open_pull_request(says("topic"))
    await world.settled()
    path = await world.register_hook()
    other = World(world.place)
    other.number = 0
    other.open_pull_request(says("other"))
    world.forge.hold_deliveries()
    other.write("/help", by="alice")
    world.write("/help", by="alice")
    await world.forge.settled()
    mine = [one for one in world.forge.deliveries if one.event == "issue_comment" and one.hook.url.endswith(path)][-1]
    theirs = [one for one in world.forge.deliveries if one.event == "issue_comment"]
    [theirs] = [one for one in theirs if one.repository.full_name == other.repository]
    secret = mine.hook.secret.encode()

    answer = world.send("issue_comment", theirs.body, path=path, secret=secret)

    assert answer.status_code == 202
    status, reason = await put_away(world, answer.json()["delivery"])
    assert status == "ignored"
    assert (reason or "").startswith("hook_repository_mismatch")
    assert other.comment_text() == ""
    world.forge.release()
    await world.settled()
    assert "/help" in other.comment_text()
    await other.end()
