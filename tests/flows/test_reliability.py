"""Nothing is lost and nothing is done twice, whatever goes wrong on the way."""

import asyncio
import itertools
import random
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bot.store.desk import MAX_ATTEMPTS
from bot.store.leases import LEASE
from bot.store.presence import Presence
from models import Delivery, Deployment, Notification
from models.base import now
from tests.bulk import leave_unopened
from tests.thorough import sample
from tests.world import PAST, World, ends, says

pytestmark = pytest.mark.thorough

SEED = 20_240_501


async def ready(world: World) -> None:
    await world.enabled()
    world.open_pull_request(says("topic"))
    await world.settled()


def said_once(world: World, sha: str) -> None:
    """One terminal status, and no status twice in a row."""
    statuses = [(one.state, one.description) for one in world.raw_statuses(sha, "development")]
    assert len(ends(world.statuses(sha))) == 1, statuses
    assert all(one != two for one, two in itertools.pairwise(statuses)), statuses


# Restarts.


async def test_hundreds_of_unopened_deliveries(world: World) -> None:
    """Recorded, not opened, and then a restart: all 200 are worked off, the commands among them once each."""
    assert await leave_unopened(world, 200) == 20

    await asyncio.to_thread(world.place.start_sluice)
    await world.settled(60)

    runs = await world.runs("help")
    assert len(runs) == 20
    mine = Delivery.delivery_key.startswith(f"{world.repository}-")
    assert {row.status for row in await world.rows(Delivery, mine)} == {"opened", "ignored"}
    assert all(run.finished_at for run in runs)
    assert len(world.comments()) == 1
    made = [effect for effect in world.effects(kind="comment") if effect.kind == "comment.created"]
    assert len(made) == 1
    before = len(world.effects())
    await world.restart()
    await world.settled()
    assert len(world.effects()) == before


@pytest.mark.long
@pytest.mark.parametrize("others", [False, True], ids=["alone", "others_work"])
async def test_killed_and_started_again(world: World, others: bool) -> None:
    """Killed while a push is rolled out: it goes on, and says its end once. Alone at once, else when the leases end."""
    await world.enabled()
    world.may_log_errors = True
    sha = world.push(says("two"))
    world.place.life.dies_before("cluster.request_reconcile")
    await world.until(lambda: world.place.life.dead)
    somebody = Presence(world.place.backend.database.file)
    await world.kill()
    assert await _held(world) == [sha]

    if others:
        async with somebody.entering():
            pass
    await asyncio.to_thread(world.place.start_sluice)
    if others:
        assert await _held(world) == [sha]
        await world.expire_leases()
    await world.settled(LEASE.total_seconds() / 2)

    somebody.leave()
    assert world.live() == "two"
    said_once(world, sha)


async def _held(world: World) -> list[str]:
    return [row.commit_hash for row in await world.rows(Deployment, Deployment.lease_until > now())]


STORIES = {"push": 26, "deploy": 34, "close": 40}  # about how many steps each has


@pytest.mark.long
@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_any_step(world: World, story: str) -> None:
    """The process ends between any two of its commits and calls: one end, one comment, the wished state."""
    await ready(world)
    world.may_log_errors = True
    steps = sample(sorted(random.Random(SEED).sample(range(STORIES[story]), 2)), list(range(STORIES[story])))
    for step in steps:
        if story == "close":
            await world.comment(f"/deploy development {world.head('topic')} --behind")
        world.place.life.dies_at(step)
        sha = _act(world, story, step)
        await world.until(lambda: _dead_or_done(world))
        await world.kill()
        await world.rise()
        await world.settled()

        assert len(await world.pins()) == (1 if story == "deploy" else 0), step
        assert len(world.comments()) <= 1, step
        if story == "close":
            world.forge.reopen_pull_request(world.repository, world.number, "dave")
            await world.settled()
            assert world.follows() == "branch-main", step
            sources = world.cluster.list("GitRepository", world.namespace())
            assert ["commit" in one["spec"]["ref"] for one in sources] == [False], step
        else:
            said_once(world, sha)
            assert world.live() == f"{story} {step}", step


def _act(world: World, story: str, step: int) -> str:
    if story == "push":
        return world.push(says(f"push {step}"))
    if story == "deploy":
        sha = world.push(says(f"deploy {step}"), branch="topic")
        world.write(f"/deploy development {sha}")
        return sha
    world.forge.close_pull_request(world.repository, world.number, "dave")
    return world.head()


async def _dead_or_done(world: World) -> bool:
    if world.place.life.dead:
        return True
    await world.forge.settled()
    return await world.idle()


# The forge misbehaves.


