"""What counts as a command, and the one comment in which everything is answered."""

import asyncio
import uuid

import msgspec
import pytest

from bot.core.conversation import MARKER
from bot.sandbox.town import BOT
from tests.world import WORK, World, says


async def ready(world: World) -> None:
    await world.enabled("development")
    world.open_pull_request(says("topic"))
    await world.settled()


async def test_bots_are_silent(world: World) -> None:
    """A bot's comment runs nothing, whatever its permissions."""
    if "robot" not in world.forge._state.users:
        world.forge.add_user("robot", "Bot")
    world.forge.set_permission(world.repository, "robot", "admin")
    await ready(world)
    before = len(await world.runs())

    await world.comment("/deploy development", by="robot")

    assert len(await world.runs()) == before
    assert world.comment_text() == ""


async def test_own_comments_are_silent(world: World) -> None:
    """What Sluice itself wrote is never a command, also when somebody pastes it."""
    await ready(world)
    before = len(await world.runs())

    await world.comment(f"{MARKER}x -->\n/deploy development", by="alice")

    assert len(await world.runs()) == before


async def test_edited_comments_are_silent(world: World) -> None:
    """A command that was edited into a comment is not carried out."""
    await ready(world)
    id = await world.comment("Looks good.", by="dave")

    world.forge.edit_comment(world.repository, id, "/deploy development", "dave")
    await world.settled()

    assert await world.runs("deploy") == []


@pytest.mark.parametrize(
    "text",
    [
        "> /deploy development",
        "```\n/deploy development\n```",
        "    /deploy development",
        "say /deploy development",
        "Hi",
    ],
)
async def test_only_words_at_the_start_of_a_line(world: World, text: str) -> None:
    """Quotes, code and prose are silent."""
    world.open_pull_request(says("topic"))

    await world.comment(text, by="alice")

    assert {run.name for run in await world.runs()} <= WORK
    assert world.comment_text() == ""


async def test_a_near_miss(world: World) -> None:
    """A slip of the finger is answered with what was probably meant."""
    world.open_pull_request(says("topic"))

    await world.comment("/deplyo development", by="alice")

    assert "`/deplyo` by alice" in world.comment_text()
    assert "did you mean `/deploy`?" in world.comment_text()


async def test_an_issue_is_no_pull_request(world: World) -> None:
    """Commands on plain issues are silent."""
    number = world.forge.open_issue(world.repository, "Question", "eve")

    await world.comment("/help", by="alice", on=number)

    assert world.comments(number) == []


async def test_several_commands_in_one_comment(world: World) -> None:
    """Each line is a run of its own; one that is refused does not keep the others."""
    await ready(world)

    await world.comment("/sync nowhere\n/status\nthanks!\n/deploy development", by="dave")

    mine = {run.name: run.code for run in await world.asked()}
    assert mine == {"sync": "target_unknown", "status": None, "deploy": None}
    assert world.live() == "topic"
    text = world.comment_text()
    assert all(f"`{command}`" in text for command in ("/sync nowhere", "/status", "/deploy development"))


async def test_one_comment_after_many_commands(world: World) -> None:
    """However much is asked, at once and one after the other: one comment, edited in place, the newest on top."""
    world.open_pull_request(says("topic"))
    for number in range(4):
        world.write("\n".join(["/help deploy"] * 5 + [f"/help {number}"]), by="alice")
    await world.settled()

    assert len(world.comments()) == 1
    assert [effect.kind for effect in world.effects(kind="comment")].count("comment.created") == 1
    text = world.comment_text()
    order = [text.index(f"`/help {number}`") for number in (3, 2, 1, 0)]
    assert order == sorted(order)


async def test_the_order_of_more_than_nine_lines(world: World) -> None:
    """Within one comment the last line is the newest, also past the ninth."""
    world.open_pull_request(says("topic"))

    await world.comment("\n".join(["Hello"] * 5 + [f"/help {number}" for number in range(8)]), by="alice")

    text = world.comment_text()
    order = [text.index(f"`/help {number}`") for number in reversed(range(8))]
    assert order == sorted(order)


async def test_a_comment_that_somebody_deleted(world: World) -> None:
    """The next answer is in a new comment, and there is only that one."""
    world.open_pull_request(says("topic"))
    await world.comment("/help", by="alice")
    [first] = [one for one in world.forge.comments(world.repository, world.number) if one.user.login == "sluice-bot"]
    world.forge.delete_comment(world.repository, first.id, "alice")

    await world.comment("/help deploy", by="alice")

    assert "`/help deploy`" in world.comment_text()


