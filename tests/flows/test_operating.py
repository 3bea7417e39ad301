"""The commands of comments from the command line, while another process works: also with the forge down."""

import asyncio
import os
import sys
from typing import NamedTuple

import pytest

from models import Approval, Lock, Run, UnifiedEvent
from tests.flows.test_approvals import enabled as protected
from tests.flows.test_rollback import holds, live_twice, newest
from tests.world import World, says

pytestmark = pytest.mark.thorough

USER = "oper8tor"


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int | None
    out: str
    err: str


async def sluice(world: World, *words: str) -> Ended:
    """Run it in a process of its own, with the settings of the one that works."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    environ = clean | world.place.town.environ() | {"LOGNAME": USER, "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "bot", *words),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ended(process.returncode, out.decode(), err.decode())


@pytest.mark.long
async def test_rolled_back_while_the_forge_is_down(world: World) -> None:
    """Nothing is asked of the forge: the old revision is live, and what is to be said is said when it is back."""
    first, _ = await live_twice(world)
    world.forge.fail_next("*", f"/repos/{world.repository}/*", 502, times=100_000)

    ended = await sluice(world, "rollback", world.repository, "development", "--reason", "the forge burns")

    assert ended.code == 0, ended
    assert f"`development` goes back to {first[:7]}" in ended.out
    assert "The forge did not answer" in ended.out
    last = await newest(world)
    assert f"#{last.number} Live: {first[:7]}" in ended.out
    assert (last.trigger, last.status, last.requested_by) == ("rollback", "succeeded", f"operator:{USER}")
    assert (world.live(), [hold.set_by for hold in await holds(world)]) == ("development", [f"operator:{USER}"])
    [run] = await world.runs("rollback")
    [event] = await world.rows(UnifiedEvent, UnifiedEvent.action == "run.queued", UnifiedEvent.resource_id == run.id)
    assert (event.event_type, event.actor) == ("audit", f"operator:{USER}")

    world.forge.clear_faults()
    await world.settled(60, hurry=True)
    assert world.states(first)[-1] == "success"
    assert [run.status for run in await world.runs("reach")] == ["done"]


async def test_rolled_back_while_forge_and_git_are_down(world: World) -> None:
    """Nothing is called done: it says what Flux waits for, keeps its place, and goes back as soon as Git answers."""
    first, _ = await live_twice(world)
    store, url = world.forge.store, world.forge.store.url
    world.forge.fail_next("*", f"/repos/{world.repository}/*", 502, times=100_000)
    store.url = "http://127.0.0.1:9"
    try:
        ended = await sluice(world, "rollback", world.repository, "development", "--no-wait")
        assert ended.code == 0, ended

        async def told() -> bool:
            return "failing, Flux retries: " in ((await newest(world)).message or "")

        await world.until(told)
        last = await newest(world)
        assert (last.trigger, last.status, last.commit_hash) == ("rollback", "reconciling", first)
        assert (world.live(), len(await holds(world))) == ("two", 1)
    finally:
        store.url = url

    async def back() -> bool:
        return (await newest(world)).status == "succeeded"

    await world.until(back)
    assert (world.live(), world.follows()) == ("development", "pin-development")
    world.forge.clear_faults()
    await world.settled(60, hurry=True)
    assert world.states(first)[-1] == "success"


async def test_ends_and_their_codes(world: World) -> None:
    """0 done, 1 refused or failed, 2 misused; what is misused writes nothing."""
    await live_twice(world)
    name = world.repository
    before = len(await world.runs())

    misused = await sluice(world, "rollback", name)
    refused, unknown, shown, locked, later = await asyncio.gather(
        sluice(world, "rollback", name, "development", "9"),
        sluice(world, "status", "acme/nothing"),
        sluice(world, "history", name, "development"),
        sluice(world, "lock", name, "development", "--for=2h", "--reason", "maintenance"),
        sluice(world, "sync", name, "--no-wait"),
    )

    assert (misused.code, misused.out) == (2, "")
    assert "sluice rollback REPOSITORY <target>" in misused.err
    assert (refused.code, unknown.code, shown.code, locked.code, later.code) == (1, 1, 0, 0, 0)
    assert "never succeeded" in refused.out
    assert "repository_unknown" in unknown.err
    assert "`#1`" in shown.out
    assert "is queued" in later.out
    assert "`development` is yours until" in locked.out
    await world.settled()
    assert len(await world.runs()) == before + 4
    operators = await world.rows(Run, Run.actor == f"operator:{USER}", Run.repository_id == await world.repository_id())
    assert {run.name for run in operators} == {"rollback", "history", "lock", "sync"}
    [lock] = await world.rows(Lock, Lock.owner == f"operator:{USER}")
    assert lock.pull_request is None

    await world.comment("/unlock development")
    assert (await world.results("unlock"))[-1] == ("refused", "not_permitted")
    await world.comment("/unlock development", by="alice")
    assert (await world.results("unlock"))[-1] == ("done", None)


async def test_enabled_from_the_command_line(world: World) -> None:
    """Each step is shown, and the end is waited for; the pull request is asked about where one is named."""
    ended = await sluice(world, "enable", world.repository, "development")

    assert ended.code == 0, ended
    assert ended.out.count(": completed") == 8
    assert "Live: " in ended.out
    assert world.live() == "development"
    number = world.open_pull_request({"topic.txt": "x"})
    await world.settled()
    deployed = await sluice(world, "deploy", world.repository, "development", f"--pull-request={world.number}")
    assert deployed.code == 0, deployed
    assert number[:7] in deployed.out
    [pin] = await world.pins()
    assert (pin.commit_hash, pin.pull_request) == (number, world.number)


@pytest.mark.thorough
async def test_an_operators_voice(world: World) -> None:
    """An approval from the command line is one person's, whatever the lists say; it names its commit. So is a no."""
    number = await protected(world, "approvals: 2, approvers: ['user:maia']")
    sha, name = world.head(), world.repository
    unnamed = await sluice(world, "approve", name, "production")
    assert (unnamed.code, world.live("production")) == (1, "")

    ended = await sluice(world, "approve", name, "production", sha[:10])
    assert ended.code == 0, ended
    assert world.live("production") == ""
    await world.comment("/approve production", by="maia", on=number)
    assert world.live("production") == "production"
    rows = await world.rows(Approval, Approval.deployment_id == (await world.deployments(sha))[-1].id)
    assert {row.user for row in rows} == {f"operator:{USER}", "maia"}

    newer = world.push(says("two", "production"))
    await world.settled()
    rejected = await sluice(world, "reject", name, "production")
    assert rejected.code == 0, rejected
    assert [row.status for row in await world.deployments(newer)] == ["rejected"]