@pytest.mark.long
async def test_the_answer_to_a_status_is_lost(world: World) -> None:
    """The forge took the status and the connection broke: it is recognised, not repeated."""
    await world.enabled()
    for _ in range(3):
        world.forge.drop_next("POST", f"/repos/{world.repository}/statuses/*")
    sha = world.push(says("two"))
    await world.settled()

    said_once(world, sha)
    assert world.states(sha) == ["pending", "success"]


async def test_the_answer_to_a_comment_is_lost(world: World) -> None:
    """The forge made the comment and the connection broke: it is found again, and there is one."""
    world.open_pull_request(says("topic"))
    world.forge.drop_next("POST", f"*/issues/{world.number}/comments")

    await world.comment("/help", by="alice")

    assert "`/help`" in world.comment_text()


@pytest.mark.parametrize("status", [403, 429])
async def test_rate_limits(world: World, status: int) -> None:
    """Retry-After is waited for, and then everything is said."""
    await world.enabled()
    world.forge.limit_next(1, status, method="POST", path_pattern=f"/repos/{world.repository}/*", times=2)

    sha = world.push(says("two"))
    await world.settled()

    said_once(world, sha)


@pytest.mark.long
async def test_a_forge_that_fails_for_a_while(world: World) -> None:
    """Eight answers of 502, to whatever is asked: everything is carried out and said when it is over."""
    await ready(world)
    world.forge.fail_next("*", f"/repos/{world.repository}/*", 502, times=8)

    world.write("/deploy development")
    await world.settled(40, hurry=True)

    assert world.live() == "topic"
    said_once(world, world.head("topic"))
    assert "/deploy development" in world.comment_text()


async def test_an_old_comment_has_as_much_patience_as_a_new_one(world: World) -> None:
    """Trouble with a request that was opened days ago is waited for like any other."""
    world.open_pull_request(says("topic"))
    await world.comment("/help", by="alice")
    long_ago = now() - timedelta(days=3)
    await world.execute(sa.update(Notification).where(Notification.kind == "comment").values(created_at=long_ago))
    world.forge.fail_next("PATCH", f"/repos/{world.repository}/issues/comments/*", 502, times=4)

    await world.comment("/help deploy", by="alice", hurry=True)

    assert "`/help deploy`" in world.comment_text()


async def test_a_comment_that_was_given_up(world: World) -> None:
    """What once could not be said does not silence the request for ever."""
    world.open_pull_request(says("topic"))
    await world.comment("/help", by="alice")
    quiet = {"status": "queued", "attempts": MAX_ATTEMPTS, "due_at": PAST, "content_digest": ""}
    await world.execute(sa.update(Notification).where(Notification.kind == "comment").values(**quiet))
    await world.settled()
    rows = await world.rows(Notification, Notification.kind == "comment", Notification.target == str(world.number))
    assert "failed" in [row.status for row in rows]

    await world.comment("/help deploy", by="alice")

    assert "`/help deploy`" in world.comment_text()


# The cluster misbehaves.


@pytest.mark.parametrize("code", [409, 429, 500, 0])
@pytest.mark.parametrize("after", [False, True])
async def test_a_cluster_that_fails(world: World, code: int, after: bool) -> None:
    """Refused writes and cut connections, before and after their effect: the pin is where it should be, said once."""
    await ready(world)
    world.cluster.fail_next(3, code, match="PATCH /apis/", after=after)

    await world.comment("/deploy development", hurry=True)

    assert world.live() == "topic"
    said_once(world, world.head("topic"))


async def test_watches_that_break(world: World) -> None:
    """Watches end, abruptly, and the history they would go on from is gone (410): nothing is missed."""
    await world.enabled()
    for number in range(3):
        world.cluster.compact()
        world.cluster.drop_watches(abrupt=number % 2 == 0)
        sha = world.push(says(f"number {number}"))
        await world.until(lambda sha=sha: ends(world.statuses(sha)))
        said_once(world, sha)
    await world.settled()

    assert world.live() == "number 2"


# Rows that end their workers.


async def test_a_poison_row(world: World) -> None:
    """A row that ends every process that takes it is given up after a few, and its author is told."""
    await ready(world)
    world.may_log_errors = True
    for _ in range(MAX_ATTEMPTS):
        world.place.life.dies_at(None)
        await _die_in_the_command(world)
        await world.kill()
        await world.rise()

    await world.settled()

    [run] = [run for run in await world.runs() if run.name == "sync"]
    assert (run.status, run.code) == ("failed", "gave_up")
    assert f"gave up after {MAX_ATTEMPTS} tries" in world.comment_text()


async def _die_in_the_command(world: World) -> None:
    """The process ends in the middle of /sync, wherever that is taken up."""
    world.place.life.dies_before("cluster.request_reconcile")
    if not await world.runs("sync"):
        world.write("/sync")
    await world.until(lambda: world.place.life.dead)