async def test_deleted_and_cut_off(world: World) -> None:
    """The comment was deleted, and the forge's answer to the new one is lost: there is still only one."""
    world.open_pull_request(says("topic"))
    await world.comment("/help", by="alice")
    [first] = [one for one in world.forge.comments(world.repository, world.number) if one.user.login == "sluice-bot"]
    world.forge.delete_comment(world.repository, first.id, "alice")
    world.forge.drop_next("POST", f"*/issues/{world.number}/comments")

    await world.comment("/help deploy", by="alice")

    assert "`/help deploy`" in world.comment_text()


async def test_many_results_fit_into_one_comment(world: World) -> None:
    """GitHub takes 65,536 characters: what does not fit is counted, and nothing is cut silently."""
    world.open_pull_request(says("topic"))
    for _ in range(4):
        world.write("\n".join(["/help"] * 10), by="alice")
    await world.settled(60)

    text = world.comment_text()
    assert len(text) <= 65_536
    assert "older results" in text
    assert len(await world.runs("help")) == 40


async def test_the_same_comment_under_two_delivery_ids(world: World) -> None:
    """An App's hook and a repository's hook tell of one comment: one run."""
    await ready(world)
    await world.register_hook()

    await world.comment("/deploy development", by="dave")

    assert await world.results("deploy") == [("done", None)]
    assert len(await world.deployments(world.head("topic"))) == 1
    assert world.states(world.head("topic")) == ["pending", "success"]


async def test_one_delivery_fifty_times_at_once(world: World) -> None:
    """The same delivery in fifty requests at the same moment: each gets its 202, and there is one run."""
    await ready(world)
    world.forge.hold_deliveries()
    world.write("/deploy development", by="dave")
    [held] = [one for one in world.forge.deliveries if one.event == "issue_comment" and one.delivered_at is None]
    lower = {name.lower().replace("-", "_"): value for name, value in held.headers.items()}

    answers = await asyncio.gather(
        *(asyncio.to_thread(world.send, "issue_comment", held.body, **lower) for _ in range(50))
    )
    await world.settled()

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["delivery"] for answer in answers}) == 1
    assert await world.results("deploy") == [("done", None)]
    world.forge.release()
    await world.settled()
    assert len(await world.runs("deploy")) == 1


async def test_a_replayed_comment(world: World) -> None:
    """The same body again under a new delivery id, after everything is done, runs nothing."""
    await ready(world)
    await world.comment("/deploy development", by="dave")
    [sent] = [one for one in world.forge.deliveries if one.event == "issue_comment" and b"/deploy" in one.body][-1:]
    effects = len(world.effects())

    answer = world.send("issue_comment", sent.body, x_github_delivery=str(uuid.uuid4()))
    await world.settled()

    assert msgspec.json.decode(answer.content)["result"] == "recorded"
    assert len(world.effects()) == effects


async def test_eyes_on_the_comment_at_once(world: World) -> None:
    """The first thing that people see; once for a comment, however many commands are in it."""
    await ready(world)
    written = await world.comment("/status\n/help\n/delpoy development")
    talk = await world.comment("I would /deploy it some day")
    assert world.forge.reactions(world.repository, written) == [(BOT, "eyes")]
    assert world.forge.reactions(world.repository, talk) == []


async def test_a_command_on_a_commit_is_answered_there(world: World) -> None:
    """Once, also when the answer of the forge was lost; what a pull request is needed for is refused."""
    await world.enabled("development")
    head = world.head()
    world.forge.drop_next("POST", f"*/commits/{head}/comments")
    id = world.forge.comment_on_commit(world.repository, head, "/enable development", "alice")
    await world.settled(hurry=True)

    assert world.forge.reactions(world.repository, id) == [(BOT, "eyes")]
    [told] = world.effects(kind="commit_comment.created")
    assert told.about["sha"] == head
    assert "refused (`wrong_state`): `/enable` works on pull requests only" in told.about["body"]


async def test_no_command_fails_because_the_eyes_do(world: World) -> None:
    await ready(world)
    world.forge.fail_next("POST", "*/reactions", 403, times=None)
    await world.comment("/status")
    assert await world.results("status") == [("done", None)]
